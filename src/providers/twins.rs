//! Two runs that make the same project at the same moment, where nothing can hold a lease: the younger project gives way.

use jiff::{SignedDuration, Timestamp};

use crate::model::failure::{Failure, Kind};

/// What was made longer before than this was not made by a run that began at the same moment.
const SAME_MOMENT: SignedDuration = SignedDuration::from_mins(10);

/// A project, as an API lists it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made<'a> {
    /// Its identifier.
    pub id: &'a str,
    /// When it was made, as RFC 3339 has it.
    pub at: &'a str,
}

/// Which of `listed`, all of one name and none of them on its way out, another run made just before `ours`. Those of `known`
/// were there before this run began to make anything, and no twin: one that is being replaced may still be listed.
pub(super) fn older_twin<'a>(
    ours: Made<'_>,
    known: &[String],
    listed: impl Iterator<Item = Made<'a>>,
) -> Option<&'a str> {
    let mine: Timestamp = ours.at.parse().ok()?;
    let is_older = |made: &Made<'_>| {
        made.at.parse::<Timestamp>().is_ok_and(|at| {
            (at, made.id) < (mine, ours.id)
                && mine.duration_since(at) < SAME_MOMENT
                && !known.iter().any(|id| id == made.id)
        })
    };
    listed.filter(is_older).map(|made| made.id).next()
}

/// What is said when `other`, of the same name, was there before ours was made.
pub(super) fn came_first(name: &str, other: &str) -> Failure {
    Failure::new(Kind::Conflict, format!("another run made the project {name} ({other}) at the same moment"))
        .hint("let the other run end, take its copy of the playbook and its vault, and run the same command again")
}

/// What is said when ours has given way to `older`.
pub(super) fn gave_way(name: &str, older: &str, ours: &str) -> Failure {
    came_first(name, older)
        .because(format!("the project that this run made ({ours}) was younger and has been deleted again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Made<'_> = Made { id: "m", at: "2026-11-28T10:00:05.500000Z" };

    #[test]
    fn only_what_another_run_made_just_before_is_a_twin_to_give_way_to() {
        let twin = |id, at, known: &[&str]| {
            let known: Vec<String> = known.iter().map(|id| (*id).to_owned()).collect();
            older_twin(MINE, &known, [Made { id, at }].into_iter())
        };
        assert_eq!(twin("a", "2026-11-28T10:00:05.400000Z", &[]), Some("a"));
        assert_eq!(twin("a", "2026-11-28T10:00:05.600000Z", &[]), None, "it is younger, and gives way itself");
        assert_eq!(twin("a", "2026-11-28T10:00:05.400000Z", &["a"]), None, "it was there before");
        assert_eq!(twin("a", "2026-11-28T09:40:00Z", &[]), None, "it is another matter");
        assert_eq!(twin("m", "2026-11-28T10:00:05.500000Z", &[]), None, "that is ours");
        assert_eq!(twin("a", "nonsense", &[]), None);
        // Of two of one instant, exactly one gives way.
        assert_eq!(twin("a", MINE.at, &[]), Some("a"));
        assert_eq!(twin("z", MINE.at, &[]), None);
    }
}
