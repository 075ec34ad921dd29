//! How the screen looks: signs and styles for terminals with colours and without, with Unicode and without. Sixteen
//! colours at most, none of them a background, so that light and dark terminals both stay readable. Nothing is told by
//! colour alone.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Colours?
    pub colour: bool,
    /// Only ASCII?
    pub ascii: bool,
}

/// Lines of frames in plain ASCII.
const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// The turning sign of something under way.
const TURNING: [&str; 8] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧"];
const TURNING_ASCII: [&str; 4] = ["|", "/", "-", "\\"];

impl Look {
    /// What the variables of the environment say. `get` gives their values.
    pub fn of(get: impl Fn(&str) -> Option<String>) -> Look {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let colour = set("NO_COLOR").is_none() && get("TERM").as_deref() != Some("dumb");
        // The first of these that is set decides (locale(7)).
        let locale = set("LC_ALL").or(set("LC_CTYPE")).or(set("LANG")).unwrap_or_default().to_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        let console = get("TERM").as_deref() == Some("linux");
        Look { colour, ascii: !utf8 || console }
    }

    fn sign(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii { ascii } else { unicode }
    }

    /// Done.
    pub fn done(self) -> &'static str {
        self.sign("✓", "+")
    }

    /// Failed.
    pub fn failed(self) -> &'static str {
        self.sign("✗", "x")
    }

    /// Where one is.
    pub fn here(self) -> &'static str {
        self.sign("▸", ">")
    }

    /// Not there yet.
    pub fn ahead(self) -> &'static str {
        self.sign("·", ".")
    }

    /// More above or below.
    pub fn more(self, up: bool) -> &'static str {
        if up { self.sign("↑", "^") } else { self.sign("↓", "v") }
    }

    /// A turning sign, which moves on with `tick`.
    pub fn turning(self, tick: usize) -> &'static str {
        if self.ascii { TURNING_ASCII[tick % TURNING_ASCII.len()] } else { TURNING[tick % TURNING.len()] }
    }

    /// A bar of `width` cells, `part` of `whole` of it full.
    pub fn bar(self, width: usize, part: usize, whole: usize) -> String {
        let full = (width * part.min(whole)).checked_div(whole).unwrap_or(width);
        let (on, off) = if self.ascii { ("#", ".") } else { ("█", "░") };
        on.repeat(full) + &off.repeat(width - full)
    }

    /// What stands for a letter of a secret.
    pub fn mask(self) -> &'static str {
        self.sign("•", "*")
    }

    /// Text with characters that the terminal cannot show written in ones that it can.
    pub fn text(self, text: &str) -> String {
        if !self.ascii {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '‹' => out.push('<'),
                '›' => out.push('>'),
                '“' | '”' => out.push('"'),
                '…' => out.push_str("..."),
                '·' => out.push('.'),
                '→' => out.push_str("->"),
                '—' | '–' => out.push('-'),
                c if c.is_ascii() => out.push(c),
                _ => out.push('?'),
            }
        }
        out
    }

    /// The lines of frames.
    pub fn border(self) -> border::Set<'static> {
        if self.ascii { ASCII_BORDER } else { border::PLAIN }
    }

    fn paint(self, colour: Color, without: Modifier) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new().add_modifier(without) }
    }

    /// Headings and the place one is at.
    pub fn strong(self) -> Style {
        self.paint(Color::Magenta, Modifier::empty()).add_modifier(Modifier::BOLD)
    }

    /// What is less important.
    pub fn faint(self) -> Style {
        if self.colour { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
    }

    /// What went well.
    pub fn good(self) -> Style {
        self.paint(Color::Green, Modifier::empty())
    }

    /// What went wrong.
    pub fn bad(self) -> Style {
        self.paint(Color::Red, Modifier::BOLD)
    }

    /// What is chosen now.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Where one types.
    pub fn typed(self) -> Style {
        Style::new().add_modifier(Modifier::UNDERLINED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_and_ascii_stays_ascii() {
        let look = |pairs: &[(&str, &str)]| {
            Look::of(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(look(&[("LANG", "en_US.UTF-8")]), Look { colour: true, ascii: false });
        assert_eq!(look(&[("LANG", "C.UTF-8"), ("LC_ALL", "C")]), Look { colour: true, ascii: true });
        assert_eq!(look(&[("LANG", "C.utf8"), ("NO_COLOR", "1")]), Look { colour: false, ascii: false });
        assert!(look(&[("LANG", "C.UTF-8"), ("NO_COLOR", "")]).colour);
        let plain = Look { colour: false, ascii: true };
        let signs = [plain.done(), plain.failed(), plain.here(), plain.ahead(), plain.more(true), plain.mask()];
        assert!(signs.iter().all(|sign| sign.is_ascii()));
        assert!(plain.text("‹web.ipv4› … → ü").is_ascii());
        assert_eq!((plain.bar(4, 1, 2), plain.bar(4, 0, 0)), ("##..".to_owned(), "####".to_owned()));
    }
}
