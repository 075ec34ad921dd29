//! What a compose file may do to the server it runs on, judged on what Compose makes of it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::interpolate::HIDDEN;
use super::{ComposeFile, problem};
use crate::model::problem::Problem;

/// A right that gives a container the server, or much of it. It is given by name, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// `privileged: true`: every right there is.
    Privileged,
    /// The network of the server itself, past its own.
    HostNetwork,
    /// The processes, the memory or the users of the server itself.
    HostNamespaces,
    /// The socket of Docker, which starts containers with any right.
    DockerSocket,
    /// Folders of the server's own system.
    HostFiles,
    /// Capabilities that lead out of the container, such as `SYS_ADMIN` or `ALL`.
    Capabilities,
    /// Devices of the server.
    Devices,
    /// A network past the server's firewall: macvlan or ipvlan.
    OuterNetwork,
    /// Security profiles switched off.
    Unconfined,
}

impl Right {
    pub(in crate::steps::app) fn as_str(self) -> &'static str {
        match self {
            Right::Privileged => "privileged",
            Right::HostNetwork => "host-network",
            Right::HostNamespaces => "host-namespaces",
            Right::DockerSocket => "docker-socket",
            Right::HostFiles => "host-files",
            Right::Capabilities => "capabilities",
            Right::Devices => "devices",
            Right::OuterNetwork => "outer-network",
            Right::Unconfined => "unconfined",
        }
    }
}

/// Capabilities of capabilities(7) with which one gets out of a container.
const STRONG: &[&str] = &[
    "ALL",
    "BPF",
    "DAC_READ_SEARCH",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_TIME",
    "SYSLOG",
];

/// Does this capability lead out of a container?
pub(in crate::steps::app) fn is_strong(capability: &str) -> bool {
    let name = capability.to_ascii_uppercase();
    STRONG.contains(&name.strip_prefix("CAP_").unwrap_or(&name))
}

/// Folders of a system, which are not for containers; what lies deeper in the second list is.
const SYSTEM: &[&str] = &[
    "/srv/landfall",
    "/var/lib/landfall",
    "/var/lib/caddy",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/sbin",
    "/sys",
    "/usr",
];
const ABOVE: &[&str] =
    &["/", "/home", "/opt", "/run", "/srv", "/var", "/var/lib", "/var/lib/docker", "/var/log", "/var/run"];
/// What many images are given to tell the time, read only.
const HARMLESS: &[&str] = &["/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo"];

/// An absolute path without dots and doubled slashes; anything else as it is.
fn plain(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn rights_of_mount(source: &str, read_only: bool) -> Option<Right> {
    let source = plain(source);
    let source = source.as_str();
    if source.ends_with("docker.sock") || source.ends_with("containerd.sock") || source.ends_with("podman.sock") {
        return Some(Right::DockerSocket);
    }
    if matches!(source, "/run" | "/var/run") {
        return Some(Right::DockerSocket);
    }
    if read_only && HARMLESS.iter().any(|path| source == *path || source.starts_with(&format!("{path}/"))) {
        return None;
    }
    let is_system = SYSTEM.iter().any(|path| source == *path || source.starts_with(&format!("{path}/")))
        || ABOVE.contains(&source)
        || source.starts_with("/var/lib/docker/");
    is_system.then_some(Right::HostFiles)
}

/// What the service `spec` asks for, each with the words that ask for it. An error names what cannot be judged, because it
/// is known on the server only.
fn asked(spec: &Value) -> Result<Vec<(Right, String)>, String> {
    let mut all = Vec::new();
    let text = |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default();
    let is_on = |key: &str| match spec.get(key) {
        Some(Value::Bool(on)) => *on,
        // Compose casts what a variable was filled with.
        Some(Value::String(on)) => {
            !matches!(on.to_ascii_lowercase().as_str(), "false" | "no" | "off" | "n" | "f" | "0" | "")
        }
        _ => false,
    };
    for key in ["privileged", "network_mode", "pid", "ipc", "userns_mode", "uts", "cgroup"] {
        if text(key).contains(HIDDEN) {
            return Err(key.to_owned());
        }
    }
    let hooks = ["post_start", "pre_stop"].into_iter().filter_map(|key| spec.get(key)?.as_array()).flatten();
    if spec.get("provider").is_some()
        || hooks.into_iter().any(|hook| hook.get("privileged").is_some_and(|on| *on != false))
    {
        all.push((Right::Privileged, "a hook or a provider that runs with every right".to_owned()));
    }
    if is_on("use_api_socket") {
        all.push((Right::DockerSocket, "use_api_socket: true".to_owned()));
    }
    if is_on("privileged") {
        all.push((Right::Privileged, "privileged: true".to_owned()));
    }
    if text("network_mode") == "host" {
        all.push((Right::HostNetwork, "network_mode: host".to_owned()));
    }
    for key in ["pid", "ipc", "userns_mode", "uts", "cgroup"] {
        if text(key) == "host" {
            all.push((Right::HostNamespaces, format!("{key}: host")));
        }
    }
    let list = |key: &str| spec.get(key).and_then(Value::as_array).into_iter().flatten();
    for key in ["cap_add", "devices", "security_opt"] {
        if list(key).any(|value| value.to_string().contains(HIDDEN)) {
            return Err(key.to_owned());
        }
    }
    for file in
        spec.get("env_file").into_iter().flat_map(|files| files.as_array().cloned().unwrap_or(vec![files.clone()]))
    {
        let path = file.as_str().or(file.get("path").and_then(Value::as_str)).unwrap_or_default();
        if let Some(right) = rights_of_mount(path, true).filter(|_| path.starts_with('/')) {
            all.push((right, format!("the file {path}")));
        }
    }
    for capability in list("cap_add").filter_map(Value::as_str).filter(|capability| is_strong(capability)) {
        all.push((Right::Capabilities, format!("cap_add: {capability}")));
    }
    if list("devices").count() + list("device_cgroup_rules").count() > 0 {
        all.push((Right::Devices, "devices".to_owned()));
    }
    for option in list("security_opt").filter_map(Value::as_str) {
        let option = option.replace('=', ":");
        if matches!(
            option.as_str(),
            "seccomp:unconfined" | "apparmor:unconfined" | "systempaths:unconfined" | "label:disable"
        ) {
            all.push((Right::Unconfined, format!("security_opt: {option}")));
        }
    }
    for volume in list("volumes") {
        let (source, read_only) = super::beside::mount(volume);
        let Some(source) = source else { continue };
        if source.contains(HIDDEN) {
            return Err("volumes".to_owned());
        }
        if let Some(right) = rights_of_mount(&source, read_only) {
            all.push((right, format!("the mount of {source}")));
        }
    }
    Ok(all)
}

impl ComposeFile {
    /// Does every service get along with what `allowed` says?
    pub(in crate::steps::app) fn check_rights(&self, allowed: &[Right]) -> Result<(), Problem> {
        let refused = |what: String, right: Right| {
            problem(what)
                .expected(format!("a file without it, or the word for it: allow = [\"{}\"]", right.as_str()))
                .hint("whoever breaks into such a container has the server")
        };
        for (name, spec) in &self.services {
            let asked = asked(spec).map_err(|key| {
                problem(format!("service `{name}`: `{key}` is filled from a secret or an output"))
                    .expected("a value that can be judged before it is on the server")
            })?;
            if let Some((right, words)) = asked.into_iter().find(|(right, _)| !allowed.contains(right)) {
                return Err(refused(format!("service `{name}` asks for {words}"), right));
            }
        }
        for (name, network) in self.table("networks") {
            let driver = network.get("driver").and_then(Value::as_str).unwrap_or_default();
            if matches!(driver, "macvlan" | "ipvlan" | "host") && !allowed.contains(&Right::OuterNetwork) {
                return Err(refused(format!("the network `{name}` has the driver {driver}"), Right::OuterNetwork));
            }
        }
        for (name, volume) in self.table("volumes") {
            let option = |key: &str| volume.get("driver_opts").and_then(|o| o.get(key)).and_then(Value::as_str);
            if option("device").is_some_and(|device| device.contains(HIDDEN)) {
                return Err(problem(format!("the volume `{name}` is filled from a secret or an output"))
                    .expected("a value that can be judged before it is on the server"));
            }
            if let Some(device) = option("device")
                && let Some(right) = rights_of_mount(device, false).filter(|right| !allowed.contains(right))
            {
                return Err(refused(format!("the volume `{name}` is {device} of the server"), right));
            }
        }
        for kind in ["configs", "secrets"] {
            for (name, spec) in self.table(kind) {
                let Some(path) = spec.get("file").and_then(Value::as_str).filter(|path| path.starts_with('/')) else {
                    continue;
                };
                if let Some(right) = rights_of_mount(path, true).filter(|right| !allowed.contains(right)) {
                    return Err(refused(format!("`{kind}.{name}` is the server's file {path}"), right));
                }
            }
        }
        Ok(())
    }

    /// What the server looks for once more in what Compose itself makes of the file: patterns of lines that must not be
    /// there.
    pub(in crate::steps::app) fn forbidden(allowed: &[Right]) -> Vec<String> {
        let all = [
            (Right::Privileged, "\"privileged\": true"),
            (Right::HostNetwork, "\"network_mode\": \"host\""),
            (Right::HostNamespaces, "\"(pid|ipc|uts|userns_mode|cgroup)\": \"host\""),
            (Right::DockerSocket, "\"source\": \".*(docker|containerd|podman)[.]sock\""),
            (Right::HostFiles, "\"source\": \"/\""),
            (Right::OuterNetwork, "\"driver\": \"(macvlan|ipvlan)\""),
        ];
        all.iter().filter(|(right, _)| !allowed.contains(right)).map(|(_, pattern)| (*pattern).to_owned()).collect()
    }
}
