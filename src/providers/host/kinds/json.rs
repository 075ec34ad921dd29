//! Keys in a settings file of JSON that others may write, too.

use serde_json::{Map, Value};

use crate::model::resource::{Fields, Resource};
use crate::model::tuning::JsonSettings;
use crate::providers::host::facts::Facts;
use crate::providers::host::questions::Questions;
use crate::providers::host::script::{Script, quote, words};

pub(super) fn ask(spec: &JsonSettings, questions: &mut Questions) {
    questions.stat.insert(spec.path.clone());
    questions.sums.insert(spec.path.clone());
    // No digest is right in itself: whatever stands there is read.
    questions.texts.insert(spec.path.clone(), String::new());
}

/// The object in the file at `path`; an empty file is an empty object. `None` where there is no file.
fn object(path: &str, facts: &Facts) -> Option<Result<Map<String, Value>, serde_json::Error>> {
    let bytes = facts.texts.get(path)?;
    Some(match bytes.iter().all(u8::is_ascii_whitespace) {
        true => Ok(Map::new()),
        false => serde_json::from_slice(bytes),
    })
}

pub(super) fn read(spec: &JsonSettings, facts: &Facts) -> Option<Fields> {
    object(&spec.path, facts)?.ok().map(|present| spec.seen_in(&present))
}

/// Why the file cannot be written to, where it cannot.
pub(super) fn not_ours_to_write(resource: &Resource, facts: &Facts) -> Option<String> {
    let path = resource.spec.path()?;
    let stat = facts.stat.get(path)?;
    if !stat.kind.starts_with("regular") {
        return Some(format!("is a {}", stat.kind));
    }
    object(path, facts)?.err().map(|why| format!("does not hold one JSON object ({why})"))
}

/// Everything else in the file stays. jq writes; what it writes is judged before it takes the old file's place.
pub(super) fn make(spec: &JsonSettings, out: &mut Script) {
    let (path, new) = (quote(&spec.path), format!("{}.landfall-new", spec.path));
    let quoted = quote(&new);
    let (proposed, demanded): (Map<String, Value>, Map<String, Value>) =
        spec.values.clone().into_iter().partition(|(key, _)| spec.proposals.contains(&key.as_str()));
    let program = "(.[0] // {}) as $there | ($there | keys - (($there | keys) - ($proposed | keys))) as $decided \
                   | (if ($decided | length) > 0 then {} else $proposed end) + $there + $demanded";
    out.line(format!("save_original {path}"));
    out.line(format!("mkdir -p -- \"$(dirname -- {path})\""));
    out.line(format!("rm -f -- {quoted}"));
    out.line(format!("[ ! -e {path} ] || cp -p -- {path} {quoted}"));
    out.line(format!(
        "{{ if [ -s {path} ]; then cat -- {path}; else echo '{{}}'; fi; }} | jq --slurp --argjson proposed {} --argjson demanded {} {} >{quoted} \
         || {{ rm -f -- {quoted}; exit 1; }}",
        quote(&Value::Object(proposed).to_string()),
        quote(&Value::Object(demanded).to_string()),
        quote(program),
    ));
    let command = words(spec.check.run.iter().map(|word| word.replace("{}", &new)));
    out.line(format!(
        "{command} || {{ rm -f -- {quoted}; echo 'the new file was refused; the old one stays'; exit 1; }}"
    ));
    out.line(format!("mv -fT -- {quoted} {path}"));
}

/// Our keys give way to those that stood there before; all others stay as they are now. A file with nothing left in it
/// goes, unless there was one before.
pub(super) fn unmake(spec: &JsonSettings, out: &mut Script) {
    let (path, new) = (quote(&spec.path), quote(&format!("{}.landfall-new", spec.path)));
    let keys: Vec<&String> = spec.values.keys().collect();
    let program = "(.[0] // {}) | with_entries(select(.key as $key | $ours | index([$key]) | not)) + ($kept | with_entries(select(.key as $key | $ours | index([$key]))))";
    out.line(format!("[ -e {path} ] || return 0"));
    out.line(format!("kept=$(original {path})"));
    out.line("before='{}'");
    out.line("[ ! -s \"$kept\" ] || before=$(jq --slurp '.[0] // {}' \"$kept\")");
    out.line(format!("cp -p -- {path} {new}"));
    out.line(format!(
        "jq --slurp --argjson ours {} --argjson kept \"$before\" {} {path} >{new}",
        quote(&serde_json::json!(keys).to_string()),
        quote(program)
    ));
    out.line(format!("if [ ! -e \"$kept\" ] && [ \"$(jq -c . {new})\" = '{{}}' ]; then rm -f -- {path} {new}; else mv -fT -- {new} {path}; fi"));
}
