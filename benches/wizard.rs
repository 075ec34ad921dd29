//! The wizard in a terminal: how soon the first frame stands, how soon a key shows, what it costs to do nothing, and how
//! much memory it takes. The process is the release build, started anew for every measurement.
#![expect(clippy::print_stdout, reason = "a bench prints numbers")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot measure has failed")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, PtyPair, PtySize, native_pty_system};

const ROWS: u16 = 60;
const COLUMNS: u16 = 200;
const LINES: usize = 5_000;

struct Wizard {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    seen: Arc<(Mutex<vt100::Parser>, Condvar)>,
    _pair: PtyPair,
}

impl Wizard {
    fn start(home: &Path, arguments: &[&str]) -> Wizard {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/release/landfall"));
        command.env_clear();
        command.cwd(home);
        command.args(arguments);
        for (name, value) in [("HOME", home), ("XDG_STATE_HOME", home)] {
            command.env(name, value);
        }
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        let cells = |count| NonZero::new(count).unwrap();
        let parser = vt100::Parser::new(cells(ROWS), cells(COLUMNS), 0);
        let seen = Arc::new((Mutex::new(parser), Condvar::new()));
        let (mut reader, watched) = (pair.master.try_clone_reader().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 1 << 16];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                watched.0.lock().unwrap().process(&bytes[..count]);
                watched.1.notify_all();
            }
        });
        let child = pair.slave.spawn_command(command).unwrap();
        let keys = pair.master.take_writer().unwrap();
        Wizard { child, keys, seen, _pair: pair }
    }

    /// Waits until `found` is true of the screen.
    fn until(&self, found: impl Fn(&str) -> bool) {
        let mut parser = self.seen.0.lock().unwrap();
        while !found(&parser.screen().contents()) {
            let (next, late) = self.seen.1.wait_timeout(parser, Duration::from_secs(10)).unwrap();
            assert!(!late.timed_out(), "nothing came:\n{}", next.screen().contents());
            parser = next;
        }
    }

    /// How long it takes until a key has changed the screen.
    fn press(&mut self, key: &str) -> Duration {
        let before = self.seen.0.lock().unwrap().screen().contents();
        let begun = Instant::now();
        self.keys.write_all(key.as_bytes()).unwrap();
        self.keys.flush().unwrap();
        self.until(|screen| screen != before);
        begun.elapsed()
    }

    /// Processor time so far, in seconds.
    fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.process_id().unwrap())).unwrap();
        // Behind the name in parentheses; fields 14 and 15 of proc(5), in ticks of which there are 100 a second.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// The most memory it ever had, in MB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.process_id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Wizard {
    fn drop(&mut self) {
        let _ = self.keys.write_all(b"\x03");
        let _ = self.child.wait();
    }
}

fn milliseconds(mut all: Vec<Duration>) -> (f64, f64) {
    all.sort();
    let shown = |time: Duration| time.as_secs_f64() * 1000.0;
    (shown(all[all.len() / 2]), shown(all[all.len() - 1]))
}

/// A journal with so many lines that are told, and a run page that shows them.
fn long_journal(home: &Path) -> &'static str {
    const RUN: &str = "20260903T100000.000Z";
    let folder = home.join("landfall/acme/runs");
    std::fs::create_dir_all(&folder).unwrap();
    let mut text = String::new();
    let mut event = |seq: usize, what: &str| {
        let _ = writeln!(text, r#"{{"v":1,"seq":{seq},"at":"2026-09-03T10:00:00Z","event":{what}}}"#);
    };
    event(1, r#"{"type":"run-started","command":"apply","playbook":"acme","run":"r"}"#);
    for line in 0..LINES {
        event(line + 2, &format!(r#"{{"type":"note","text":"line {line}: something worth knowing about host/web"}}"#));
    }
    event(LINES + 2, r#"{"type":"run-finished","code":0,"changes":0,"took_ms":1000}"#);
    std::fs::write(folder.join(format!("{RUN}.jsonl")), text).unwrap();
    RUN
}

fn main() {
    let home = tempfile::tempdir().unwrap();
    let first = || {
        let begun = Instant::now();
        let wizard = Wizard::start(home.path(), &[]);
        wizard.until(|screen| screen.contains("recover after a disaster"));
        begun.elapsed()
    };
    first();
    let (median, most) = milliseconds((0..21).map(|_| first()).collect());
    println!("process start to first whole frame, {COLUMNS}x{ROWS}: median {median:.1} ms, most {most:.1} ms");

    let wizard = Wizard::start(home.path(), &[]);
    wizard.until(|screen| screen.contains("recover after a disaster"));
    let (before, begun) = (wizard.processor(), Instant::now());
    std::thread::sleep(Duration::from_secs(10));
    let idle = (wizard.processor() - before) / begun.elapsed().as_secs_f64() * 100.0;
    println!("idle: {idle:.2} % of one core over 10 s");
    drop(wizard);

    let run = long_journal(home.path());
    let mut wizard = Wizard::start(home.path(), &["show", run]);
    wizard.until(|screen| screen.contains("line 4999"));
    let keys: Vec<&str> = ["\x1b[5~", "\x1b[5~", "\x1b[6~"].into_iter().cycle().take(99).collect();
    let (median, most) = milliseconds(keys.into_iter().map(|key| wizard.press(key)).collect());
    println!("key to frame with {LINES} lines in the log: median {median:.1} ms, most {most:.1} ms");
    wizard.press("/");
    let typed = ["4", "9", "\x7f", "\x7f", "9"];
    let (median, most) = milliseconds(typed.iter().cycle().take(50).map(|key| wizard.press(key)).collect());
    println!("the same while the log is filtered as one types: median {median:.1} ms, most {most:.1} ms");
    println!("most memory, with that log: {:.1} MB", wizard.memory());
}
