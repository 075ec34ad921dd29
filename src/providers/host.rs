//! Provider `host`: the machine behind SSH. Looking at a host is one exec, changing it is one more.

mod apply;
mod facts;
mod guard;
mod kinds;
mod questions;
mod script;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use rand_core::{OsRng, RngCore as _};

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::doors::ssh::{Host, HostId, Signs};
use crate::model::diff::{ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::machine::{HostAt, Service};
use crate::model::name::Name;
use crate::model::resource::{Address, Observed, Owned, Resource, Spec, Stock};
use crate::model::system::System;
use crate::model::value::{Quoting, Value};
use crate::providers::Provider;
use crate::providers::host::apply::{Line, stop_file};
use crate::providers::host::facts::Facts;
use crate::providers::host::questions::{Questions, sysctl_path};
use crate::providers::host::script::Script;

/// The provider itself.
pub struct Hosts;

#[async_trait]
impl Provider for Hosts {
    fn name(&self) -> &'static str {
        "host"
    }

    fn api(&self) -> Option<&'static Api> {
        None
    }

    async fn observe(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Vec<Observed>, Failure> {
        match self.look(doors, want, report).await? {
            Some(facts) => want.iter().map(|resource| kinds::read(resource, &*doors.keys, &facts)).collect(),
            None => Ok(vec![]),
        }
    }

    async fn take_stock(
        &self,
        doors: &Doors,
        playbook: &Name,
        want: &[Resource],
        report: &Report,
    ) -> Result<Stock, Failure> {
        let Some(facts) = self.look(doors, want, report).await? else { return Ok(Stock::free(vec![])) };
        let seen = want.iter().map(|resource| kinds::read(resource, &*doors.keys, &facts)).collect::<Result<_, _>>()?;
        Ok(Stock { owned: owned(&facts, playbook, want), ..Stock::free(seen) })
    }

    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure> {
        let Some(at) = changes.first().and_then(|change| change.resource.on.as_ref()) else { return Ok(None) };
        let id = host_id(at)?;
        let host = doors.ssh.open(&id, report).await?;
        check_demands(changes, doors)?;
        let questions = questions(changes.iter().map(|change| &change.resource), doors)?;
        let mark = new_mark();
        let script = apply::script(changes, &questions, &*doors.keys, &mark)?;

        let addresses: Vec<Address> = changes.iter().map(|change| change.resource.address.clone()).collect();
        let outcome: Arc<Mutex<Option<Line>>> = Arc::default();
        let (teller, ended) = (report.clone(), outcome.clone());
        let (to_prove, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |line: &str| match apply::read(line) {
            Line::Prove(token, index) => {
                let _ = to_prove.send((token, index));
            }
            Line::Begin(list) => list.iter().for_each(|&i| teller.tell(Progress::Started(addresses[i].clone()))),
            Line::Done(list) => list.iter().for_each(|&i| teller.tell(Progress::Done(addresses[i].clone()))),
            Line::Other => {}
            end => {
                if let Line::Failed(list, ..) = &end {
                    list.iter().for_each(|&i| teller.tell(Progress::Failed(addresses[i].clone())));
                }
                *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
            }
        };
        let signs = Signs::default();
        let mut running = std::pin::pin!(run(&host, script, mark, questions, signs.clone(), report, tell));
        let mut not_proved: Option<Failure> = None;
        let mut proof = None;
        let ran = loop {
            tokio::select! {
                ran = &mut running => break ran,
                Some((token, index)) = asked.recv() => {
                    let key = changes.get(index).and_then(|change| match &change.resource.spec {
                        Spec::KeyInUse(spec) => Some(spec.fingerprint.to_string()),
                        _ => None,
                    });
                    let id = HostId { host_key: key.unwrap_or_else(|| id.host_key.clone()), ..id.clone() };
                    not_proved = Some(Failure::new(Kind::Unreachable, "a new connection had no answer in time"));
                    proof = Some(Box::pin(async move {
                        let proved = doors.ssh.prove(&id, &guard::proof(&token), report).await;
                        (token, proved)
                    }));
                }
                (token, proved) = async { match proof.as_mut() { Some(proof) => proof.await, None => pending().await } } => {
                    proof = None;
                    // The host need not wait any longer for what will not come.
                    if proved.is_err() {
                        signs.lock().unwrap_or_else(PoisonError::into_inner).push(guard::no_proof(&token));
                    }
                    not_proved = proved.err();
                }
            }
        };
        let ended = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        match ended {
            Some(Line::Failed(list, status, log)) => {
                let names: Vec<String> = list.iter().map(|&i| changes[i].resource.address.to_string()).collect();
                let log = scrub(log, changes, doors);
                if let Some(why) = not_proved {
                    // What was wrong before, and only now taken up, is not ours to undo.
                    return Err(match doors.ssh.prove(&id, "/run/landfall/again", report).await {
                        Ok(()) => locked_out(&names.join(", "), "the host undid it", why),
                        Err(still) => Failure::new(
                            Kind::Human,
                            format!(
                                "{} was undone, but the host {} still lets nobody in",
                                names.join(", "),
                                at.address
                            ),
                        )
                        .because(still)
                        .hint(
                            "something else on it shuts our key out, which sshd had not read before: look at \
                             /etc/ssh/sshd_config.d from the provider's console, or from a session that is still open",
                        ),
                    });
                }
                Err(Failure::new(
                    Kind::Failed,
                    format!("{} failed on the host with exit status {status}", names.join(", ")),
                )
                .hint(hint(&log))
                .because(log))
            }
            Some(Line::Busy) => {
                Err(Failure::new(Kind::Busy, format!("another Landfall is changing the host {}", at.address))
                    .hint("wait until it has ended; nothing was done on this host"))
            }
            // The connection went while a new one was waited for: a matter of the same change.
            _ if ran.is_err() && not_proved.is_some() => {
                doors.ssh.close(&id);
                let why = not_proved.take().unwrap_or_else(|| Failure::new(Kind::Lost, "the connection was lost"));
                let undoes = format!("the host undoes it by itself within {} seconds", guard::CLOCK);
                Err(locked_out("the last change", &undoes, why))
            }
            Some(Line::Stopped) => Err(Failure::new(Kind::Stopped, "stopped as you asked, after the change in hand")),
            _ => {
                let facts = ran.inspect_err(|_| doors.ssh.close(&id))?;
                changes
                    .iter()
                    .map(|c| kinds::read(&c.resource, &*doors.keys, &facts))
                    .collect::<Result<_, _>>()
                    .map(Some)
            }
        }
    }

    async fn remove(&self, _: &Doors, _: &Owned, _: &Report) -> Result<(), Failure> {
        Ok(())
    }
}

/// What to do about what a host said when a change failed there.
fn hint(log: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| log.contains(word));
    if says(&["is not valid yet", "is not yet valid", "Not live until", "has expired"]) {
        "is the host's clock right? `date` there tells; then run the same command again"
    } else if says(&["No space left on device"]) {
        "make room on the host: `df -h` tells where; then run the same command again"
    } else if says(&["Temporary failure resolving", "Could not resolve", "Network is unreachable"]) {
        "the host does not reach the network: look at its DNS and routes; then run the same command again"
    } else if says(&["Could not get lock", "is another process using it"]) {
        "another program on the host installs packages: wait until it has ended; then run the same command again"
    } else {
        "what was done before it stays done; mend the cause, then run the same command again"
    }
}

/// A guarded change shut us out.
fn locked_out(what: &str, remedy: &str, why: Failure) -> Failure {
    Failure::new(Kind::Failed, format!("{what} would have locked us out, so {remedy}")).because(why).hint(
        "everything else is as it was before this change; look at what shuts our key out, then run the same command again",
    )
}

impl Hosts {
    /// The facts of the host `want` is on, in one exec; `None` where nothing is wanted.
    async fn look(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Option<Facts>, Failure> {
        let Some(at) = want.first().and_then(|resource| resource.on.as_ref()) else { return Ok(None) };
        let host = doors.ssh.open(&host_id(at)?, report).await?;
        let questions = questions(want.iter(), doors)?;
        let mark = new_mark();
        let mut script = Script::default();
        script.line(OBSERVE).line("observe() {");
        questions.script(&mark, &mut script);
        script.line("}").line(format!("mark={mark}")).line("main </dev/null");

        let knobs = questions.sysctls.clone();
        let facts = run(&host, script.into_text(), mark, questions, Signs::default(), report, |_| {}).await?;
        check_first_boot(&facts.first_boot, at.made_by_us, report)?;
        check_system(&facts, at)?;
        note_foreign_kernel(&facts, &knobs, want, report);
        Ok(Some(facts))
    }
}

/// What the host says is the playbook's, as far as it is of a kind that is still known.
fn owned(facts: &Facts, playbook: &Name, want: &[Resource]) -> Vec<Owned> {
    const KINDS: &[&str] = &[
        "file",
        "directory",
        "generated-secret",
        "package",
        "service",
        "command",
        "user",
        "authorized-key",
        "compose",
        "sshd",
        "nftables",
        "host-key",
        "sysctl",
        "mount",
        "time-zone",
        "settings",
    ];
    let Some(place) = want.first().and_then(|resource| resource.address.place.clone()) else { return vec![] };
    let prefix = format!("{playbook} host/{place}/");
    let parse = |line: &String| {
        let (kind, name) = line.strip_prefix(&prefix)?.split_once('/')?;
        let kind = KINDS.iter().find(|known| **known == kind)?;
        let address = Address { provider: "host", place: Some(place.clone()), kind, name: name.to_owned() };
        Some(Owned { address, id: line.clone() })
    };
    facts.made.iter().filter_map(parse).collect()
}

/// Waits for the first boot to end, then asks.
const OBSERVE: &str = include_str!("../../templates/host-observe");

fn questions<'a>(wanted: impl Iterator<Item = &'a Resource>, doors: &Doors) -> Result<Questions, Failure> {
    let mut questions = Questions::default();
    for resource in wanted {
        kinds::ask(resource, &*doors.keys, &mut questions)?;
    }
    Ok(questions)
}

/// Runs `script` and gathers the facts it tells; every other line goes to `tell`.
async fn run(
    host: &Host,
    script: String,
    mark: String,
    questions: Questions,
    signs: Signs,
    report: &Report,
    mut tell: impl FnMut(&str) + Send + 'static,
) -> Result<Facts, Failure> {
    let units = questions.units.len();
    let facts: Arc<Mutex<Facts>> = Arc::default();
    let (gather, teller) = (facts.clone(), report.clone());
    let on_line = move |line: &str| {
        if let Some(what) = line.strip_prefix("waiting\t") {
            teller.tell(Progress::Waiting(what.to_owned()));
        }
        gather.lock().unwrap_or_else(PoisonError::into_inner).take(line, &questions);
        tell(line);
    };
    let stop = stop_file(&mark);
    let output = host.run(script, mark, stop, signs, report.clone(), on_line).await?;
    let facts = std::mem::take(&mut *facts.lock().unwrap_or_else(PoisonError::into_inner));
    // systemd answers for every unit, even for those that are not there; silence means it is not itself.
    if facts.complete && facts.units.len() < units {
        return Err(Failure::new(Kind::Unreachable, "systemd on the host does not answer")
            .hint("is the host shutting down or starting up? run the same command again in a moment"));
    }
    if facts.complete {
        return Ok(facts);
    }
    let said = output.chatter.join("\n");
    let failure = Failure::new(Kind::Failed, format!("the host's answer broke off with exit status {}", output.status));
    Err(if said.contains("password is required") || said.contains("a terminal is required") {
        Failure::new(Kind::Human, "sudo on the host asks for a password")
            .because(said)
            .hint("let the account use sudo without a password, or log in as root")
    } else if said.contains("sudo: not found") || said.contains("sudo: command not found") {
        Failure::new(Kind::Human, "there is no sudo on the host").hint("install it there, or log in as root")
    } else if said.to_lowercase().contains("password has expired") || said.contains("change your password") {
        Failure::new(
            Kind::Human,
            "the account's password has expired, and the host lets nobody in before it is changed",
        )
        .because(said)
        .hint("log in once with ssh and change it, or make the server anew with a key")
    } else if said.is_empty() {
        failure
    } else {
        failure.because(said)
    })
}

/// Could we still speak with sshd after these changes? Asked before anything is demanded of it.
fn check_demands(changes: &[ReadyChange], doors: &Doors) -> Result<(), Failure> {
    let demands = changes.iter().filter(|change| change.verb != Verb::Delete).filter_map(|c| match &c.resource.spec {
        Spec::Sshd(sshd) => Some((&c.resource.address, sshd)),
        _ => None,
    });
    for (address, sshd) in demands {
        for keyword in ["KexAlgorithms", "Ciphers", "MACs", "HostKeyAlgorithms"] {
            let offered = sshd.list(keyword);
            if !offered.is_empty() && !doors.ssh.speaks(keyword, &offered) {
                return Err(Failure::new(
                    Kind::Human,
                    format!("{address} would leave no {keyword} that this build of Landfall speaks"),
                )
                .because(format!("on offer would be {}", offered.join(", ")))
                .hint("use `profile = \"baseline\"`, or a build with a newer SSH library; nothing was changed on the host"));
            }
        }
    }
    Ok(())
}

/// Does the host run what the playbook says? Names of packages and settings depend on it.
fn check_system(facts: &Facts, at: &HostAt) -> Result<(), Failure> {
    let [id, version, pretty] = &facts.system;
    match System::of_release(id, version) {
        Some(system) if system == at.system => Ok(()),
        Some(system) => Err(Failure::new(
            Kind::Human,
            format!("the host {} runs {pretty}, not {} as the playbook says", at.address, at.system.as_str()),
        )
        .hint(format!("set `image = \"{}\"` in the step `{}`; nothing was changed", system.as_str(), at.step))),
        None => {
            let known: Vec<&str> = System::ALL.iter().map(|system| system.as_str()).collect();
            let what = if pretty.is_empty() { "something that has no name" } else { pretty };
            Err(Failure::new(Kind::Human, format!("the host {} runs {what}, which Landfall does not know", at.address))
                .hint(format!("it sets up {}; nothing was changed", known.join(", "))))
        }
    }
}

/// Says which settings of the kernel are written down but not in force, because the kernel is not the host's.
fn note_foreign_kernel(facts: &Facts, wanted: &BTreeMap<String, String>, want: &[Resource], report: &Report) {
    let elses = |(key, value): &(&String, &String)| {
        facts.sysctls.get(&sysctl_path(key)).is_some_and(|knob| !knob.ours && knob.value != **value)
    };
    let keys: Vec<&str> = wanted.iter().filter(elses).map(|(key, _)| key.as_str()).collect();
    if let Some(first) = keys.first() {
        let more = match keys.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        report.tell(Progress::Note(format!(
            "the host shares its kernel with another machine: {first}{more} cannot be set from it, only written down"
        )));
    }
    for resource in want {
        if let Spec::Service(Service { unit, own_kernel: true, .. }) = &resource.spec
            && facts.in_container
        {
            report.tell(Progress::Note(format!("{unit} rests: the kernel it works on is another machine's")));
        }
    }
}

/// cloud-init's own word on the first boot. Fails when a stage of it failed on a host that was `made_by_us`;
/// elsewhere that is only worth a note.
fn check_first_boot(result: &str, made_by_us: bool, report: &Report) -> Result<(), Failure> {
    let Ok(result) = serde_json::from_str::<serde_json::Value>(result) else { return Ok(()) };
    let errors: Vec<&str> =
        result["v1"]["errors"].as_array().into_iter().flatten().filter_map(|e| e.as_str()).collect();
    if errors.is_empty() {
        return Ok(());
    }
    if !made_by_us {
        report.tell(Progress::Note(format!("cloud-init on the host has something to say: {}", errors.join("; "))));
        return Ok(());
    }
    Err(Failure::new(Kind::Failed, "the first boot of the host went wrong")
        .because(errors.join("\n"))
        .hint("look at /var/log/cloud-init.log on the host, or destroy it and apply again"))
}

/// How to reach a host whose address and key are known. Fails while they are not.
pub fn host_id(at: &HostAt) -> Result<HostId, Failure> {
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        other => other.to_string(),
    };
    let address = text(&at.address);
    let address = address.parse().map_err(|e: std::net::AddrParseError| {
        Failure::new(Kind::Failed, format!("the address of `{}` is not known: {address}", at.step)).because(e)
    })?;
    let host_key = text(&at.host_key);
    Ok(HostId { address, port: at.port, user: at.user.clone(), host_key, keys: at.keys.clone() })
}

/// A prefix no other output can have by chance.
fn new_mark() -> String {
    let mut bytes = [0; 8];
    OsRng.fill_bytes(&mut bytes);
    format!("{}:", HEXLOWER.encode(&bytes))
}

/// Takes every secret these changes know of out of what came back, as it is and as it was quoted.
fn scrub(mut text: String, changes: &[ReadyChange], doors: &Doors) -> String {
    let mut secrets: Vec<(&Name, Quoting)> = Vec::new();
    for change in changes {
        match &change.resource.spec {
            Spec::File(file) => secrets.extend(file.content.parts().iter().filter_map(|part| match part {
                Value::Secret(name, quoting) => Some((name, *quoting)),
                _ => None,
            })),
            Spec::Compose(compose) => secrets.extend(compose.secrets.iter().map(|name| (name, Quoting::Compose))),
            _ => {}
        }
    }
    for (name, quoting) in secrets {
        let Some(secret) = doors.keys.get(name) else { continue };
        let quoted = quoting.quote(secret.expose());
        for form in [quoted.trim_matches('"'), secret.expose()] {
            text = text.replace(form, &format!("‹secret {name}›"));
        }
    }
    text
}
