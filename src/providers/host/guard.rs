//! Changes that undo themselves. Before such a change the host keeps what it is about to change and sets a
//! clock; only when a new connection has come in and used sudo is the clock stopped. Whatever happens in
//! between, to the script, to the connection or to the power, the host puts the old state back by itself.

use std::fmt::Write as _;

use crate::model::resource::{Resource, Spec};
use crate::providers::host::facts::MARKS;
use crate::providers::host::kinds::access::{self, RELOAD_SSHD};
use crate::providers::host::kinds::tuning::knobs;
use crate::providers::host::questions::USED_KEY;
use crate::providers::host::script::{Script, quote, words};

/// Where a host keeps what it would put back.
pub(super) const GUARD: &str = "/var/lib/landfall/guard";
/// How many seconds after a guarded change began the host puts the old state back by itself.
pub(super) const CLOCK: u32 = 45;
/// How many seconds the script itself waits for the proof.
pub(super) const WINDOW: u32 = 25;

const UNDO: &str = include_str!("../../../templates/host-undo");

/// What a guarded change touches, and how its old state is taken up again.
struct Guarded {
    /// Files it changes.
    paths: Vec<String>,
    /// Shell text that keeps what is in force and stands in no file.
    keep: String,
    /// Shell text that takes up the old state, once the files are back.
    take_up: String,
}

fn guarded(spec: &Spec) -> Option<Guarded> {
    let guarded = |paths: Vec<String>, keep: &str, take_up: &str| {
        Some(Guarded { paths, keep: keep.to_owned(), take_up: take_up.to_owned() })
    };
    match spec {
        Spec::Sshd(sshd) => guarded(vec![sshd.path.clone()], ":", RELOAD_SSHD),
        // What was in force counts, not what its file would make of it.
        Spec::Nftables(table) => guarded(
            vec![table.path.clone()],
            &format!("nft list table inet {} >{GUARD}/table 2>/dev/null || :", quote(&table.table)),
            &format!(
                "nft delete table inet {} 2>/dev/null; [ ! -s {GUARD}/table ] || nft --file {GUARD}/table",
                quote(&table.table)
            ),
        ),
        Spec::KeyInUse(_) => guarded(vec![USED_KEY.to_owned(), format!("{USED_KEY}.pub")], ":", RELOAD_SSHD),
        Spec::Sysctl(sysctl) if spec.is_guarded() => {
            let knobs = knobs(sysctl).join(" ");
            let back = "while IFS=: read -r knob value; do printf '%s\\n' \"$value\" >\"$knob\"; done";
            guarded(
                vec![sysctl.path.clone()],
                &format!("grep -sH '' -- {knobs} >{GUARD}/knobs || :"),
                &format!("{back} <{GUARD}/knobs"),
            )
        }
        Spec::File(file) if spec.is_guarded() => guarded(vec![file.path.clone()], ":", ":"),
        _ => None,
    }
}

/// Adds the function `arm_INDEX`, which keeps what the change of `resource` touches and sets the clock.
pub(super) fn arm(index: usize, resource: &Resource, token: &str, out: &mut Script) {
    let Some(guarded) = guarded(&resource.spec) else { return };
    let mut undo = String::new();
    for (number, path) in guarded.paths.iter().enumerate() {
        let _ = writeln!(undo, "    put_back {number} {}", quote(path));
    }
    // What was taken up is no longer in force.
    if let Some(mark) = access::mark(&resource.spec) {
        let _ = writeln!(undo, "    rm -f {}", quote(&format!("{MARKS}/{mark}")));
    }
    let _ = writeln!(undo, "    [ \"$1\" = boot ] || {{ {}; }}", guarded.take_up);
    let old: Vec<String> = guarded.paths.iter().map(|path| format!("{path}.landfall-old")).collect();
    let undo = UNDO
        .replace("@PUT_BACK@\n", &undo)
        .replace("@OLD@", &words(&old))
        .replace("@PROOF@", &proof(token))
        .replace("@TOKEN@", token)
        .replace("@GUARD@", GUARD);
    out.line(format!("arm_{index}() {{"));
    out.line(format!("rm -rf {GUARD}"));
    out.line(format!("mkdir -p -m 0700 {GUARD}"));
    for (number, (path, old)) in guarded.paths.iter().zip(&old).enumerate() {
        let (path, old) = (quote(path), quote(old));
        out.line(format!("rm -f -- {old}"));
        out.line(format!("if [ -e {path} ]; then cp -a -- {path} {old} || {{ rm -f -- {old}; exit 1; }}; else : >{GUARD}/absent.{number}; fi"));
    }
    out.line(guarded.keep);
    out.feed(&format!("cat >{GUARD}/undo"), undo.as_bytes());
    out.line(format!("arm {token} {CLOCK}"));
    out.line("}");
}

/// The file whose being there proves that a new connection got in. It is where a restart does not lose it.
pub(crate) fn proof(token: &str) -> String {
    format!("{GUARD}/proved.{token}")
}

/// The file that says that nobody will get in.
pub(crate) fn no_proof(token: &str) -> String {
    format!("/run/landfall/unproved.{token}")
}
