use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, PtyPair, PtySize, native_pty_system};

/// How long is waited for something on the screen before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program in a terminal of its own, as somebody sees it.
pub(crate) struct Terminal {
    pair: PtyPair,
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    seen: Arc<(Mutex<vt100::Parser>, Condvar)>,
    /// Every screen there was, from the first on.
    past: Arc<Mutex<Vec<String>>>,
}

pub(crate) const ENTER: &str = "\r";
pub(crate) const TAB: &str = "\t";
pub(crate) const DOWN: &str = "\x1b[B";
pub(crate) const PAGE_DOWN: &str = "\x1b[6~";
pub(crate) const CONTROL_C: &str = "\x03";
pub(crate) const CONTROL_T: &str = "\x14";
pub(crate) const CONTROL_U: &str = "\x15";

impl Terminal {
    /// Starts the program in `folder`, which is its home, with `arguments` and `variables`; 80 by 24.
    pub(crate) fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Terminal {
        let pair =
            native_pty_system().openpty(PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 }).unwrap();
        let mut command = CommandBuilder::new(assert_cmd::cargo::cargo_bin!("landfall"));
        command.env_clear();
        command.cwd(folder);
        command.args(arguments);
        command.env("HOME", folder);
        command.env("XDG_STATE_HOME", folder.join("state"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        variables.iter().for_each(|(name, value)| command.env(name, value));
        let child = pair.slave.spawn_command(command).unwrap();
        let seen = Arc::new((Mutex::new(vt100::Parser::new(cells(24), cells(80), 0)), Condvar::new()));
        let past = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, watched, kept) = (pair.master.try_clone_reader().unwrap(), seen.clone(), past.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let mut parser = watched.0.lock().unwrap();
                parser.process(&bytes[..count]);
                kept.lock().unwrap().push(parser.screen().contents());
                drop(parser);
                watched.1.notify_all();
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Terminal { pair, child, keys, seen, past }
    }

    /// What is on the screen, in lines.
    pub(crate) fn screen(&self) -> String {
        self.seen.0.lock().unwrap().screen().contents()
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until `found` finds something on the screen; fails with the screen.
    pub(crate) fn until<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        self.within(PATIENCE, what, found)
    }

    /// The same, with another patience.
    pub(crate) fn within<T>(&self, patience: Duration, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + patience;
        let mut parser = self.seen.0.lock().unwrap();
        loop {
            let screen = parser.screen().contents();
            if let Some(found) = found(&screen) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what} on:\n{screen}");
            parser = self.seen.1.wait_timeout(parser, left).unwrap().0;
        }
    }

    /// Waits until `text` is on the screen, wherever its lines are broken.
    pub(crate) fn see(&self, text: &str) {
        self.until(text, |screen| flat(screen).contains(&flat(text)).then_some(()));
    }

    /// Waits until `text` is or was on the screen: for what stands there for a moment only.
    pub(crate) fn see_pass(&self, text: &str) {
        let was_there = || self.past.lock().unwrap().iter().any(|screen| flat(screen).contains(&flat(text)));
        self.until(text, |_| was_there().then_some(()));
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, cols: u16, rows: u16) {
        self.seen.0.lock().unwrap().screen_mut().set_size(cells(rows), cells(cols));
        self.pair.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.process_id().unwrap()
    }

    /// Ends the process as nothing else can, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        assert!(Command::new("kill").args(["-9", &self.id().to_string()]).status().unwrap().success());
        self.child.wait().unwrap();
    }

    /// Waits for the process to end. Gives its exit code.
    pub(crate) fn ended(&mut self) -> u32 {
        self.child.wait().unwrap().exit_code()
    }

    /// Waits until the terminal is as it was found: no alternate screen, no mouse, lines and echo.
    pub(crate) fn is_as_it_was(&self) {
        self.until("the main screen", |_| Some(()));
        let end = Instant::now() + PATIENCE;
        let name = self.pair.master.tty_name().unwrap();
        loop {
            let settings = Command::new("stty").arg("-a").arg("-F").arg(&name).output().unwrap();
            let settings = String::from_utf8(settings.stdout).unwrap();
            let words: Vec<&str> = settings.split([' ', ';', '\n']).collect();
            let cooked = words.contains(&"icanon") && words.contains(&"echo");
            let parser = self.seen.0.lock().unwrap();
            let screen = parser.screen();
            let free = !screen.alternate_screen()
                && !screen.bracketed_paste()
                && !screen.hide_cursor()
                && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None;
            if cooked && free {
                return;
            }
            assert!(Instant::now() < end, "the terminal is not as it was: {settings}");
            let _ = self.seen.1.wait_timeout(parser, Duration::from_millis(20)).unwrap();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

/// What stands on the page, or in the dialog on it, with single spaces: broken lines do not matter.
pub(crate) fn flat(text: &str) -> String {
    let inside = |line: &str| line.split('│').nth(1).unwrap_or(line).to_owned();
    text.lines()
        .map(inside)
        .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect::<Vec<_>>()
        .join(" ")
}
