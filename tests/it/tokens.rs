use std::sync::Arc;

use landfall::engine::Goal;
use landfall::model::event::What;
use landfall::rehearsal::clouds::Ground;
use landfall::rehearsal::faults::{Fault, Trouble};

use crate::chaos::{Measure, databases, playbooks, solo_full};
use crate::world::{World, ground, told};

/// The clouds whose tokens go bad.
const CLOUDS: &[&str] = &["hetzner", "cloudflare", "supabase"];

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_goes_bad_stops_the_run_with_a_word_and_a_good_one_goes_on() {
    let Some(databases) = databases().await else { return };
    let measure = Arc::new(Measure::take(&databases).await);
    let turn = Arc::new(tokio::sync::Semaphore::new(2));
    let mut running = tokio::task::JoinSet::new();
    for &api in CLOUDS {
        // From the first look to the last change.
        for nth in [1, 2, 5, 9, 14] {
            for trouble in [Trouble::Revoke, Trouble::ReadOnly] {
                let (databases, measure, turn) = (databases.clone(), measure.clone(), turn.clone());
                running.spawn(async move {
                    let _turn = turn.acquire().await.unwrap();
                    let (world, text) = solo_full(&databases).await;
                    world.served(api).faults.add(Fault { at: "", nth, trouble: trouble.clone() });
                    let stopped = world.go_in(&playbooks(), &text, Goal::Apply).await;
                    let mut wrong = Vec::new();
                    let reached = world.served(api).faults.met() > 0;
                    let code = stopped.outcome.code;
                    if reached && code != 4 && !(code == 0 && trouble == Trouble::ReadOnly) {
                        wrong.push(format!("it ended with {code}: {}", stopped.failure()));
                    }
                    if code == 4 && !stopped.failure().contains("token") {
                        wrong.push(format!("no word of the token: {}", stopped.failure()));
                    }
                    let is_server = |address: &String| address == "hetzner/server/web";
                    let made = world.api.address_of("acme-web").is_some();
                    if code != 0 && made && api != "hetzner" && !stopped.exists().iter().any(is_server) {
                        wrong.push(format!("the server is not among what exists: {:?}", stopped.exists()));
                    }
                    // As `landfall secrets set` does it: another token takes the place of the bad one.
                    world.served(api).accept_again();
                    let resumed = world.go_in(&playbooks(), &text, Goal::Apply).await;
                    if resumed.outcome.code != 0 {
                        wrong.push(format!("resumed, it ended with {}: {}", resumed.outcome.code, resumed.failure()));
                    }
                    let last = world.go_in(&playbooks(), &text, Goal::Apply).await;
                    if !last.plan().is_empty() {
                        wrong.push(format!("the third run has {:?}", last.plan()));
                    }
                    wrong.extend(measure.differences(&world, &last));
                    let say = |wrong: String| format!("{api}, {trouble:?} from the call {nth} on: {wrong}");
                    (usize::from(code == 4), wrong.into_iter().map(say).collect::<Vec<_>>())
                });
            }
        }
    }
    let (mut stopped, mut wrong) = (0, Vec::new());
    while let Some(ended) = running.join_next().await {
        let (one, some) = ended.unwrap();
        stopped += one;
        wrong.extend(some);
    }
    told(&format!("tokens: {stopped} runs stopped with exit 4, and were resumed"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(stopped >= 20, "most of them meet the bad token: {stopped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_account_stops_the_run_and_the_right_one_goes_on() {
    let Some(databases) = databases().await else { return };
    let measure = Measure::take(&databases).await;
    let (mut stopped, mut wrong) = (0, Vec::new());
    for &api in CLOUDS {
        // Cut short at different stages, and once not at all.
        for nth in [15, 18, 24, 40, 1000] {
            let (mut world, text) = solo_full(&databases).await;
            world.served(api).faults.add(Fault { at: "", nth, trouble: Trouble::Revoke });
            let first = world.go_in(&playbooks(), &text, Goal::Apply).await;
            world.served(api).accept_again();
            let is_made = |what: &What| matches!(what, What::ChangeDone { address, .. } if address.starts_with(&format!("{api}/")));
            if !first.events.iter().any(|event| is_made(&event.event)) {
                continue;
            }
            // Nothing is in the other account: no zone, no organisation.
            let other = World::of(&[api], Ground { databases: Some(databases.clone()), ..ground() }).await;
            let token = format!("{api}-token");
            let own = world.secrets.0.lock().unwrap().get(&token).cloned().unwrap();
            let of_other = other.clouds.tokens()[api].clone();
            world.secrets.0.lock().unwrap().insert(token.clone(), of_other);
            world.elsewhere.insert(api.to_owned(), other.clouds.endpoints()[api].clone());
            for goal in [Goal::Apply, Goal::Destroy] {
                let went = world.go_in(&playbooks(), &text, goal).await;
                let writes = other.served(api).exchanges().iter().filter(|e| e.request.method != "GET").count();
                let failure = went.failure();
                if went.outcome.code != 4
                    || !["another account", "sees no organisation"].iter().any(|word| failure.contains(word))
                    || writes > 0
                {
                    wrong.push(format!(
                        "{api} from the call {nth} on, {goal:?}: {}, {writes} writes: {failure}",
                        went.outcome.code
                    ));
                }
                stopped += usize::from(went.outcome.code == 4);
            }

            world.secrets.0.lock().unwrap().insert(token, own);
            world.elsewhere.clear();
            let resumed = world.go_in(&playbooks(), &text, Goal::Apply).await;
            if resumed.outcome.code != 0 {
                wrong.push(format!("{api} from the call {nth} on, resumed: {}", resumed.failure()));
            }
            let last = world.go_in(&playbooks(), &text, Goal::Apply).await;
            wrong.extend(last.plan());
            wrong.extend(measure.differences(&world, &last));
        }
    }
    told(&format!("tokens: {stopped} runs met another account, and stopped with exit 4"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(stopped >= 12, "at several stages of each: {stopped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_by_hand_can_be_destroyed_with_a_word() {
    let mut world = World::of(&["hetzner", "host"], ground()).await;
    let text = world.server_playbook().replace("size =", "volume_gb = 10\nsize =");
    assert_eq!(world.go(&text, Goal::Apply).await.outcome.code, 0);
    // A destruction that was not approved has taken nothing away.
    world.losing_data = false;
    assert!(world.go(&text, Goal::Destroy).await.failure().contains("--allow-data-loss"));
    world.losing_data = true;
    let empty = World::of(&["hetzner"], ground()).await;
    world.elsewhere.insert("hetzner".into(), empty.clouds.endpoints()["hetzner"].clone());
    world.secrets.0.lock().unwrap().insert("hetzner-token".into(), empty.clouds.tokens()["hetzner"].clone());
    let refused = world.go(&text, Goal::Apply).await;
    assert!(refused.outcome.code == 4 && refused.failure().contains("another account"), "{}", refused.failure());
    let refused = world.go(&text, Goal::Destroy).await;
    assert!(refused.outcome.code == 4 && refused.failure().contains("--gone"), "{}", refused.failure());
    world.gone = true;
    let went = world.go(&text, Goal::Destroy).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
}
