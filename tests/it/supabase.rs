use std::sync::Arc;

use landfall::engine::Goal;
use landfall::model::failure::Kind;
use landfall::rehearsal::clouds::Ground;
use landfall::rehearsal::databases::Databases;
use landfall::rehearsal::faults::{Fault, Trouble};

use crate::openapi::judge;
use crate::world::{World, ask, ground, skipped, told};

/// A world with one free and one paid organisation; `None`, said aloud, without PostgreSQL on this machine.
async fn world() -> Option<World> {
    match Databases::find(vec![]).await {
        Ok(databases) => {
            let organizations = vec!["acme".to_owned(), "big-pro".to_owned()];
            let ground = Ground { databases: Some(Arc::new(databases)), organizations, ..ground() };
            Some(World::of(&["supabase"], ground).await)
        }
        Err(why) if std::env::var_os("LANDFALL_HOST_TESTS").is_some() => panic!("{why}"),
        Err(why) => {
            skipped(&why);
            None
        }
    }
}

fn playbook(more: &str) -> String {
    format!(
        "schema = 1\nname = \"acme\"\n\n[[step]]\nuse = \"database\"\nprovider = \"supabase\"\norganization = \
         \"acme\"\nregion = \"eu-central-1\"\n{more}\n"
    )
}

fn secret(world: &World, name: &str) -> Option<String> {
    world.secrets.0.lock().unwrap().get(name).cloned()
}

fn reference(world: &World) -> Option<String> {
    world.references.0.lock().unwrap().get("database").cloned()
}

async fn migrations(world: &World, files: &[(&str, &str)]) -> String {
    let folder = world.folder.path().join("migrations");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, sql) in files {
        std::fs::write(folder.join(name), sql).unwrap();
    }
    playbook("migrations = \"migrations\"")
}

#[tokio::test]
async fn a_project_is_made_kept_and_taken_away_and_its_secrets_with_it() {
    let Some(world) = world().await else { return };
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    let password = secret(&world, "database-password").unwrap();
    assert_eq!(password.len(), 32);
    assert!(secret(&world, "database-anon-key").is_some() && secret(&world, "database-service-key").is_some());
    assert_eq!(reference(&world).unwrap().split(' ').next().unwrap().len(), 20, "{:?}", reference(&world));

    // The password is the one the database really has.
    let supabase = world.clouds.supabase.clone().unwrap();
    assert_eq!(supabase.sql("acme-database", "select 1 + 1").await.unwrap().trim(), "2");
    let (_, body) = ask(&world, "supabase", "GET", "/projects", None).await;
    let id = body[0]["ref"].as_str().unwrap().to_owned();
    let (_, auth) = ask(&world, "supabase", "GET", &format!("/projects/{id}/config/auth"), None).await;
    assert_eq!((auth["jwt_exp"].as_u64(), auth["mailer_autoconfirm"].as_bool()), (Some(86400), Some(false)));
    let (_, encryption) = ask(&world, "supabase", "GET", &format!("/projects/{id}/ssl-enforcement"), None).await;
    assert_eq!(encryption["currentConfig"]["database"], true);

    let again = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!((again.outcome.code, again.outcome.planned), (0, 0), "{:?}", again.plan());

    // Loosened by hand, mended by the next run.
    let body = serde_json::json!({ "jwt_exp": 3600 });
    ask(&world, "supabase", "PATCH", &format!("/projects/{id}/config/auth"), Some(body)).await;
    assert_eq!(world.go(&playbook(""), Goal::Check).await.outcome.code, 3);
    assert_eq!(world.go(&playbook(""), Goal::Apply).await.outcome.code, 0);

    let gone = world.go(&playbook(""), Goal::Destroy).await;
    assert_eq!(gone.outcome.code, 0, "{}", gone.failure());
    assert_eq!(world.clouds.holds(), Vec::<String>::new());
    assert_eq!(reference(&world), None);
    assert!(["password", "anon-key", "service-key"].iter().all(|s| secret(&world, &format!("database-{s}")).is_none()));
    let operations = judge(&world, "supabase");
    told(&format!("supabase: {} operations held against the specification: {operations:?}", operations.len()));
}

#[tokio::test]
async fn a_project_whose_answer_was_lost_is_found_again_and_not_made_twice() {
    let Some(world) = world().await else { return };
    world.served("supabase").faults.add(Fault { at: "POST /projects", nth: 1, trouble: Trouble::CutAfter });
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(world.clouds.holds(), ["supabase project acme-database"]);
    assert_ne!(reference(&world).as_deref(), Some("pending"));
}

#[tokio::test]
async fn a_project_that_only_has_our_name_is_a_stranger_until_it_is_adopted() {
    let Some(mut world) = world().await else { return };
    assert_eq!(world.go(&playbook(""), Goal::Apply).await.outcome.code, 0);
    // The lock line is lost, as on a laptop that has an old copy of the playbook.
    world.references.0.lock().unwrap().clear();
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Conflict.exit_code(), "{}", went.failure());
    assert!(went.failure().contains("--adopt supabase/project/database"), "{}", went.failure());
    // Without the vault, too: adopting gives it a new password.
    world.secrets.0.lock().unwrap().remove("database-password");
    world.adopt = vec!["supabase/project/database".to_owned()];
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(world.clouds.holds(), ["supabase project acme-database"]);
    world.adopt.clear();
    let again = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!((again.outcome.code, again.outcome.planned), (0, 0), "{:?}", again.plan());
}

#[tokio::test]
async fn a_password_the_vault_lost_is_made_anew_and_given_to_the_project() {
    let Some(world) = world().await else { return };
    assert_eq!(world.go(&playbook(""), Goal::Apply).await.outcome.code, 0);
    let old = secret(&world, "database-password").unwrap();
    world.secrets.0.lock().unwrap().remove("database-password");
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    let new = secret(&world, "database-password").unwrap();
    assert_ne!(old, new);
    let exchanges = world.served("supabase").exchanges();
    let sent = exchanges.iter().find(|e| e.request.path.ends_with("/database/password")).unwrap();
    assert!(String::from_utf8_lossy(&sent.request.body).contains(&new));
    assert_eq!(world.go(&playbook(""), Goal::Apply).await.outcome.planned, 0);
}

#[tokio::test]
async fn migrations_are_carried_out_once_whole_and_in_order() {
    let Some(world) = world().await else { return };
    let first =
        ("20260101000000_words.sql", "create table words (word text);\nalter table words enable row level security;");
    let text = migrations(&world, &[first]).await;
    let went = world.go(&text, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(world.go(&text, Goal::Apply).await.outcome.planned, 0);

    let second = ("20260102000000_more.sql", "insert into words values ('it''s $1');");
    let broken = ("20260103000000_broken.sql", "insert into words values ('half');\nselect nonsense from nowhere;");
    let text = migrations(&world, &[first, second, broken]).await;
    let went = world.go(&text, Goal::Apply).await;
    assert_ne!(went.outcome.code, 0);
    assert!(
        went.failure().contains("20260103000000_broken") && went.failure().contains("nowhere"),
        "{}",
        went.failure()
    );
    let supabase = world.clouds.supabase.clone().unwrap();
    assert_eq!(
        supabase.sql("acme-database", "select word from words").await.unwrap().trim(),
        "it's $1",
        "no half of it"
    );

    let text = migrations(&world, &[(first.0, "create table other (x int);"), second]).await;
    let went = world.go(&text, Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Human.exit_code(), "{}", went.failure());
    assert!(went.failure().contains("changed after it was carried out"), "{}", went.failure());
}

#[tokio::test]
async fn a_table_without_row_level_security_is_named() {
    let Some(world) = world().await else { return };
    let text = migrations(&world, &[("1_open.sql", "create table open_to_all (x int);")]).await;
    let went = world.go(&text, Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Human.exit_code(), "{}", went.failure());
    assert!(went.failure().contains("public.open_to_all"), "{}", went.failure());
    // Made by hand later, it is drift.
    let sql = "alter table open_to_all enable row level security";
    world.clouds.supabase.clone().unwrap().sql("acme-database", sql).await.unwrap();
    assert_eq!(world.go(&text, Goal::Check).await.outcome.code, 0);
    let sql = "create table another (x int)";
    world.clouds.supabase.clone().unwrap().sql("acme-database", sql).await.unwrap();
    assert_eq!(world.go(&text, Goal::Check).await.outcome.code, 3);
}

#[tokio::test]
async fn the_free_limit_needs_a_person_and_leaves_nothing_behind() {
    let Some(world) = world().await else { return };
    let organization = world.clouds.simulator("supabase").unwrap().clone();
    let (_, body) = ask(&world, "supabase", "GET", "/organizations", None).await;
    for name in ["one", "two"] {
        let body = serde_json::json!({
            "db_pass": "long-enough-1", "name": name, "organization_slug": body[0]["slug"], "region": "eu-central-1",
        });
        assert_eq!(ask(&world, "supabase", "POST", "/projects", Some(body)).await.0, 201);
    }
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Human.exit_code(), "{}", went.failure());
    assert!(went.failure().contains("two active free projects"), "{}", went.failure());
    assert_eq!(organization.holds().len(), 2);
    assert_eq!(reference(&world), None, "nothing of that name is ours");
}

#[tokio::test]
async fn a_project_that_fell_asleep_is_woken_and_a_paid_one_can_grow() {
    let Some(world) = world().await else { return };
    assert_eq!(world.go(&playbook(""), Goal::Apply).await.outcome.code, 0);
    world.clouds.supabase.clone().unwrap().fall_asleep("acme-database");
    assert_eq!(world.go(&playbook(""), Goal::Check).await.outcome.code, 3);
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());

    let paid = |more: &str| {
        playbook(more).replace("\"acme\"\nregion", "\"big-pro\"\nregion").replace("name = \"acme\"", "name = \"big\"")
    };
    world.references.0.lock().unwrap().clear();
    let went = world.go(&paid(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    let total = |went: &crate::world::Went| -> Vec<String> {
        went.outcome.bill.iter().map(|line| format!("{} {} {}", line.what, line.monthly, line.currency)).collect()
    };
    assert!(
        total(&went).iter().any(|line| line.contains("Pro plan of big-pro") && line.contains("25")),
        "{:?}",
        total(&went)
    );
    let went = world.go(&paid("size = \"small\"\npoint_in_time = \"7\""), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(world.go(&paid("size = \"small\"\npoint_in_time = \"7\""), Goal::Apply).await.outcome.planned, 0);
}

#[tokio::test]
async fn a_refused_password_is_not_repeated_in_the_failure() {
    let Some(world) = world().await else { return };
    // The simulator, like some real services, quotes what it refuses.
    world.secrets.0.lock().unwrap().insert("database-password".into(), "weak-7c".into());
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_ne!(went.outcome.code, 0);
    assert!(went.failure().contains("too weak"), "{}", went.failure());
    assert!(!serde_json::to_string(&went.events).unwrap().contains("weak-7c"), "{}", went.failure());
}

/// What a run says in notes.
fn notes(went: &crate::world::Went) -> String {
    let note = |event: &landfall::model::event::Event| match &event.event {
        landfall::model::event::What::Note { text } => Some(text.clone() + "\n"),
        _ => None,
    };
    went.events.iter().filter_map(note).collect()
}

#[tokio::test]
async fn of_two_runs_that_make_a_project_at_the_same_moment_the_younger_gives_way() {
    let Some(world) = world().await else { return };
    let supabase = world.clouds.supabase.clone().unwrap();
    supabase.meet_a_twin(-1);
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Conflict.exit_code(), "{}", went.failure());
    assert!(went.failure().contains("another run made the project acme-database"), "{}", went.failure());
    assert_eq!(world.clouds.holds(), ["supabase project acme-database"], "the older one stays, alone");
    assert_eq!(reference(&world), None, "which is not this playbook's");
    let again = world.go(&playbook(""), Goal::Plan).await;
    assert_eq!(again.outcome.code, Kind::Conflict.exit_code(), "{}", again.failure());
}

#[tokio::test]
async fn the_older_project_stays_and_the_second_one_is_named() {
    let Some(world) = world().await else { return };
    world.clouds.supabase.clone().unwrap().meet_a_twin(1);
    let went = world.go(&playbook(""), Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(world.clouds.holds().len(), 2, "the other run takes its own away");
    let went = world.go(&playbook(""), Goal::Plan).await;
    assert_eq!((went.outcome.code, went.plan()), (0, vec![]), "{}", went.failure());
    assert!(notes(&went).contains("there is a second project acme-database"), "{}", notes(&went));
}

#[tokio::test]
async fn a_project_that_replaces_another_never_gives_way_to_the_one_that_is_going() {
    let Some(world) = world().await else { return };
    assert_eq!(world.go(&playbook(""), Goal::Apply).await.outcome.code, 0);
    let first = reference(&world).unwrap();
    // At once, while the old one is still listed.
    let moved = playbook("").replace("eu-central-1", "eu-west-1");
    let went = world.go(&moved, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_ne!(reference(&world).unwrap(), first);
    assert_eq!(world.clouds.holds(), ["supabase project acme-database"]);
}

#[tokio::test]
async fn at_neon_too_the_younger_of_two_projects_gives_way() {
    let databases = match Databases::find(vec![]).await {
        Ok(databases) => Arc::new(databases),
        Err(why) if std::env::var_os("LANDFALL_HOST_TESTS").is_some() => panic!("{why}"),
        Err(why) => return skipped(&why),
    };
    let world = World::of(&["neon"], Ground { databases: Some(databases), ..ground() }).await;
    let playbook = "schema = 1\nname = \"acme\"\n\n[[step]]\nuse = \"database\"\nprovider = \"neon\"\nregion = \"aws-eu-central-1\"\n";
    world.clouds.neon.as_ref().unwrap().meet_a_twin(-2);
    let went = world.go(playbook, Goal::Apply).await;
    assert_eq!(went.outcome.code, Kind::Conflict.exit_code(), "{}", went.failure());
    assert_eq!(world.clouds.holds(), ["neon project acme-database"]);
    assert_eq!(secret(&world, "database-password"), None, "no password of a project that is gone");
    // The other run's project is this playbook's: what is missing here is taken from it.
    let went = world.go(playbook, Goal::Apply).await;
    assert_eq!(went.outcome.code, 0, "{}", went.failure());
    assert_eq!(world.clouds.holds(), ["neon project acme-database"]);
    assert!(secret(&world, "database-password").is_some());
}
