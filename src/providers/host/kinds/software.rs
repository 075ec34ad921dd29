//! Packages, services, and commands that leave a mark.

use crate::model::machine::{Command, Package, Service, TakeUp};
use crate::model::resource::Fields;
use crate::model::value::Value;
use crate::providers::host::facts::{Facts, MARKS, content_digest};
use crate::providers::host::questions::{IN_CONTAINER, Questions};
use crate::providers::host::script::{Script, quote, words};

pub(super) fn ask_package(spec: &Package, questions: &mut Questions) {
    questions.packages.insert(spec.name.clone());
    questions.packages.extend(spec.instead.iter().map(|name| (*name).to_owned()));
}

pub(super) fn read_package(spec: &Package, facts: &Facts) -> Option<Fields> {
    let has = |name: &str| facts.packages.contains(name);
    (has(&spec.name) || spec.instead.iter().any(|name| has(name))).then(|| Fields::from([("installed", true.into())]))
}

pub(super) fn unmake_package(spec: &Package, out: &mut Script) {
    out.line(format!("apt remove {}", quote(&spec.name)));
}

/// The marks a service leaves, and the files whose content each of them tells of.
fn taken_up(spec: &Service) -> Vec<(String, &[String])> {
    let all = [(format!("service.{}", spec.unit), &spec.reads[..]), (format!("unit.{}", spec.unit), &spec.unit_files)];
    all.into_iter().filter(|(_, files)| !files.is_empty()).collect()
}

pub(super) fn ask_service(spec: &Service, questions: &mut Questions) {
    questions.units.insert(spec.unit.clone());
    questions.container |= spec.own_kernel;
    if let Some(works) = spec.works {
        questions.works.insert(spec.unit.clone(), works);
    }
    for (mark, files) in taken_up(spec) {
        questions.sums.extend(files.iter().cloned());
        questions.marks.insert(mark);
    }
}

pub(super) fn read_service(spec: &Service, facts: &Facts) -> Option<Fields> {
    let unit = facts.units.get(&spec.unit).filter(|unit| matches!(unit.load.as_str(), "loaded" | "masked"))?;
    let up_to_date = taken_up(spec).iter().all(|(mark, files)| facts.marks.get(mark) == Some(&facts.digest_of(files)));
    // A static unit cannot be enabled and needs not be.
    let enabled = matches!(unit.file.as_str(), "enabled" | "static" | "alias" | "generated");
    let rests = unit.out_of_place || spec.own_kernel && facts.in_container;
    let is_active = unit.active == "active" || rests;
    let mut fields =
        Fields::from([("enabled", enabled.into()), ("active", is_active.into()), ("up_to_date", up_to_date.into())]);
    if spec.works.is_some() {
        fields.insert("works", facts.working.contains(&spec.unit).into());
    }
    Some(fields)
}

pub(super) fn make_service(spec: &Service, out: &mut Script) {
    let unit = quote(&spec.unit);
    let explain = format!("{{ systemctl status --no-pager --lines=15 -- {unit} || :; exit 1; }}");
    let take_up = match spec.take_up {
        TakeUp::Reload => "reload",
        TakeUp::Restart | TakeUp::ReloadThenRestart(_) => "restart",
    };
    let first = match spec.take_up {
        // A reload returns before it has been taken up.
        TakeUp::ReloadThenRestart(taken_up) => format!(
            "systemctl reload -- {unit} || {explain}; tries=0; \
             until {taken_up} || [ \"$tries\" -ge 100 ]; do tries=$((tries + 1)); sleep 0.1; done; \
             {taken_up} || {{ echo 'it did not take up its new settings while it ran, so it is not restarted: is one of them also given on its command line?'; {explain}; }}; "
        ),
        TakeUp::Reload | TakeUp::Restart => String::new(),
    };
    let marks = taken_up(spec);
    for (number, (_, files)) in marks.iter().enumerate() {
        // Taken before the service reads its files: a change in between is seen as not taken up.
        out.line(format!("digest_{number}={}", content_digest(files)));
    }
    out.line("systemctl daemon-reload");
    out.line(format!("systemctl unmask --quiet -- {unit}"));
    out.line(format!("systemctl enable --quiet -- {unit}"));
    if spec.own_kernel {
        out.line(format!("! {IN_CONTAINER} || return 0"));
    }
    out.line(format!("if ! systemctl is-active --quiet -- {unit}; then"));
    out.line(format!("    systemctl reset-failed -- {unit} 2>/dev/null || :"));
    out.line(format!("    systemctl start -- {unit} || {explain}"));
    if let Some(works) = spec.works {
        out.line(format!("elif ! {works}; then"));
        out.line(format!("    {first}systemctl restart -- {unit} || {explain}"));
    }
    // A restart takes up everything, so it is looked at first.
    for (number, (mark, files)) in marks.iter().enumerate().rev() {
        let verb = if **files == spec.unit_files[..] { "restart" } else { take_up };
        let mark = quote(&format!("{MARKS}/{mark}"));
        out.line(format!("elif [ \"$(cat {mark} 2>/dev/null)\" != \"$digest_{number}\" ]; then"));
        out.line(format!("    {first}systemctl {verb} -- {unit} || {explain}"));
    }
    out.line("fi");
    for (number, (mark, _)) in marks.iter().enumerate() {
        out.line(format!("leave_mark {} \"$digest_{number}\"", quote(mark)));
    }
}

pub(super) fn forget_service(spec: &Service, out: &mut Script) {
    for (mark, _) in taken_up(spec) {
        out.line(format!("rm -f -- {}", quote(&format!("{MARKS}/{mark}"))));
    }
}

/// A service that came with us is stopped, and does not start again.
pub(super) fn unmake_service(spec: &Service, out: &mut Script) {
    out.line(format!("systemctl disable --quiet --now -- {} 2>/dev/null || :", quote(&spec.unit)));
    forget_service(spec, out);
}

fn command_mark(spec: &Command) -> String {
    format!("command.{}", spec.mark)
}

/// The mark that holds the digest of what the command had read.
fn inputs_mark(spec: &Command) -> String {
    format!("command-inputs.{}", spec.mark)
}

pub(super) fn ask_command(spec: &Command, questions: &mut Questions) {
    questions.marks.insert(command_mark(spec));
    if !spec.reads.is_empty() {
        questions.marks.insert(inputs_mark(spec));
        questions.sums.extend(spec.reads.iter().cloned());
    }
    questions.stat.extend(spec.creates.clone());
    if let (Some(path), Some(minutes)) = (&spec.creates, spec.fresh_minutes) {
        questions.ages.insert(path.clone(), minutes);
    }
}

pub(super) fn read_command(spec: &Command, facts: &Facts) -> Option<Fields> {
    let mark = facts.marks.get(&command_mark(spec))?;
    let run = Value::texts(spec.run.iter().map(String::as_str));
    // What it made may have been taken away since.
    let is_there = spec.creates.as_ref().is_none_or(|path| facts.stat.contains_key(path));
    let is_fresh = spec.creates.as_ref().is_none_or(|path| !facts.stale.contains(path));
    let done = *mark == spec.mark_content() && is_there && is_fresh;
    let mut fields =
        Fields::from([("run", if done { run } else { "(with other inputs)".into() }), ("done", done.into())]);
    if !spec.reads.is_empty() {
        let up_to_date = facts.marks.get(&inputs_mark(spec)) == Some(&facts.digest_of(&spec.reads));
        fields.insert("up_to_date", up_to_date.into());
    }
    Some(fields)
}

pub(super) fn make_command(spec: &Command, out: &mut Script) {
    // Taken before it reads them: a change in between is seen as not read.
    if !spec.reads.is_empty() {
        out.line(format!("inputs={}", content_digest(&spec.reads)));
    }
    let run: Vec<&str> = spec.run.iter().chain(&spec.backup).map(String::as_str).collect();
    out.line(words(&run));
    if !spec.reads.is_empty() {
        out.line(format!("leave_mark {} \"$inputs\"", quote(&inputs_mark(spec))));
    }
    out.line(format!("leave_mark {} {}", quote(&command_mark(spec)), quote(&spec.mark_content())));
}

/// What a command did cannot be undone; its mark is taken away, so that it would run again.
pub(super) fn unmake_command(spec: &Command, out: &mut Script) {
    for mark in [command_mark(spec), inputs_mark(spec)] {
        out.line(format!("rm -f -- {}", quote(&format!("{MARKS}/{mark}"))));
    }
}
