//! What containers may use and do, unless somebody says otherwise.

use minijinja::context;
use serde_json::Value;

/// The memory one container may use.
pub(super) const MEMORY: &str = "1g";
/// How many processes it may have.
pub(super) const PROCESSES: u32 = 512;
/// The same for a service of a compose file, whose author thought of no limit: only a fork bomb has so many.
const PROCESSES_OF_A_SERVICE: u32 = 4096;
/// What images need that begin as root, set up their files and then become somebody else; everything else
/// Docker would allow is dropped.
pub(super) const CAPABILITIES: &[&str] =
    &["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];

/// What is added to a service of a compose file, for a template: only what the file leaves open, and nothing that would
/// make it mean something else. Only the service that visitors see is started again by itself: others may be meant to end.
/// `read` tells apart what the files beside it hold, so that a change in them makes its container anew.
pub(super) fn missing(name: &str, service: &Value, is_chosen: bool, read: Option<&String>) -> minijinja::Value {
    let says = |keys: &[&str]| keys.iter().any(|key| service.get(key).is_some());
    let deploys = |part: &str| service.get("deploy").is_some_and(|deploy| deploy.get(part).is_some());
    let options = service.get("security_opt").and_then(Value::as_array);
    let about_privileges = |option: &Value| option.as_str().is_some_and(|text| text.starts_with("no-new-privileges"));
    let privileged = service.get("privileged") == Some(&Value::Bool(true));
    context! {
        name,
        restart => is_chosen && !says(&["restart"]) && !deploys("restart_policy"),
        processes => (!says(&["pids_limit"]) && !deploys("resources")).then_some(PROCESSES_OF_A_SERVICE),
        no_new_privileges => !privileged && !options.is_some_and(|options| options.iter().any(about_privileges)),
        read,
    }
}
