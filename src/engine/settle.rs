//! One batch: change what differs, then look until nothing does.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::doors::Doors;
use crate::engine::teller::Teller;
use crate::model::diff::{Change, FieldChange, ReadyChange, Verb, diff, take_up};
use crate::model::event::{Progress, What};
use crate::model::failure::{Failure, Kind};
use crate::model::resource::{Address, Observed, Resource};
use crate::model::value::Value;
use crate::providers::Provider;

/// How long a cloud may take until it shows what was done.
const SETTLE_DEADLINE: Duration = Duration::from_secs(90);
/// How many times a batch is changed at most until it is as wanted.
const ROUNDS: usize = 4;
/// How often, and how far apart, a host is asked again while another run's script still changes it.
const BUSY_TRIES: usize = 60;
const BUSY_GAP: Duration = Duration::from_secs(5);
/// How often a batch whose connection was lost is taken up again without having come any further.
const RESUMPTIONS: usize = 3;

/// Makes `want`, resources of one lane in order, as they shall be. `seen` is what is known of them; `None`
/// looks first. Gives what is there afterwards. Data is lost only at the addresses in `allowed`.
pub(super) async fn settle(
    provider: &dyn Provider,
    doors: &Doors,
    want: &[Resource],
    seen: Option<Vec<Observed>>,
    allowed: &BTreeSet<String>,
    teller: &Teller,
) -> Result<Vec<Observed>, Failure> {
    let report = teller.report(false);
    let mut have = match seen {
        Some(seen) => seen,
        None => provider.observe(doors, want, &report).await?,
    };
    let (mut resumptions, mut rounds, mut patience) = (0, 0, BUSY_TRIES);
    let mut left = usize::MAX;
    loop {
        let todo = ready(want, &have, allowed)?;
        if todo.is_empty() {
            return Ok(have);
        }
        if report.stopping() {
            return Err(Failure::new(Kind::Stopped, "stopped as you asked, before the next change"));
        }
        if todo.len() < left {
            (left, resumptions) = (todo.len(), 0);
        }
        let addresses = todo.iter().map(|change| change.resource.address.to_string()).collect();
        teller.tell(What::Intended { addresses })?;
        match provider.apply(doors, &todo, &report).await {
            Ok(Some(after)) => {
                for (change, seen) in todo.iter().zip(after) {
                    put(want, &mut have, &change.resource.address, seen);
                }
                return match differing(want, &have).first() {
                    None => Ok(have),
                    Some(change) => Err(unsettled(change)),
                };
            }
            // What is made may still lack what can only be added to something that is there.
            Ok(None) if rounds < ROUNDS => {
                rounds += 1;
                have = look_until_seen(provider, doors, want, &todo, teller).await?;
            }
            Ok(None) => return differing(want, &have).first().map_or(Ok(have), |change| Err(unsettled(change))),
            Err(failure) if failure.kind == Kind::Lost && resumptions < RESUMPTIONS && !report.stopping() => {
                resumptions += 1;
                let failed = teller.tell_failed(&failure);
                // Never sent again: looked for instead. Only what is seen to be missing is a failure.
                match look_for_lost(provider, doors, want, &failed, teller).await {
                    Ok(Some(seen)) => have = seen,
                    Ok(None) => return Err(failure),
                    Err(cause) => return Err(failure.because(cause)),
                }
            }
            // Most often the script of a run that broke off, which is let finish; anybody else's, too.
            Err(failure) if failure.kind == Kind::Busy && patience > 0 && !report.stopping() => {
                patience -= 1;
                report.tell(Progress::Waiting("the host, which another run's script is still changing".to_owned()));
                sleep(BUSY_GAP).await;
                have = provider.observe(doors, want, &report).await?;
            }
            Err(failure) => {
                teller.tell_failed(&failure);
                return Err(failure);
            }
        }
    }
}

/// The changes that remain, in order. Fails on a conflict and on a loss of data nobody allowed.
fn ready(want: &[Resource], have: &[Observed], allowed: &BTreeSet<String>) -> Result<Vec<ReadyChange>, Failure> {
    let mut todo = Vec::new();
    for change in differing(want, have) {
        let address = change.resource.address.to_string();
        if let Verb::Conflict(what) = &change.verb {
            return Err(Failure::new(Kind::Conflict, format!("{address} is in the way")).because(what.clone()));
        }
        if change.loses_data() && !allowed.contains(&address) {
            return Err(Failure::new(
                Kind::Human,
                format!("{address} would have to be made anew, and its data would be lost"),
            )
            .hint("the approved plan did not say so: look at `landfall plan`, then apply again"));
        }
        todo.push(ReadyChange::new(change).map_err(|key| {
            Failure::new(Kind::Failed, format!("{address} waits for the output `{key}`, which does not exist"))
        })?);
    }
    Ok(todo)
}

fn differing(want: &[Resource], have: &[Observed]) -> Vec<Change> {
    let mut changes: Vec<Change> = want.iter().zip(have).map(|(want, have)| diff(want, have)).collect();
    take_up(&mut changes);
    changes.retain(|change| !change.is_keep());
    changes
}

fn put(want: &[Resource], have: &mut [Observed], address: &Address, seen: Observed) {
    if let Some(index) = want.iter().position(|resource| resource.address == *address) {
        have[index] = seen;
    }
}

/// Looks at `want` until it shows what was `done`: until none of those changes would have to be made again.
async fn look_until_seen(
    provider: &dyn Provider,
    doors: &Doors,
    want: &[Resource],
    done: &[ReadyChange],
    teller: &Teller,
) -> Result<Vec<Observed>, Failure> {
    let report = teller.report(false);
    let begun = Instant::now();
    let mut gap = doors.http.pace().first / 2;
    loop {
        let have = provider.observe(doors, want, &report).await?;
        let again = |change: &&Change| {
            done.iter().any(|d| d.resource.address == change.resource.address && d.verb == change.verb)
        };
        let Some(first) = differing(want, &have).iter().find(again).cloned() else { return Ok(have) };
        if begun.elapsed() > SETTLE_DEADLINE {
            return Err(unsettled(&first));
        }
        report.tell(Progress::Waiting(format!("{} to show what was done", first.resource.address)));
        sleep(gap).await;
        gap = (gap * 2).min(Duration::from_secs(8));
    }
}

/// Looks at `want` until what was `failed` is there, for a while. `None` when it does not appear.
async fn look_for_lost(
    provider: &dyn Provider,
    doors: &Doors,
    want: &[Resource],
    failed: &[Address],
    teller: &Teller,
) -> Result<Option<Vec<Observed>>, Failure> {
    let report = teller.report(false);
    let mut gap = doors.http.pace().first;
    let mut unseen = None;
    for _ in 0..5 {
        sleep(gap).await;
        gap *= 2;
        let have = match provider.observe(doors, want, &report).await {
            Ok(have) => have,
            // What broke once may break again while looking.
            Err(failure) if matches!(failure.kind, Kind::Lost | Kind::Unreachable) => {
                unseen = Some(failure);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        unseen = None;
        let missing = |address: &Address| {
            want.iter().zip(&have).any(|(w, h)| w.address == *address && matches!(h, Observed::Absent))
        };
        // On a host nothing is bought: what is missing there is simply done again.
        if provider.name() == "host" || !failed.iter().any(missing) {
            return Ok(Some(have));
        }
    }
    unseen.map_or(Ok(None), Err)
}

fn unsettled(change: &Change) -> Failure {
    let fields: Vec<String> = match &change.verb {
        Verb::Update(fields) | Verb::Replace(fields) => fields.iter().map(in_words).collect(),
        _ => vec!["it is not there".to_owned()],
    };
    Failure::new(Kind::Failed, format!("{} did not become as wanted", change.resource.address))
        .because(fields.join("; "))
        .hint("something else may be changing it: run the same command again, and look at it if that does not help")
}

fn in_words(change: &FieldChange) -> String {
    // Of long lists, what differs is said.
    if let (Some(Value::List(from)), Some(Value::List(to))) = (&change.from, &change.to) {
        let less = |a: &[Value], b: &[Value]| Value::List(a.iter().filter(|item| !b.contains(item)).cloned().collect());
        return format!("{} has {}, not {}", change.field, less(from, to), less(to, from));
    }
    let short = |value: &Option<Value>| {
        let text = value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        if text.contains('\n') || text.chars().count() > 60 { "something else".to_owned() } else { text }
    };
    format!("{} is {}, not {}", change.field, short(&change.from), short(&change.to))
}
