//! Packages, services, and commands that leave a mark.

use crate::model::machine::{Command, Package, Service, TakeUp};
use crate::model::resource::Fields;
use crate::model::value::Value;
use crate::providers::host::facts::{Facts, MARKS, content_digest};
use crate::providers::host::questions::{IN_CONTAINER, Questions};
use crate::providers::host::script::{Script, quote, words};

pub(super) fn ask_package(spec: &Package, questions: &mut Questions) {
    questions.packages.insert(spec.name.clone());
}

pub(super) fn read_package(spec: &Package, facts: &Facts) -> Option<Fields> {
    facts.packages.contains(&spec.name).then(|| Fields::from([("installed", true.into())]))
}

pub(super) fn unmake_package(spec: &Package, out: &mut Script) {
    out.line(format!("apt remove {}", quote(&spec.name)));
}

fn service_mark(spec: &Service) -> String {
    format!("service.{}", spec.unit)
}

pub(super) fn ask_service(spec: &Service, questions: &mut Questions) {
    questions.units.insert(spec.unit.clone());
    questions.container |= spec.own_kernel;
    questions.sums.extend(spec.reads.iter().cloned());
    if !spec.reads.is_empty() {
        questions.marks.insert(service_mark(spec));
    }
}

pub(super) fn read_service(spec: &Service, facts: &Facts) -> Option<Fields> {
    let unit = facts.units.get(&spec.unit).filter(|unit| matches!(unit.load.as_str(), "loaded" | "masked"))?;
    let current = facts.digest_of(&spec.reads);
    let up_to_date = spec.reads.is_empty() || facts.marks.get(&service_mark(spec)) == Some(&current);
    // A static unit cannot be enabled and needs not be.
    let enabled = matches!(unit.file.as_str(), "enabled" | "static" | "alias" | "generated");
    let rests = unit.out_of_place || spec.own_kernel && facts.in_container;
    let is_active = unit.active == "active" || rests;
    Some(Fields::from([("enabled", enabled.into()), ("active", is_active.into()), ("up_to_date", up_to_date.into())]))
}

pub(super) fn make_service(spec: &Service, out: &mut Script) {
    let unit = quote(&spec.unit);
    let take_up = match spec.take_up {
        TakeUp::Reload => "reload",
        TakeUp::Restart => "restart",
    };
    let explain = format!("{{ systemctl status --no-pager --lines=15 -- {unit} || :; exit 1; }}");
    if !spec.reads.is_empty() {
        // Taken before the service reads its files: a change in between is seen as not taken up.
        out.line(format!("digest={}", content_digest(&spec.reads)));
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
    if spec.reads.is_empty() {
        out.line("fi");
        return;
    }
    let mark = quote(&format!("{MARKS}/{}", service_mark(spec)));
    out.line(format!("elif [ \"$(cat {mark} 2>/dev/null)\" != \"$digest\" ]; then"));
    out.line(format!("    systemctl {take_up} -- {unit} || {explain}"));
    out.line("fi");
    out.line(format!("leave_mark {} \"$digest\"", quote(&service_mark(spec))));
}

pub(super) fn forget_service(spec: &Service, out: &mut Script) {
    out.line(format!("rm -f -- {}", quote(&format!("{MARKS}/{}", service_mark(spec)))));
}

/// The service goes with its package; only our note about it is taken away.
pub(super) fn unmake_service(spec: &Service, out: &mut Script) {
    forget_service(spec, out);
}

fn command_mark(spec: &Command) -> String {
    format!("command.{}", spec.mark)
}

pub(super) fn ask_command(spec: &Command, questions: &mut Questions) {
    questions.marks.insert(command_mark(spec));
}

pub(super) fn read_command(spec: &Command, facts: &Facts) -> Option<Fields> {
    let mark = facts.marks.get(&command_mark(spec))?;
    let run = Value::texts(spec.run.iter().map(String::as_str));
    let done = *mark == spec.mark_content();
    Some(Fields::from([("run", if done { run } else { "(with other inputs)".into() }), ("done", done.into())]))
}

pub(super) fn make_command(spec: &Command, out: &mut Script) {
    out.line(words(&spec.run));
    out.line(format!("leave_mark {} {}", quote(&command_mark(spec)), quote(&spec.mark_content())));
}

/// What a command did cannot be undone; its mark is taken away, so that it would run again.
pub(super) fn unmake_command(spec: &Command, out: &mut Script) {
    out.line(format!("rm -f -- {}", quote(&format!("{MARKS}/{}", command_mark(spec)))));
}
