//! What containers may use and do, unless somebody says otherwise.

use minijinja::context;
use serde_json::Value;

/// The memory one container may use.
pub(super) const MEMORY: &str = "1g";
/// How many processes it may have.
pub(super) const PROCESSES: u32 = 512;
/// What images need that begin as root, set up their files and then become somebody else; everything else
/// Docker would allow is dropped.
pub(super) const CAPABILITIES: &[&str] =
    &["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];

/// What must be added to a service of a compose file, for a template: only what the file leaves open.
pub(super) fn missing(name: &str, service: &Value) -> minijinja::Value {
    let says = |keys: &[&str]| keys.iter().any(|key| service.get(key).is_some());
    let deploys = |part: &str| service.get("deploy").is_some_and(|deploy| deploy.get(part).is_some());
    let options = service.get("security_opt").and_then(Value::as_array);
    let about_privileges = |option: &Value| option.as_str().is_some_and(|text| text.starts_with("no-new-privileges"));
    let privileged = service.get("privileged") == Some(&Value::Bool(true));
    context! {
        name,
        restart => !says(&["restart"]) && !deploys("restart_policy"),
        memory => (!says(&["mem_limit"]) && !deploys("resources")).then_some(MEMORY),
        processes => (!says(&["pids_limit"]) && !deploys("resources")).then_some(PROCESSES),
        no_new_privileges => !privileged && !options.is_some_and(|options| options.iter().any(about_privileges)),
        capabilities => (!privileged && !says(&["cap_add", "cap_drop"])).then(|| CAPABILITIES.to_vec()),
    }
}
