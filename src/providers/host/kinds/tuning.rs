//! The kernel's settings, mounts, the time zone, and values in settings files.

use crate::model::machine::digest;
use crate::model::resource::Fields;
use crate::model::tuning::{Mount, Settings, Sysctl, TimeZone};
use crate::model::value::Value;
use crate::providers::host::facts::Facts;
use crate::providers::host::questions::{Questions, sysctl_path};
use crate::providers::host::script::{Script, quote, words};

pub(super) fn ask_sysctl(spec: &Sysctl, questions: &mut Questions) {
    questions.sysctls.extend(spec.settings.clone());
    questions.sums.insert(spec.path.clone());
    questions.texts.insert(spec.path.clone(), digest(spec.text().as_bytes()));
}

pub(super) fn read_sysctl(spec: &Sysctl, facts: &Facts) -> Option<Fields> {
    let settings = facts.text_beside(&spec.path, spec.text())?;
    let line = |(key, wanted): (&String, &String)| match facts.sysctls.get(&sysctl_path(key)) {
        Some(knob) if knob.ours && !is_stricter(key, &knob.value, wanted) => format!("{key} = {}", knob.value),
        // Not this host's to set, or unknown to its kernel.
        _ => format!("{key} = {wanted}"),
    };
    Some(Fields::from([("settings", settings.into()), ("in_force", Value::texts(spec.settings.iter().map(line)))]))
}

/// Settings where a higher value is a stricter one, and some of which the kernel does not let fall again.
const MINIMUMS: &[&str] = &["kernel.yama.ptrace_scope", "kernel.perf_event_paranoid", "kernel.kptr_restrict"];

/// Is what is in force more than what is wanted?
fn is_stricter(key: &str, value: &str, wanted: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().ok();
    MINIMUMS.contains(&key) && number(value) > number(wanted)
}

pub(super) fn make_sysctl(spec: &Sysctl, out: &mut Script) {
    let path = quote(&spec.path);
    out.line(format!("save_original {path}"));
    out.feed(
        &format!("cat >{path}.landfall-new || {{ rm -f -- {path}.landfall-new; exit 1; }}"),
        spec.text().as_bytes(),
    );
    out.line(format!("chmod 0644 -- {path}.landfall-new"));
    out.line(format!("mv -fT -- {path}.landfall-new {path}"));
    out.line("set_knob() { [ ! -w \"$1\" ] || printf '%s\\n' \"$2\" >\"$1\" || { echo \"the kernel refuses $2 for $1\"; return 1; }; }");
    for (key, value) in &spec.settings {
        let (knob, value) = (sysctl_path(key), quote(value));
        if MINIMUMS.contains(&key.as_str()) {
            out.line(format!(
                "[ \"$(cat {0} 2>/dev/null || echo -1)\" -ge {value} ] || set_knob {0} {value}",
                quote(&knob)
            ));
            continue;
        }
        match knob.split_once("/conf/all/") {
            // What is set for all does not reach every interface that is there already.
            Some((family, setting)) => {
                out.line(format!("for knob in {family}/conf/*/{setting}; do set_knob \"$knob\" {value}; done"))
            }
            None => out.line(format!("set_knob {} {value}", quote(&knob))),
        };
    }
}

/// What is in force stays so until the next boot.
pub(super) fn unmake_sysctl(spec: &Sysctl, out: &mut Script) {
    out.line(format!("put_original {}", quote(&spec.path)));
}

/// Every place in which the kernel shows these settings, as shell patterns.
pub(crate) fn knobs(spec: &Sysctl) -> Vec<String> {
    let places = spec.settings.keys().map(|key| sysctl_path(key).replace("/conf/all/", "/conf/*/"));
    places.collect()
}

pub(super) fn ask_mount(spec: &Mount, questions: &mut Questions) {
    questions.mounts.insert(spec.at.to_owned());
}

pub(super) fn read_mount(spec: &Mount, facts: &Facts) -> Option<Fields> {
    let line = facts.fstab.get(spec.at)?;
    let live = facts.mounts.get(spec.at);
    let has = |option: &&str| live.is_some_and(|live| live.iter().any(|one| is_option(one, option)));
    let in_force = spec.options.iter().copied().filter(has);
    Some(Fields::from([("fstab", line.as_str().into()), ("in_force", Value::texts(in_force))]))
}

/// The kernel has its own words for some options: `hidepid=2` became `hidepid=invisible` in Linux 5.8, and
/// a group is shown by its number.
fn is_option(shown: &str, wanted: &str) -> bool {
    shown == wanted
        || wanted == "hidepid=invisible" && shown == "hidepid=2"
        || wanted.starts_with("gid=") && shown.starts_with("gid=")
}

pub(super) fn make_mount(spec: &Mount, out: &mut Script) {
    out.line("[ -e /etc/fstab ] || : >/etc/fstab");
    let at = quote(spec.at);
    // A line somebody else wrote is set aside, and comes back when ours goes.
    out.line(format!("awk -v at={at} -v ours={} '$0 == ours {{ next }} $1 !~ /^#/ && $2 == at {{ print \"#landfall-was \" $0; next }} {{ print }}' /etc/fstab >/etc/fstab.landfall-new", quote(&spec.line())));
    out.line(format!("printf '%s\\n' {} >>/etc/fstab.landfall-new", quote(&spec.line())));
    out.line("chmod 0644 /etc/fstab.landfall-new");
    out.line("mv -fT /etc/fstab.landfall-new /etc/fstab");
    let options = quote(&format!("remount,{}", spec.options.join(",")));
    out.line(format!("if mountpoint -q -- {at}; then mount -o {options} {at}; else mount {at}; fi"));
}

/// The options stay in force until the next boot.
pub(super) fn unmake_mount(spec: &Mount, out: &mut Script) {
    out.line(format!("awk -v at={} '$1 !~ /^#/ && $2 == at {{ next }} $1 == \"#landfall-was\" && $3 == at {{ sub(/^#landfall-was /, \"\") }} {{ print }}' /etc/fstab >/etc/fstab.landfall-new", quote(spec.at)));
    out.line("chmod 0644 /etc/fstab.landfall-new");
    out.line("mv -fT /etc/fstab.landfall-new /etc/fstab");
}

pub(super) fn read_time_zone(facts: &Facts) -> Option<Fields> {
    Some(Fields::from([("name", facts.time_zone.as_str().into())]))
}

pub(super) fn make_time_zone(spec: &TimeZone, out: &mut Script) {
    let zone = quote(&format!("/usr/share/zoneinfo/{}", spec.name));
    out.line(format!("[ -f {zone} ] || {{ echo \"the host knows no such time zone; timedatectl list-timezones lists them\"; exit 1; }}"));
    out.line(format!("ln -sfn -- {zone} /etc/localtime.landfall-new"));
    out.line("mv -fT /etc/localtime.landfall-new /etc/localtime");
    out.line(format!("printf '%s\\n' {} >/etc/timezone", quote(&spec.name)));
}

pub(super) fn ask_settings(spec: &Settings, questions: &mut Questions) {
    let keys = spec.values.keys().map(|key| (*key).to_owned());
    questions.settings.entry(spec.path.clone()).or_default().extend(keys);
}

pub(super) fn read_settings(spec: &Settings, facts: &Facts) -> Option<Fields> {
    let lines = facts.settings.get(&spec.path)?;
    let mut ours: Vec<&String> =
        lines.iter().filter(|line| line.split(' ').next().is_some_and(|key| spec.values.contains_key(key))).collect();
    ours.sort();
    Some(Fields::from([("values", Value::texts(ours))]))
}

pub(super) fn make_settings(spec: &Settings, out: &mut Script) {
    let path = quote(&spec.path);
    let keys = words(spec.values.keys());
    out.line(format!("save_original {path}"));
    out.line(format!("[ -e {path} ] || : >{path}"));
    out.line(format!("cp -p -- {path} {path}.landfall-new"));
    out.line(format!("awk -v keys={} 'BEGIN {{ split(keys, list, \" \"); for (i in list) ours[list[i]] = 1 }} !($1 in ours)' {path} >{path}.landfall-new", quote(&keys)));
    for (key, value) in &spec.values {
        out.line(format!("printf '%s\\n' {} >>{path}.landfall-new", quote(&format!("{key} {value}"))));
    }
    out.line(format!("mv -fT -- {path}.landfall-new {path}"));
}

/// Our lines give way to those that stood there before; all others stay as they are now.
pub(super) fn unmake_settings(spec: &Settings, out: &mut Script) {
    let path = quote(&spec.path);
    let keys = quote(&words(spec.values.keys()));
    let split = "BEGIN { split(keys, list, \" \"); for (i in list) ours[list[i]] = 1 }";
    out.line(format!("cp -p -- {path} {path}.landfall-new"));
    out.line(format!("awk -v keys={keys} '{split} !($1 in ours)' {path} >{path}.landfall-new"));
    out.line(format!("kept=$(original {path})"));
    out.line(format!("[ ! -e \"$kept\" ] || awk -v keys={keys} '{split} $1 in ours' \"$kept\" >>{path}.landfall-new"));
    out.line(format!("mv -fT -- {path}.landfall-new {path}"));
}
