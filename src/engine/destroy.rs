//! Taking everything away: what the playbook wants and has, and whatever else carries its mark.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::engine::survey::{Lane, Survey, lane_of};
use crate::engine::teller::Teller;
use crate::engine::{Goal, Reached, Run};
use crate::model::diff::{Change, ReadyChange, absent};
use crate::model::event::{ChangeView, Progress, What};
use crate::model::failure::{Failure, Kind};
use crate::model::resource::{Address, Observed, Owned, Spec};
use crate::providers;

/// How long the clouds may take until nothing is left.
const GONE_DEADLINE: Duration = Duration::from_secs(120);

impl Run {
    /// Deletes in reverse order, hosts that stay first. Done when looking finds nothing of ours.
    pub(super) async fn destroy(&mut self, teller: &Teller) -> Result<Reached, Failure> {
        let survey = Survey::take(self, teller, Goal::Destroy).await?;
        self.check_accounts(&survey, Goal::Destroy)?;
        let unreached = Observed::Unreached;
        let mut changes: Vec<Change> = survey
            .wanted
            .iter()
            .filter(|want| !want.spec.outlives())
            .map(|want| absent(want, survey.seen.get(&want.address).unwrap_or(&unreached)))
            .filter(|change| !change.is_keep())
            .collect();
        changes.reverse();
        let orphans: Vec<Owned> = survey
            .owned
            .iter()
            .filter(|owned| owned.address.place.is_none())
            .filter(|owned| !changes.iter().any(|change| change.resource.address == owned.address))
            .cloned()
            .collect();
        let views = changes.iter().map(ChangeView::from).chain(orphans.iter().map(delete_view)).collect();
        Run::tell_plan(teller, views, &[], vec![])?;
        for want in survey.wanted.iter().filter(|want| want.on.is_none()) {
            if let Some(Observed::Foreign(what)) = survey.seen.get(&want.address) {
                teller.tell(What::Note {
                    text: format!("{} is left alone, and may go on costing money: {what}", want.address),
                })?;
            }
        }
        if changes.is_empty() && orphans.is_empty() {
            self.clear_leases(&survey, teller).await?;
            return Ok(Reached { changes: 0, failure: None });
        }
        let mut losses = data_losses(&changes);
        losses.extend(
            orphans.iter().map(|o| &o.address).filter(|a| a.kind != "server" && holds_data(a)).map(ToString::to_string),
        );
        self.wait_for_approval(losses).await?;
        let held = self.take_leases(&survey, teller).await?;
        let gone = self.make_gone(&survey, changes, &orphans, teller).await;
        held.release(gone, teller).await?;
        Ok(Reached { changes: teller.done(), failure: None })
    }

    async fn make_gone(
        &self,
        survey: &Survey,
        changes: Vec<Change>,
        orphans: &[Owned],
        teller: &Teller,
    ) -> Result<(), Failure> {
        let mut lanes: BTreeMap<Lane, Vec<ReadyChange>> = BTreeMap::new();
        for change in changes {
            let lane = lane_of(&change.resource);
            let ready = ReadyChange::new(change).map_err(|key| {
                Failure::new(Kind::Failed, format!("what to delete depends on the unknown output `{key}`"))
            })?;
            lanes.entry(lane).or_default().push(ready);
        }
        // Hosts before clouds, and secrets last, so that a run that was cut off still has them.
        let mut lanes: Vec<(Lane, Vec<ReadyChange>)> = lanes.into_iter().collect();
        lanes.sort_by_key(|((name, place), _)| (*name == "vault", place.is_none()));
        for ((name, _), changes) in lanes {
            let addresses = changes.iter().map(|change| change.resource.address.to_string()).collect();
            teller.tell(What::Intended { addresses })?;
            self.delete(name, &changes, teller).await?;
        }
        self.take_away(orphans, teller).await?;
        self.look_until_gone(survey, teller).await
    }

    /// Deletes what is ours and no longer wanted.
    pub(super) async fn take_away(&self, orphans: &[Owned], teller: &Teller) -> Result<(), Failure> {
        for owned in orphans {
            let report = teller.report(true);
            if report.stopping() {
                return Err(Failure::new(Kind::Stopped, "stopped as you asked, before the next deletion"));
            }
            teller.tell(What::Intended { addresses: vec![owned.address.to_string()] })?;
            report.tell(Progress::Started(owned.address.clone()));
            if let Some(provider) = providers::find(owned.address.provider) {
                provider.remove(&self.doors, owned, &report).await.inspect_err(|failure| {
                    teller.tell_failed(failure);
                })?;
            }
            report.tell(Progress::Done(owned.address.clone()));
        }
        Ok(())
    }

    async fn delete(&self, name: &str, changes: &[ReadyChange], teller: &Teller) -> Result<(), Failure> {
        let Some(provider) = providers::find(name) else { return Ok(()) };
        // Deleting is safe to repeat: an answer that was lost is asked for again by the door itself.
        let after = provider.apply(&self.doors, changes, &teller.report(true)).await.inspect_err(|failure| {
            teller.tell_failed(failure);
        })?;
        let stays = |(change, seen): &(&ReadyChange, Observed)| {
            matches!(seen, Observed::Present { ours: true, .. }).then(|| change.resource.address.to_string())
        };
        match changes.iter().zip(after.unwrap_or_default()).find_map(|pair| stays(&pair)) {
            Some(address) => Err(Failure::new(Kind::Failed, format!("{address} is still there"))
                .hint("run `landfall destroy` again; if it stays, look at it on the host")),
            None => Ok(()),
        }
    }

    /// A delete that says it is done may not be: only looking tells.
    async fn look_until_gone(&self, survey: &Survey, teller: &Teller) -> Result<(), Failure> {
        let wanted = survey.wanted.iter().map(|resource| resource.address.provider);
        let clouds: BTreeSet<&'static str> =
            wanted.chain(survey.owned.iter().map(|owned| owned.address.provider)).collect();
        let begun = Instant::now();
        let mut gap = self.doors.http.pace().first / 2;
        loop {
            let mut left: Vec<Address> = Vec::new();
            for name in &clouds {
                if let Some(provider) = providers::find(name).filter(|provider| provider.api().is_some()) {
                    let stock =
                        provider.take_stock(&self.doors, &self.playbook.name, &[], &teller.report(true)).await?;
                    left.extend(stock.owned.into_iter().map(|owned| owned.address));
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > GONE_DEADLINE {
                left.iter().for_each(|address| teller.note_existing(address, true));
                let names: Vec<String> = left.iter().map(ToString::to_string).collect();
                return Err(Failure::new(
                    Kind::Failed,
                    format!("still there, and still costing: {}", names.join(", ")),
                )
                .hint("run `landfall destroy` again; if it stays, delete it in the provider's console"));
            }
            sleep(gap).await;
            gap = (gap * 2).min(Duration::from_secs(8));
        }
    }
}

/// What a plan shows of something of ours that nobody wants any more.
pub(super) fn delete_view(owned: &Owned) -> ChangeView {
    ChangeView {
        address: owned.address.to_string(),
        step: String::new(),
        verb: "delete".to_owned(),
        fields: vec![],
        loses_data: holds_data(&owned.address),
        conflict: None,
    }
}

/// Is data lost when something of this address goes?
pub(super) fn holds_data(address: &Address) -> bool {
    matches!(address.kind, "server" | "volume" | "project")
}

/// The addresses for which a second word is asked. Destroying is the word for a server; its volume, and the
/// data on a host that stays, need their own.
fn data_losses(changes: &[Change]) -> Vec<String> {
    let needs_word = |change: &&Change| change.loses_data() && !matches!(change.resource.spec, Spec::Server(_));
    changes.iter().filter(needs_word).map(|change| change.resource.address.to_string()).collect()
}
