//! Text from elsewhere, made harmless: an API, a host or a file name must not move somebody's cursor, write a title or
//! turn a line's direction round.

use std::borrow::Cow;

/// Does a terminal take `c` for something other than a sign to show? Control characters but for line ends and tabs, and
/// Unicode's marks that change the direction of what follows (UAX #9).
pub fn is_hidden(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with every such character written out, as `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_hidden(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The beginning of `text`, at most `most` characters of it, and how much is left out.
pub fn excerpt(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}… ({} characters in all)", &text[..end], text.chars().count())),
    }
}

/// A JSON document with the texts in it made visible; the document stays what it was.
pub fn visible_json(document: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match document {
        Value::String(text) => Value::String(visible(&text).into_owned()),
        Value::Array(items) => Value::Array(items.into_iter().map(visible_json).collect()),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (visible(&key).into_owned(), visible_json(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let text = "red \x1b[31m\x1b]0;title\x07 back\x08 \r over \u{202e}turned\u{2066} \u{9b}c\n\tend ä €";
        let shown = visible(text);
        assert!(!shown.contains(is_hidden), "{shown:?}");
        assert!(shown.ends_with("\n\tend ä €") && shown.contains("\\u{1b}[31m"));
        assert_eq!(visible("plain ä"), "plain ä");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(excerpt("äöü", 3), "äöü");
        assert_eq!(excerpt("äöüx", 3), "äöü… (4 characters in all)");
    }
}
