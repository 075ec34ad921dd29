//! Shell text that runs on a host. Quoting has its one home here.

use std::fmt::Write as _;

use data_encoding::BASE64;

/// Shell text under construction.
#[derive(Default)]
pub(super) struct Script(String);

/// `text` as one word of a shell command. A NUL cannot stand in a word, so it ends there; names are
/// checked long before they come here.
pub(super) fn quote(text: &str) -> String {
    let text = text.split('\0').next().unwrap_or_default();
    shlex::try_quote(text).map_or_else(|_| "''".to_owned(), |word| word.into_owned())
}

/// Several words of a shell command, each quoted.
pub(super) fn words<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| quote(item.as_ref())).collect::<Vec<_>>().join(" ")
}

impl Script {
    /// Adds a line as it is.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> &mut Script {
        self.0.push_str(text.as_ref());
        self.0.push('\n');
        self
    }

    /// Adds a command that reads `bytes` from its standard input.
    pub(super) fn feed(&mut self, command: &str, bytes: &[u8]) -> &mut Script {
        let _ = writeln!(self.0, "base64 -d <<'LANDFALL' | {command}");
        for chunk in BASE64.encode(bytes).as_bytes().chunks(4096) {
            self.0.push_str(&String::from_utf8_lossy(chunk));
            self.0.push('\n');
        }
        self.0.push_str("LANDFALL\n");
        self
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_as_typed() {
        assert_eq!(quote("plain"), "plain");
        assert_eq!(words(["a b", "$(id)", "it's", ""]), r#"'a b' '$(id)' "it's" ''"#);
    }
}
