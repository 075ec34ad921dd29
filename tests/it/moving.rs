use std::sync::Arc;
use std::time::Duration;

use landfall::doors::ssh::Patience;
use landfall::engine::Goal;
use landfall::model::event::What;
use landfall::rehearsal::clouds::Ground;
use landfall::rehearsal::machines::Machines;

use crate::bare::{hosts_are_asked_for, open_hosts};
use crate::world::{Went, World, ground};

/// What a plan says is ours and no longer wanted.
fn left_behind(went: &Went) -> Vec<String> {
    let orphans = went.events.iter().filter_map(|event| match &event.event {
        What::Planned { orphans, .. } => Some(orphans.clone()),
        _ => None,
    });
    orphans.flatten().filter(|orphan| !orphan.starts_with("host/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_word_moves_a_server_and_retire_takes_the_old_one_away() {
    if !hosts_are_asked_for() {
        return;
    }
    let machines = open_hosts(vec![]).await;
    let ground = Ground { machines: Some(machines.clone() as Arc<dyn Machines>), ..ground() };
    let mut world = World::of(&["hetzner", "digitalocean"], ground).await;
    world.patience = Patience { reach: Duration::from_secs(60), login: Duration::from_secs(60) };
    let here =
        world.server_playbook().replace("\"fsn1\"", "\"europe\"").replace("\"cx23\"", "{ cpu = 2, memory_gb = 4 }");
    let went = world.go(&here, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert!(left_behind(&went).is_empty());

    let there = here.replace("\"hetzner\"", "\"digitalocean\"");
    let plan = world.go(&there, Goal::Plan).await;
    assert!(left_behind(&plan).contains(&"hetzner/server/web".to_owned()), "{:?}", left_behind(&plan));
    let went = world.go(&there, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    let at = |world: &World, cloud: &str| world.clouds.holds().iter().filter(|held| held.starts_with(cloud)).count();
    assert_eq!(at(&world, "hetzner"), 5, "nothing is taken away without a word: {:?}", world.clouds.holds());

    // Losing the old server is a loss of data, and needs its own word.
    world.retire = true;
    world.losing_data = false;
    let went = world.go(&there, Goal::Apply).await;
    assert_eq!(went.outcome.code, 4, "{}", went.failure());
    assert_eq!(at(&world, "hetzner"), 5);
    world.losing_data = true;
    let went = world.go(&there, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(at(&world, "hetzner"), 0, "{:?}", world.clouds.holds());
    assert_eq!(at(&world, "digitalocean"), 5, "{:?}", world.clouds.holds());
    let again = world.go(&there, Goal::Apply).await;
    assert_eq!((again.outcome.code, again.outcome.planned), (0, 0), "{:?}", again.plan());

    let gone = world.go(&there, Goal::Destroy).await;
    assert_eq!(gone.outcome.code, 0, "{}", gone.failure());
    assert_eq!(world.clouds.holds(), Vec::<String>::new());
    machines.close().await;
}
