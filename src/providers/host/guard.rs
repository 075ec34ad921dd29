//! Changes that undo themselves. Before such a change the host keeps what it is about to change and sets a
//! clock; only when a new connection has come in and used sudo is the clock stopped. Whatever happens in
//! between, to the script, to the connection or to the power, the host puts the old state back by itself.

use std::fmt::Write as _;

use crate::model::resource::{Resource, Spec};
use crate::providers::host::facts::MARKS;
use crate::providers::host::kinds::access::{RELOAD_SSHD, reload_table};
use crate::providers::host::questions::USED_KEY;
use crate::providers::host::script::{Script, quote};

/// Where a host keeps what it would put back.
pub(super) const GUARD: &str = "/var/lib/landfall/guard";
/// How many seconds after a guarded change began the host puts the old state back by itself.
pub(super) const CLOCK: u32 = 45;
/// How many seconds the script itself waits for the proof.
pub(super) const WINDOW: u32 = 25;

const UNDO: &str = include_str!("../../../templates/host-undo");

/// What a guarded change touches, and how its old state is taken up again.
struct Guarded {
    paths: Vec<String>,
    take_up: String,
}

fn guarded(spec: &Spec) -> Option<Guarded> {
    match spec {
        Spec::Sshd(sshd) => Some(Guarded { paths: vec![sshd.path.clone()], take_up: RELOAD_SSHD.to_owned() }),
        Spec::Nftables(table) => Some(Guarded { paths: vec![table.path.clone()], take_up: reload_table(table) }),
        Spec::KeyInUse(_) => {
            let paths = vec![USED_KEY.to_owned(), format!("{USED_KEY}.pub")];
            Some(Guarded { paths, take_up: RELOAD_SSHD.to_owned() })
        }
        Spec::File(file) if Spec::is_guarded(spec) => {
            Some(Guarded { paths: vec![file.path.clone()], take_up: ":".to_owned() })
        }
        _ => None,
    }
}

/// Adds the function `arm_INDEX`, which keeps what the change of `resource` touches and sets the clock.
pub(super) fn arm(index: usize, resource: &Resource, token: &str, out: &mut Script) {
    let Some(guarded) = guarded(&resource.spec) else { return };
    let mut undo = String::new();
    for (number, path) in guarded.paths.iter().enumerate() {
        let _ = writeln!(undo, "put_back saved.{number} {}", quote(path));
    }
    let _ = writeln!(undo, "[ \"$1\" = boot ] || {{ {}; }}", guarded.take_up);
    let undo = UNDO
        .replace("@GUARD@", GUARD)
        .replace("@MARKS@", MARKS)
        .replace("@PROVED@", &proof(token))
        .replace("@PUT_BACK@\n", &undo);
    out.line(format!("arm_{index}() {{"));
    out.line(format!("rm -rf {GUARD}"));
    out.line(format!("mkdir -p -m 0700 {GUARD}"));
    for (number, path) in guarded.paths.iter().enumerate() {
        out.line(format!("[ ! -e {0} ] || cp -a -- {0} {GUARD}/saved.{number}", quote(path)));
    }
    out.feed(&format!("cat >{GUARD}/undo"), undo.as_bytes());
    out.line(format!("arm {token} {CLOCK}"));
    out.line("}");
}

/// The file whose being there proves that a new connection got in.
pub(crate) fn proof(token: &str) -> String {
    format!("/run/landfall/proved.{token}")
}

/// The file that says that nobody will get in.
pub(crate) fn no_proof(token: &str) -> String {
    format!("/run/landfall/unproved.{token}")
}
