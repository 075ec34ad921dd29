//! Docker Compose projects.

use crate::model::machine::Compose;
use crate::model::resource::Fields;
use crate::providers::host::facts::{Facts, MARKS, content_digest};
use crate::providers::host::questions::Questions;
use crate::providers::host::script::{Script, quote, words};

/// How many seconds an app may take to become healthy.
const PATIENCE: u32 = 120;

fn mark(spec: &Compose) -> String {
    format!("compose.{}", spec.project)
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
    let is_well = |[_, state, status]: &[String; 3]| {
        state == "running" && !status.contains("unhealthy") || status.starts_with("Exited (0)")
    };
    let has = |service: &String| containers.iter().any(|[name, ..]| name == service);
    let running = containers.iter().all(is_well) && spec.services.iter().all(has);
    let up_to_date = facts.marks.get(&mark(spec)) == Some(&facts.digest_of(&spec.reads));
    let mut fields = Fields::from([("running", running.into()), ("up_to_date", up_to_date.into())]);
    if let Some(health) = &spec.health {
        let healthy = facts.health.get(health).is_some_and(|status| (200..300).contains(status));
        fields.insert("healthy", healthy.into());
    }
    Some(fields)
}

fn command(spec: &Compose) -> String {
    let files = spec.files.iter().flat_map(|file| ["--file", file.as_str()]);
    format!("docker compose --progress plain --project-name {} {}", quote(&spec.project), words(files))
}

pub(super) fn make(spec: &Compose, out: &mut Script) {
    let compose = command(spec);
    let generated = words(spec.reads.iter().filter(|path| path.ends_with(".env")));
    let explain =
        format!("{compose} ps --all || :; {compose} logs --no-color --tail 12 2>&1 | mask {generated}; exit 1");
    out.line(format!("cd -- {}", quote(&spec.directory)));
    out.line(format!("digest={}", content_digest(&spec.reads)));
    // A paused container can neither be started nor replaced; where none is paused, this says so.
    out.line(format!("{compose} unpause >/dev/null 2>&1 || :"));
    out.line(format!("{compose} up --detach --remove-orphans --wait --wait-timeout {PATIENCE} || {{ {explain}; }}"));
    if let Some((port, path)) = &spec.health {
        let url = quote(&format!("http://127.0.0.1:{port}{path}"));
        out.line(format!("end=$(($(date +%s) + {PATIENCE}))"));
        // Only what the proxy's own health check would accept.
        out.line(format!("until curl --silent --show-error --output /dev/null --max-time 5 --write-out '%{{http_code}}\\n' -- {url} | grep '^2'; do"));
        out.line(format!("    if [ \"$(date +%s)\" -ge \"$end\" ]; then echo \"not healthy: nothing good came from port {port}, path \"{}; {explain}; fi", quote(path)));
        out.line("    sleep 1");
        out.line("done");
    }
    // What ran is noted, so that it can be taken away some day, and not before it is no longer needed.
    let (project, images) = (quote(&spec.project), quote(&format!("/var/lib/landfall/images/{}", spec.project)));
    out.line("mkdir -p -m 0700 /var/lib/landfall/images");
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
    forget(spec, out);
}
