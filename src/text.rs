//! Words for people: plurals and durations.

use std::time::Duration;

/// `1 change`, `2 changes`: a number with its noun.
pub fn count(number: usize, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

/// `840 ms`, `3.2 s`, `2 min 5 s`: a duration to two or three digits.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_their_numbers() {
        assert_eq!(
            [count(0, "change"), count(1, "change"), count(2, "change")],
            ["0 changes", "1 change", "2 changes"]
        );
        assert_eq!(duration(Duration::from_millis(840)), "840 ms");
        assert_eq!(duration(Duration::from_millis(59_990)), "60.0 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
    }
}
