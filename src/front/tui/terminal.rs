//! The terminal: taken over for a while, and always given back as it was.

use std::io::{self, Write, stdout};
use std::sync::mpsc::Sender;
use std::thread;

use crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture, Event,
};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal};

use crate::front::tui::messages::News;

/// The terminal, until it is dropped.
pub(super) struct Guard {
    terminal: Terminal<CrosstermBackend<io::BufWriter<io::Stdout>>>,
}

impl Guard {
    /// Takes the terminal over. A panic gives it back before it is reported.
    pub(super) fn take() -> io::Result<Guard> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
        enable_raw_mode()?;
        // From here on, whatever fails must give it back.
        let guard = (|| {
            execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, EnableMouseCapture)?;
            let terminal = Terminal::new(CrosstermBackend::new(io::BufWriter::with_capacity(1 << 16, stdout())))?;
            Ok(Guard { terminal })
        })();
        if guard.is_err() {
            give_back();
        }
        guard
    }

    /// Draws one frame.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }

    /// Makes the next frame a whole one. A terminal that became small and as large as before again, faster than anybody
    /// drew, has its old size and has lost what stood there.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::new(0, 0, size.width, size.height))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was. What fails here cannot be helped.
fn give_back() {
    let _ = disable_raw_mode();
    let _ =
        execute!(stdout(), DisableMouseCapture, DisableBracketedPaste, LeaveAlternateScreen, crossterm::cursor::Show);
    let _ = stdout().flush();
}

/// Sends keys, pasted text, the mouse and new sizes to `news`, from a thread of its own, until nobody listens.
pub(super) fn watch(news: Sender<News>) {
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            let sent = match event {
                Event::Key(key) => news.send(News::Key(key)),
                Event::Paste(text) => news.send(News::Paste(text)),
                Event::Mouse(mouse)
                    if !matches!(mouse.kind, event::MouseEventKind::Moved | event::MouseEventKind::Drag(_)) =>
                {
                    news.send(News::Mouse(mouse))
                }
                Event::Resize(..) => news.send(News::Resize),
                _ => Ok(()),
            };
            if sent.is_err() {
                break;
            }
        }
    });
}
