//! Is an app one that can be carried out? By itself, and among the other steps of its server.

use crate::model::name::{Name, in_ascii, is_host_name};
use crate::model::playbook::Entry;
use crate::model::problem::Problem;
use crate::model::value::Input;
use crate::steps::Site;
use crate::steps::app::AppAnswers;
use crate::steps::app::compose::rights::{Right, is_strong};
use crate::steps::docker::DockerAnswers;

/// Do the answers fit each other, whatever else the playbook holds?
pub(super) fn by_itself(entry: &Entry, answers: &AppAnswers) -> Result<(), Problem> {
    let given = [("image", &answers.image), ("compose", &answers.compose), ("static", &answers.folder)];
    let given: Vec<&str> = given.into_iter().filter(|(_, value)| value.is_some()).map(|(key, _)| key).collect();
    match given[..] {
        [_] => {}
        [] => {
            return Err(
                Problem::new(entry.at.clone(), "an app needs `image`, `compose` or `static`").expected("one of them")
            );
        }
        [_, second, ..] => {
            return Err(Problem::new(entry.place_of(second), format!("`{}` together", given.join("` and `")))
                .expected("one of `image`, `compose` or `static`"));
        }
    }
    if let Some(image) = &answers.image {
        image_name(image).map_err(|right| {
            Problem::new(entry.place_of("image"), format!("bad image name `{image}`")).expected(right)
        })?;
    }
    let only_for = |key: &str, there: bool, right: bool, what: &str| {
        if there && !right {
            return Err(
                Problem::new(entry.place_of(key), format!("`{key}` means nothing to {what}")).hint("take the line out")
            );
        }
        Ok(())
    };
    let contained = answers.folder.is_none();
    only_for("port", answers.port.is_some(), contained, "static files")?;
    only_for("listen", answers.listen.is_some(), contained, "static files")?;
    only_for("health", answers.health.is_some(), contained, "static files")?;
    only_for("env", !answers.env.is_empty(), contained, "static files")?;
    only_for("service", answers.service.is_some(), answers.compose.is_some(), "an app without a compose file")?;
    let is_image = answers.image.is_some();
    for (key, there) in [
        ("memory", answers.memory.is_some()),
        ("capabilities", answers.capabilities.is_some()),
        ("read_only", answers.read_only.is_some()),
        ("volumes", !answers.volumes.is_empty()),
    ] {
        only_for(key, there, is_image, "anything but an `image`; a compose file says it for each service")?;
    }
    let is_place = |path: &String| {
        let legal = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(legal))
    };
    if let Some(path) = answers.volumes.iter().find(|path| !is_place(path)) {
        return Err(Problem::new(entry.place_of("volumes"), format!("bad place `{path}` in a container"))
            .expected("an absolute path such as \"/data\""));
    }
    if let Some(memory) = &answers.memory
        && memory != "none"
        && !(memory.ends_with(['m', 'g']) && memory[..memory.len() - 1].parse::<u32>().is_ok_and(|size| size > 0))
    {
        return Err(Problem::new(entry.place_of("memory"), format!("bad size `{memory}`"))
            .expected("a size such as \"512m\" or \"2g\", or \"none\""));
    }
    if let Some(bad) = answers.capabilities.iter().flatten().find(|name| !CAPABILITIES.contains(&name.as_str())) {
        return Err(Problem::new(entry.place_of("capabilities"), format!("there is no capability `{bad}`"))
            .expected("a name of capabilities(7) without CAP_, such as \"NET_ADMIN\"")
            .did_you_mean(bad, CAPABILITIES.iter().copied()));
    }
    if let Some(strong) = answers.capabilities.iter().flatten().find(|name| is_strong(name))
        && !answers.allow.contains(&Right::Capabilities)
    {
        return Err(Problem::new(
            entry.place_of("capabilities"),
            format!("the capability {strong} leads out of the container"),
        )
        .expected("an app without it, or the word for it: allow = [\"capabilities\"]")
        .hint("whoever breaks into such a container has the server"));
    }
    if contained && answers.port.is_none() {
        for (key, there) in [
            ("host", answers.host.is_some()),
            ("health", answers.health.is_some()),
            ("listen", answers.listen.is_some()),
        ] {
            if there {
                return Err(Problem::new(entry.place_of(key), format!("`{key}` without a `port`"))
                    .hint("say which port the app listens on, such as `port = 3000`"));
            }
        }
    }
    for key in ["port", "listen"] {
        let value = if key == "port" { answers.port } else { answers.listen };
        if value == Some(0) {
            return Err(Problem::new(entry.place_of(key), "port 0").expected("a whole number from 1 to 65535"));
        }
    }
    // sshd, Caddy, and Caddy's own door.
    if let Some(port @ (22 | 80 | 443 | 2019)) = answers.loopback_port() {
        let key = if answers.listen.is_some() { "listen" } else { "port" };
        return Err(Problem::new(entry.place_of(key), format!("port {port} of the server is taken"))
            .expected("a loopback port that neither sshd nor the proxy uses")
            .hint("add `listen = 8080`; the port inside the container stays as it is"));
    }
    if let Some(host) = &answers.host
        && !is_host_name(host)
    {
        return Err(bad_host(entry, host));
    }
    if let Some(health) = &answers.health
        && !is_health_path(health)
    {
        return Err(Problem::new(entry.place_of("health"), format!("bad health path `{health}`"))
            .expected("a path such as \"/healthz\""));
    }
    for (variable, input) in &answers.env {
        if matches!(input, Input::Literal(text) if text.contains('\0')) {
            return Err(Problem::new(entry.place_of(&format!("env.{variable}")), "a NUL in an environment variable")
                .expected("text without NUL: no program could read it"));
        }
        if answers.compose.is_some() && (variable.starts_with("COMPOSE_") || variable.starts_with("DOCKER_")) {
            return Err(Problem::new(
                entry.place_of(&format!("env.{variable}")),
                format!("`{variable}` would steer Compose itself"),
            )
            .expected("a name of your own"));
        }
        let legal = variable.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !legal {
            return Err(Problem::new(
                entry.place_of(&format!("env.{variable}")),
                format!("bad variable name `{variable}`"),
            )
            .expected("a letter or underscore, then letters, digits and underscores"));
        }
    }
    Ok(())
}

/// What is wrong with a host name, where that can be told.
fn bad_host(entry: &Entry, host: &str) -> Problem {
    let problem = Problem::new(entry.place_of("host"), format!("bad host name `{host}`"));
    let bare = host.trim_start_matches("https://").trim_start_matches("http://");
    let bare = bare.split(['/', ':', '?']).next().unwrap_or_default().trim_end_matches('.');
    if let Some(ascii) = in_ascii(bare) {
        return problem.expected(format!("the same in ASCII: \"{ascii}\""));
    }
    match bare != host && is_host_name(bare) {
        true => problem.expected(format!("the name alone: \"{bare}\"")),
        false => problem.expected("a name such as \"app.acme.dev\""),
    }
}

/// Names of capabilities(7), as of Linux 6.12, and `ALL` for all of them.
const CAPABILITIES: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Is this an image's name as Docker takes it (the grammar of github.com/distribution/reference)? An error says what would
/// be right.
pub(super) fn image_name(text: &str) -> Result<(), String> {
    const RIGHT: &str = "a name such as \"ghcr.io/acme/web:1.4.2\"";
    if let Some(rest) = text.strip_prefix("https://").or(text.strip_prefix("http://")) {
        return Err(format!("the image's name without the web address's beginning, such as \"{rest}\""));
    }
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let is_digest = |digest: &str| {
        digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let is_tag = |tag: &str| {
        (1..=128).contains(&tag.len())
            && !tag.starts_with(['.', '-'])
            && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, name),
    };
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!(
            "lower-case letters before the tag, such as \"{}\"",
            text.replace(path, &path.to_lowercase())
        ));
    }
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    let is_registry = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c));
    let fits = text.len() <= 255
        && path.split('/').all(is_part)
        && registry.is_none_or(is_registry)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    if fits { Ok(()) } else { Err(RIGHT.to_owned()) }
}

fn is_health_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 200
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._~-?=&%".contains(c))
}

/// Does the app get along with the other steps of its server?
pub(super) fn among_the_others(site: &Site<'_>, answers: &AppAnswers) -> Result<(), Problem> {
    check_port_is_free(site, answers)?;
    check_docker_is_there(site, answers)?;
    check_generated_once(site, answers)
}

/// Does a step above this one bring Docker to the same server?
fn check_docker_is_there(site: &Site<'_>, answers: &AppAnswers) -> Result<(), Problem> {
    let above = site.playbook.steps.iter().take_while(|entry| entry.id != site.entry.id);
    let brings =
        |entry: &&Entry| entry.kind == "docker" && entry.answers::<DockerAnswers>().is_ok_and(|d| d.on == answers.on);
    if answers.folder.is_some() || above.filter(brings).count() > 0 {
        return Ok(());
    }
    let what = if answers.image.is_some() { "image" } else { "compose" };
    Err(Problem::new(site.entry.place_of(what), format!("nothing runs containers on `{}`", answers.on))
        .expected("a step `docker` on the same server, above this one")
        .hint(format!("add `[[step]]` with `use = \"docker\"` and `on = \"{}\"`", answers.on)))
}

/// Is each generated secret for one variable of one app? It is made where it is used, so a second use would
/// get another value.
fn check_generated_once(site: &Site<'_>, answers: &AppAnswers) -> Result<(), Problem> {
    let generated = |answers: &AppAnswers| -> Vec<(String, Name)> {
        let inputs = answers.env.iter().filter_map(|(variable, input)| match input {
            Input::Secret { name, generate: Some(_) } => Some((variable.clone(), name.clone())),
            _ => None,
        });
        inputs.collect()
    };
    let mut seen: Vec<Name> = Vec::new();
    for other in site.playbook.steps.iter().filter(|e| e.kind == "app").take_while(|e| e.id != site.entry.id) {
        seen.extend(generated(other.answers::<AppAnswers>()?.as_ref()).into_iter().map(|(_, name)| name));
    }
    for (variable, name) in generated(answers) {
        if seen.contains(&name) {
            return Err(Problem::new(
                site.entry.place_of(&format!("env.{variable}")),
                format!("the secret `{name}` would be generated twice, with two values"),
            )
            .expected("a generated secret of its own for each variable")
            .hint("to use one value in several places, give it yourself and leave out `generate`"));
        }
        seen.push(name);
    }
    Ok(())
}

/// Does no app above this one listen on the same port of the same server?
fn check_port_is_free(site: &Site<'_>, answers: &AppAnswers) -> Result<(), Problem> {
    let Some(port) = answers.loopback_port() else { return Ok(()) };
    for other in site.playbook.steps.iter().filter(|entry| entry.kind == "app") {
        if other.id == site.entry.id {
            break;
        }
        let twin = other.answers::<AppAnswers>()?;
        if twin.on == answers.on && twin.loopback_port() == Some(port) {
            let key = if answers.listen.is_some() { "listen" } else { "port" };
            return Err(Problem::new(
                site.entry.place_of(key),
                format!("`{}` and `{}` both listen on port {port} of `{}`", other.id, site.entry.id, answers.on),
            )
            .expected("a loopback port of its own for each app")
            .hint(format!("add `listen = {}`; the port inside the container stays as it is", port.wrapping_add(1))));
        }
    }
    Ok(())
}
