//! Is it the account it was? The token of another one opens an empty place, in which everything would be made a second
//! time, or from which nothing would be taken away. No API has a word that all clouds would understand for an account; but
//! what the last run on this laptop left there is in its journal.

use std::collections::BTreeSet;

use crate::cupboard::journal;
use crate::engine::survey::Survey;
use crate::engine::{Goal, Run};
use crate::model::failure::{Failure, Kind};
use crate::model::name::Name;
use crate::model::resource::{Observed, Spec};
use crate::providers;

impl Run {
    /// Fails as `Human` where a cloud shows nothing at all of what the last run left there, and what is still wanted.
    pub(super) fn check_accounts(&self, survey: &Survey, goal: Goal) -> Result<(), Failure> {
        if self.wishes.gone {
            return Ok(());
        }
        let empty: BTreeSet<&'static str> = survey
            .wanted
            .iter()
            .map(|resource| resource.address.provider)
            .filter(|name| providers::find(name).is_some_and(|provider| provider.api().is_some()))
            .filter(|name| is_empty(survey, name))
            .collect();
        if empty.is_empty() {
            return Ok(());
        }
        let Some((run, left)) = journal::left_by_the_last_apply(&self.state, &self.playbook.name) else {
            return Ok(());
        };
        let wanted: BTreeSet<String> = survey.wanted.iter().map(|resource| resource.address.to_string()).collect();
        let way_out = match goal {
            Goal::Destroy => "`landfall destroy --gone` goes on",
            Goal::Plan | Goal::Check | Goal::Apply => {
                "`landfall recover` builds it anew with its data, `landfall apply --gone` without"
            }
        };
        for name in empty {
            let of_this = |address: &&String| address.split('/').next() == Some(name) && wanted.contains(*address);
            let count = left.iter().filter(of_this).count();
            let Some(api) = providers::find(name).and_then(|provider| provider.api()).filter(|_| count > 0) else {
                continue;
            };
            let how_to_set = Name::parse(api.token).map(|token| self.doors.keys.how_to_set(&token)).unwrap_or_default();
            let things = crate::text::count(count, "thing");
            return Err(Failure::new(
                Kind::Human,
                format!("nothing of `{}` is at {name}, where the run {run} left {things}", self.playbook.name),
            )
            .hint(format!(
                "is the token one of another account or project? Then {how_to_set}. If it was all deleted, by hand or by \
                 `landfall destroy` on another laptop, {way_out}. Nothing was done"
            )));
        }
        Ok(())
    }
}

/// Is nothing there of what is wanted of this provider, and nothing else of ours?
fn is_empty(survey: &Survey, name: &str) -> bool {
    let is_absent = |seen: Option<&Observed>| matches!(seen, None | Some(Observed::Absent | Observed::Unreached));
    let mut wanted = survey.wanted.iter().filter(|r| r.address.provider == name && !matches!(r.spec, Spec::Vouch(_)));
    wanted.all(|resource| is_absent(survey.seen.get(&resource.address)))
        && !survey.owned.iter().any(|owned| owned.address.provider == name)
}
