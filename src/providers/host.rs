//! Provider `host`: the machine behind SSH. Looking at a host is one exec, changing it is one more.

mod apply;
mod checks;
pub mod errand;
mod facts;
mod guard;
mod kinds;
pub mod modelled;
mod others;
mod questions;
mod script;

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use backon::{ConstantBuilder, Retryable as _};
use data_encoding::HEXLOWER;
use rand_core::{OsRng, RngCore as _};

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::doors::ssh::{Host, HostId, Signs};
use crate::model::diff::ReadyChange;
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::machine::HostAt;
use crate::model::name::Name;
use crate::model::resource::{Address, Observed, Owned, Resource, Spec, Stock};
use crate::model::value::{Quoting, Value};
use crate::providers::Provider;
use crate::providers::host::apply::{Line, stop_file};
use crate::providers::host::facts::Facts;
use crate::providers::host::questions::Questions;
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
        self.take_stock_of(doors, want, report).await.map(|(seen, _)| seen)
    }

    async fn take_stock(
        &self,
        doors: &Doors,
        playbook: &Name,
        want: &[Resource],
        report: &Report,
    ) -> Result<Stock, Failure> {
        let (mut seen, facts) = self.take_stock_of(doors, want, report).await?;
        if let (Some(facts), Some(at)) = (&facts, want.first().and_then(|resource| resource.on.as_ref())) {
            let judgement = others::judge(at, want, &seen, facts);
            judgement.notes.into_iter().for_each(|note| report.tell(Progress::Note(note)));
            for (index, why) in judgement.in_the_way {
                let adopted = want.get(index).is_some_and(|resource| resource.adopt);
                match seen.get_mut(index) {
                    // What we made stays ours, to be mended or taken away; and a person may know better.
                    Some(Observed::Present { ours: true, .. }) => report.tell(Progress::Note(why)),
                    Some(_) if adopted => report.tell(Progress::Note(why)),
                    Some(Observed::Foreign(others)) => *others = format!("{others}; {why}"),
                    Some(seen) => *seen = Observed::Foreign(why),
                    None => {}
                }
            }
        }
        let owned = facts.map(|facts| owned(&facts, playbook, want)).unwrap_or_default();
        Ok(Stock { owned, ..Stock::free(seen) })
    }

    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure> {
        if modelled::is_asked_for(doors) {
            return modelled::apply(doors, changes, report).await;
        }
        let Some(at) = changes.first().and_then(|change| change.resource.on.as_ref()) else { return Ok(None) };
        let id = host_id(at)?;
        let host = doors.ssh.open(&id, report).await?;
        checks::check_demands(changes, doors)?;
        let questions = questions(changes.iter().map(|change| &change.resource), doors)?;
        let mark = new_mark();
        let script = apply::script(changes, &questions, &*doors.keys, &mark)?;

        let addresses: Vec<Address> = changes.iter().map(|change| change.resource.address.clone()).collect();
        // What a host says of a change is only believed of one that was sent to it.
        let named = move |list: &[usize]| {
            list.iter().filter_map(|i| addresses.get(*i).cloned()).collect::<Vec<Address>>().into_iter()
        };
        let proofs: Vec<String> = (0..changes.len()).map(|index| apply::token(&mark, index)).collect();
        let outcome: Arc<Mutex<Option<Line>>> = Arc::default();
        let (teller, ended) = (report.clone(), outcome.clone());
        let (to_prove, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |line: &str| match apply::read(line) {
            // Only what this very script may ask for: the token becomes a file's name.
            Line::Prove(token, index) if proofs.get(index).is_some_and(|proof| *proof == token) => {
                let _ = to_prove.send((token, index));
            }
            Line::Prove(..) => {}
            Line::Begin(list) => named(&list).for_each(|address| teller.tell(Progress::Started(address))),
            Line::Done(list) => named(&list).for_each(|address| teller.tell(Progress::Done(address))),
            Line::Other => {}
            end => {
                if let Line::Failed(list, ..) = &end {
                    named(list).for_each(|address| teller.tell(Progress::Failed(address)));
                }
                *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
            }
        };
        let signs = Signs::default();
        let mut running = std::pin::pin!(run(&host, script, mark, questions, signs.clone(), report, tell));
        let mut not_proved: Option<Failure> = None;
        let mut guarded = usize::MAX;
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
                    guarded = index;
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
                let names: Vec<String> =
                    list.iter().filter_map(|&i| Some(changes.get(i)?.resource.address.to_string())).collect();
                let log = scrub(log, changes, doors);
                if let Some(why) = not_proved.filter(|_| list.contains(&guarded)) {
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

/// How often a look whose connection was lost is taken again: it changes nothing.
const LOOKS: usize = 3;

impl Hosts {
    /// What was seen of each of `want`, which are on one host, and all facts about it; of a modelled one there are none.
    async fn take_stock_of(
        &self,
        doors: &Doors,
        want: &[Resource],
        report: &Report,
    ) -> Result<(Vec<Observed>, Option<Facts>), Failure> {
        let look = || async {
            if modelled::is_asked_for(doors) {
                return modelled::look(doors, want, report).await.map(|seen| (seen, None));
            }
            let Some(facts) = self.look(doors, want, report).await? else { return Ok((vec![], None)) };
            let seen =
                want.iter().map(|resource| kinds::read(resource, &*doors.keys, &facts)).collect::<Result<_, _>>()?;
            Ok((seen, Some(facts)))
        };
        let pace = ConstantBuilder::new().with_delay(doors.http.pace().first).with_max_times(LOOKS);
        look.retry(pace)
            .sleep(tokio::time::sleep)
            .when(|failure: &Failure| failure.kind == Kind::Lost && !report.stopping())
            .notify(|_, _| report.tell(Progress::Waiting("the connection that was lost, to look again".to_owned())))
            .await
    }

    /// The facts of the host `want` is on, in one exec; `None` where nothing is wanted.
    async fn look(&self, doors: &Doors, want: &[Resource], report: &Report) -> Result<Option<Facts>, Failure> {
        let Some(at) = want.first().and_then(|resource| resource.on.as_ref()) else { return Ok(None) };
        let host = doors.ssh.open(&host_id(at)?, report).await?;
        let mut questions = questions(want.iter(), doors)?;
        if !at.made_by_us {
            questions.others = true;
            questions.packages.insert(others::PODMAN.to_owned());
        }
        let mark = new_mark();
        let mut script = Script::default();
        script.line(OBSERVE).line("observe() {");
        questions.script(&mark, &mut script);
        script.line("}").line(format!("mark={mark}")).line("main </dev/null");

        let facts = run(&host, script.into_text(), mark, questions, Signs::default(), report, |_| {}).await?;
        checks::check_first_boot(&facts.first_boot, at.made_by_us, report)?;
        checks::check_system(&facts, at)?;
        checks::note_foreign_kernel(&facts, want, report);
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

/// Takes in what a host answered, line by line, whatever it says. For those who try answers nobody expects.
pub fn take_in(answer: &str) {
    let (mut facts, questions) = (Facts::default(), Questions::default());
    for line in answer.lines() {
        facts.take(line, &questions);
        apply::read(line);
    }
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
