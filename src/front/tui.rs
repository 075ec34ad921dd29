//! The full-screen wizard: one loop that draws the state, waits for news, and hands out orders. It never waits for
//! anything else.

pub mod dialog;
pub mod form;
mod keys;
pub mod look;
pub mod messages;
pub mod progress;
pub mod run_screen;
pub mod state;
mod terminal;
pub mod view;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::front::tui::messages::{Home, News, Order};
use crate::front::tui::state::State;
use crate::model::failure::{Failure, Kind};

pub use keys::MAKE_KEY;

/// How often things turn.
const TURN: Duration = Duration::from_millis(120);

/// Shows the wizard until it ends. `news` is where everything that happens comes in; keys are sent to `keys`, its other
/// end. Gives the exit code, and what is to be said once the screen is gone.
pub fn show(
    mut state: State,
    home: &mut dyn Home,
    keys: Sender<News>,
    news: &Receiver<News>,
    mut order: impl FnMut(Order),
) -> Result<(u8, Vec<String>), Failure> {
    let trouble = |e: std::io::Error| {
        Failure::new(Kind::Failed, "cannot use this terminal")
            .because(e)
            .hint("`landfall --plain` asks the same questions line by line")
    };
    let mut terminal = terminal::Guard::take().map_err(trouble)?;
    let mut watching = false;
    loop {
        let mut hits = Vec::new();
        let mut is_small = false;
        terminal
            .draw(|frame| {
                is_small = view::is_too_small(frame.area());
                hits = view::draw(frame, &state);
            })
            .map_err(trouble)?;
        state.hits = hits;
        state.is_small = is_small;
        if !watching {
            // After the first frame, so that it need not wait for a thread.
            terminal::watch(keys.clone());
            watching = true;
        }
        state.orders.drain(..).for_each(&mut order);
        let first = match state.is_turning() {
            true => match news.recv_timeout(TURN) {
                Ok(news) => news,
                Err(RecvTimeoutError::Timeout) => News::Tick,
                Err(RecvTimeoutError::Disconnected) => return Ok((0, vec![])),
            },
            false => match news.recv() {
                Ok(news) => news,
                Err(_) => return Ok((0, vec![])),
            },
        };
        // Whatever came in meanwhile is drawn with it.
        for news in std::iter::once(first).chain(news.try_iter().take(1000)) {
            if matches!(news, News::Resize) {
                terminal.forget().map_err(trouble)?;
            }
            state.update(news, home);
        }
        if let Some(code) = state.quit {
            state.orders.drain(..).for_each(&mut order);
            return Ok((code, state.parting()));
        }
    }
}
