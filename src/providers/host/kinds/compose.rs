//! Docker Compose projects.

use crate::model::machine::{Cluster, Compose, Health};
use crate::model::resource::Fields;
use crate::providers::host::facts::{Facts, MARKS, content_digest};
use crate::providers::host::questions::Questions;
use crate::providers::host::script::{Script, quote, words};

/// How many seconds an app may take to become healthy once its containers run.
const PATIENCE: u32 = 120;
/// How many seconds its containers may take to start, with all that they wait for: a migration may be long.
const STARTING: u32 = 1800;
/// How many seconds one image may take to be pulled.
const PULLING: u32 = 1800;

fn mark(spec: &Compose) -> String {
    format!("compose.{}", spec.project)
}

/// The command that asks an app as its visitors' proxy would, and prints the status; 000 for no answer.
pub(in crate::providers::host) fn asking(health: &Health) -> String {
    let url = quote(&format!("http://127.0.0.1:{}{}", health.port, health.asked()));
    let host = health.host.as_ref().map_or_else(String::new, |host| {
        format!("--header {} --header 'X-Forwarded-Proto: https' ", quote(&format!("Host: {host}")))
    });
    format!("curl --silent --output /dev/null --max-time 5 {host}--write-out '%{{http_code}}' -- {url}")
}

pub(super) fn ask(spec: &Compose, questions: &mut Questions) {
    questions.containers = true;
    questions.sums.extend(spec.reads.iter().cloned());
    questions.marks.insert(mark(spec));
    questions.health.extend(spec.health.clone());
}

pub(super) fn read(spec: &Compose, facts: &Facts) -> Option<Fields> {
    let containers = facts.containers.get(&spec.project)?;
    // A container that ended well has done its work.
    let is_well = |[_, state, status, _]: &[String; 4]| {
        state == "running" && !status.contains("unhealthy") || status.starts_with("Exited (0)")
    };
    let has = |service: &String| containers.iter().any(|[name, ..]| name == service);
    let running = containers.iter().all(is_well) && spec.services.iter().all(has);
    let up_to_date = facts.marks.get(&mark(spec)) == Some(&facts.digest_of(&spec.reads));
    let mut fields = Fields::from([("running", running.into()), ("up_to_date", up_to_date.into())]);
    if let Some(health) = &spec.health {
        let status = facts.health.get(&(health.port, health.asked().to_owned()));
        fields.insert("healthy", status.is_some_and(|status| health.is_good(*status)).into());
    }
    if let Some(cluster) = &spec.cluster {
        let image = containers.iter().find(|[service, ..]| *service == cluster.service).map(|[.., image]| image);
        // Where the image does not say, nothing is known against it.
        let there = image.and_then(|image| major_version(image)).unwrap_or(cluster.version);
        fields.insert("data", Cluster::data(there));
    }
    Some(fields)
}

/// The major version in an image's tag: `postgres:17`, `postgres:17.2-bookworm`.
fn major_version(image: &str) -> Option<u32> {
    let (name, tag) = image.rsplit('/').next()?.split_once(':')?;
    // An image whose tag has moved on is shown by its digest.
    if name == "sha256" {
        return None;
    }
    tag.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn command(spec: &Compose) -> String {
    let files = spec.files.iter().flat_map(|file| ["--file", file.as_str()]);
    let values = spec.env_files.iter().flat_map(|file| ["--env-file", file.as_str()]);
    let arguments: Vec<&str> = values.chain(files).collect();
    format!("docker compose --progress plain --project-name {} {}", quote(&spec.project), words(&arguments))
}

/// Brings a project up. What can be told before anything is touched is told then: whether the files are whole, which rights
/// they ask for, whether every image is there. When the new version does not start, the files and containers that ran last
/// are brought back.
pub(super) fn make(spec: &Compose, out: &mut Script) {
    let compose = command(spec);
    out.line(format!("cd -- {}", quote(&spec.directory)));
    out.line(format!("digest={}", content_digest(&spec.reads)));
    let generated = words(spec.reads.iter().filter(|path| path.ends_with(".env")));
    let (project, images) = (quote(&spec.project), quote(&format!("/var/lib/landfall/images/{}", spec.project)));
    let kept = quote(&format!("/var/lib/landfall/good/{}", spec.project));
    out.line("explain() {");
    out.line(format!("    {compose} ps --all || :"));
    out.line(format!("    {compose} logs --no-color --tail 12 2>&1 | mask {generated}"));
    out.line(format!("    docker ps --all --quiet --filter label=com.docker.compose.project={project} | xargs --no-run-if-empty docker inspect --format '{{{{if .State.Health}}}}{{{{if ne .State.Health.Status \"healthy\"}}}}{{{{.Name}}}}: its health check says: {{{{range .State.Health.Log}}}}{{{{println .Output}}}}{{{{end}}}}{{{{end}}}}{{{{end}}}}' | grep . | tail -n 3 | mask {generated} || :"));
    out.line("}");
    out.line("broken() {");
    out.line("    explain");
    out.line(format!("    if [ -d {kept} ]; then"));
    out.line(format!(
        "        for file in {}; do [ ! -e {kept}\"$file\" ] || cp -p -- {kept}\"$file\" \"$file\"; done",
        words(&spec.reads)
    ));
    out.line(format!("        timeout --kill-after=10 {PATIENCE} {compose} up --detach --remove-orphans >/dev/null 2>&1 && echo 'the version that ran before is back' || echo 'the version that ran before does not come back either'"));
    out.line("    fi");
    out.line("    exit 1");
    out.line("}");
    out.line(format!("{compose} config --quiet || {{ echo 'what ran before was not touched'; exit 1; }}"));
    if !spec.forbidden.is_empty() {
        let patterns = spec.forbidden.join("|");
        out.line(format!("if {compose} config --format json | grep -E {}; then", quote(&patterns)));
        out.line(
            "    echo 'nobody allowed this right in the playbook (`allow`); what ran before was not touched'; exit 1",
        );
        out.line("fi");
    }
    out.line(format!("{compose} config --images | sort -u | while IFS= read -r image; do"));
    out.line("    docker image inspect -- \"$image\" >/dev/null 2>&1 && continue");
    out.line(format!("    timeout --kill-after=10 {PULLING} docker pull --quiet -- \"$image\" || {{ echo \"the image $image cannot be pulled; what ran before was not touched\"; exit 1; }}"));
    out.line("done || exit 1");
    // A paused container can neither be started nor replaced; where none is paused, this says so.
    out.line(format!("{compose} unpause >/dev/null 2>&1 || :"));
    out.line(format!("timeout --kill-after=10 {STARTING} {compose} up --detach --remove-orphans || {{ [ \"$?\" -ne 124 ] || echo 'it did not start within {STARTING} seconds'; broken; }}"));
    // A service that ends well has done its work; everything else must run, and be healthy where it can say so.
    out.line(format!("end=$(($(date +%s) + {PATIENCE}))"));
    out.line("while :; do");
    out.line(format!("    states=$(docker ps --all --filter label=com.docker.compose.project={project} --format '{{{{.State}}}} {{{{.Status}}}}')"));
    out.line("    if printf '%s\\n' \"$states\" | grep -qE '^exited Exited \\([1-9]|^dead'; then echo 'a container ended with an error'; broken; fi");
    out.line("    printf '%s\\n' \"$states\" | grep -qE '^(created|restarting|paused)|\\((health: starting|unhealthy)\\)' || break");
    out.line("    if [ \"$(date +%s)\" -ge \"$end\" ]; then echo 'a container does not stay up, or is not healthy'; broken; fi");
    out.line("    sleep 1");
    out.line("done");
    if let Some(health) = &spec.health {
        let asking = asking(health);
        // Only what the proxy's own health check would accept.
        let good = if health.path.is_some() { "2??" } else { "[1-9]??" };
        let (port, path) = (health.port, quote(health.asked()));
        out.line(format!("end=$(($(date +%s) + {PATIENCE}))"));
        out.line(format!("while status=$({asking}); case $status in {good}) false ;; esac; do"));
        out.line("    if [ \"$(date +%s)\" -ge \"$end\" ]; then");
        out.line("        case $status in");
        out.line(format!("            000) echo \"nothing answers on port {port}: does the app listen there, and on 0.0.0.0 rather than 127.0.0.1?\" ;;"));
        out.line(format!("            *) echo \"not healthy: port {port}, path \"{path}\" answers with status $status $({} | sed -n 's/^[Ll]ocation: */to /p')\" ;;", asking.replace("--output /dev/null", "--head").replace(" --write-out '%{http_code}'", "")));
        out.line("        esac");
        out.line("        broken");
        out.line("    fi");
        out.line("    sleep 1");
        out.line("done");
    }
    // What runs now is what a later version that does not start gives way to.
    out.line("mkdir -p -m 0700 /var/lib/landfall/images /var/lib/landfall/good");
    out.line(format!("rm -rf {kept}.new && mkdir -m 0700 {kept}.new && cp -a --parents -- {} {kept}.new/ && rm -rf {kept} && mv -f {kept}.new {kept}", words(&spec.reads)));
    // What ran is noted, so that it can be taken away some day, and not before it is no longer needed.
    out.line(format!("[ -e {images} ] || : >{images}"));
    out.line(format!("docker ps --all --quiet --filter label=com.docker.compose.project={project} | xargs --no-run-if-empty docker inspect --format '{{{{index .Config.Labels \"com.docker.compose.service\"}}}} {{{{.Image}}}}' | while IFS= read -r line; do grep -vxF -e \"$line\" {images} >{images}.new || :; printf '%s\\n' \"$line\" >>{images}.new; mv -f {images}.new {images}; done"));
    out.line(format!("leave_mark {} \"$digest\"", quote(&mark(spec))));
}

pub(super) fn forget(spec: &Compose, out: &mut Script) {
    out.line(format!("rm -f -- {}", quote(&format!("{MARKS}/{}", mark(spec)))));
}

/// Containers, networks and volumes go; the caller has made sure that their loss is wanted.
pub(super) fn unmake(spec: &Compose, out: &mut Script) {
    out.line(format!("cd -- {}", quote(&spec.directory)));
    out.line(format!("{} down --volumes --remove-orphans", command(spec)));
    out.line(format!("rm -rf -- {}", quote(&format!("/var/lib/landfall/good/{}", spec.project))));
    forget(spec, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_cluster_is_told_by_its_image() {
        for (image, version) in [
            ("postgres:17", Some(17)),
            ("registry.acme.test:5000/postgres:16.4-bookworm", Some(16)),
            ("postgres", None),
            ("postgres:latest", None),
            ("registry.acme.test:5000/postgres", None),
            ("sha256:0123", None),
        ] {
            assert_eq!(major_version(image), version, "{image}");
        }
    }
}
