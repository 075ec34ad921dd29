use std::sync::Arc;
use std::time::Duration;

use landfall::doors::ssh::Patience;
use landfall::engine::Goal;
use landfall::rehearsal::machines::{Arrival, Birth, Machines, StandIn};
use landfall::rehearsal::storage::Storage;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::bare::{hosts_are_asked_for, open_hosts};
use crate::restores;
use crate::world::World;

/// A server with a database of its own, an app with a volume, and a step `backups` that says `store`.
fn playbook(world: &World, store: &str) -> String {
    format!(
        "{}\n[[step]]\nuse = \"docker\"\non = \"web\"\n\n[[step]]\nuse = \"database\"\nprovider = \"host\"\non = \"web\"\n\n\
         [[step]]\nuse = \"backups\"\non = \"web\"\n{store}\nfolders = [\"/srv/uploads\"]\nupload_kib = 100000\n\n\
         [[step]]\nuse = \"app\"\non = \"web\"\nimage = \"registry.test/acme:1\"\nport = 3000\nhealth = \"/healthz\"\nvolumes = \
         [\"/data\"]\n\n[step.env]\nDATABASE_URL = {{ output = \"database.url\" }}\nKEY = {{ secret = \"session\", generate = 32 }}\n",
        world.server_playbook()
    )
}

/// Shell text with restic as the host uses it, for backups that are made wrong on purpose.
pub(crate) const BY_HAND: &str = "set -e; config=/etc/landfall/backups/acme; . $config/settings; export RESTIC_REPOSITORY=$repository \
     RESTIC_PASSWORD_FILE=$config/password AWS_ACCESS_KEY_ID=$(cat $config/access-key) \
     AWS_SECRET_ACCESS_KEY=$(cat $config/secret-key); stage=/var/lib/landfall/backups/acme/stage; \
     restic -q restore latest --target / --include $stage >/dev/null; \
     again() { restic -q backup --host acme-web --tag landfall $stage /srv/uploads; rm -rf $stage; };";

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_tells_a_good_backup_from_every_sort_of_bad_one() {
    if !hosts_are_asked_for() {
        return;
    }
    let stand_in = |image: &str, port, health: &str| StandIn { image: image.into(), port, health: health.into() };
    let images = vec![stand_in("registry.test/acme:1", 3000, "/healthz"), stand_in("postgres:17", 5432, "/")];
    let machines = open_hosts(images).await;
    let storage = Storage::open(&machines.address(1)).await.expect("a storage");
    let mut world = World::with(Some(machines.clone() as Arc<dyn Machines>)).await;
    world.patience = Patience { reach: Duration::from_secs(60), login: Duration::from_secs(60) };
    for (name, value) in [("backups-access-key", &storage.access_key), ("backups-secret-key", &storage.secret_key)] {
        world.secrets.0.lock().unwrap().insert(name.into(), value.clone());
    }
    let store = format!("to = \"s3\"\nendpoint = \"{}\"\nbucket = \"acme\"", storage.url);
    let text = playbook(&world, &store);

    let applied = world.go(&text, Goal::Apply).await;
    assert_eq!(applied.outcome.code, 0, "{}", applied.failure());
    let again = world.go(&text, Goal::Apply).await;
    assert_eq!((again.outcome.code, again.plan()), (0, vec![]), "the second apply has nothing to do");

    let id = world.api.server_id("acme-web").expect("a server");
    let console = async |command: &str| machines.at_the_console(id, command).await;
    let sql = async |sql: &str| {
        let sql = format!("docker exec acme_database-postgres-1 psql -U app -d app -q -A -t -c \"{sql}\"");
        console(&sql).await.unwrap_or_else(|why| panic!("{sql}: {why}"))
    };
    let say =
        async |verb: &str| console(&format!("landfall-backup acme {verb} 2>/dev/null || :")).await.expect("a host");
    sql("create table visits (id int primary key, t text); insert into visits select g, repeat(md5(g::text), 20) from \
         generate_series(1, 5000) g; create schema other; create table other.things (a text); create extension citext; create table other.names \
         (name citext)")
        .await;
    // What does not shrink, so that there are packs of some size.
    console("mkdir -p /srv/uploads; head -c 3000000 /dev/urandom >/srv/uploads/picture; echo small >'/srv/uploads/a name with spaces'")
        .await
        .unwrap();
    console("head -c 500000 /dev/urandom >/var/lib/docker/volumes/acme_app_data/_data/file").await.unwrap();
    let made = say("backup").await;
    assert!(made.contains("backed-up"), "{made}");
    let drill = say("drill").await;
    for seen in
        ["database: 3 tables, 5000 rows, as they were", "/srv/uploads: 2 files", "_data: 1 files", "comes back whole"]
    {
        assert!(drill.contains(seen), "`{seen}` is not in:\n{drill}");
    }
    assert!(!sql("select datname from pg_database").await.contains("drill"), "the scratch database is gone");

    // A server may have no database at all.
    console("cd /etc/landfall/backups/acme; cp sources /root/; sed -i '/^container/d' sources").await.unwrap();
    for (verb, seen) in [("backup", "backed-up"), ("drill", "comes back whole")] {
        let said = say(verb).await;
        assert!(said.contains(seen), "without a database, {verb}: {said}");
    }
    console("cp /root/sources /etc/landfall/backups/acme/sources; landfall-backup acme backup").await.unwrap();

    // As the timer does it: in the confines of its unit.
    let by_timer = "rm /var/lib/landfall/backups/acme/last-good; systemctl start landfall-backup-acme.service && cat \
                    /var/lib/landfall/backups/acme/last-good";
    console(by_timer).await.expect("a backup by systemd");
    // What holds data is left as it is, however often somebody restores.
    sql("insert into visits values (0, 'after the backup')").await;
    let restored = say("restore").await;
    for kept in ["kept\tdatabase: it holds rows", "kept\tfolder /srv/uploads", "kept\tvolume acme_app_data"] {
        assert!(restored.contains(kept), "`{kept}` is not in:\n{restored}");
    }
    assert_eq!(sql("select count(*) from visits").await.trim(), "5001");
    sql("delete from visits where id = 0").await;

    // Damage in the storage, behind everybody's back.
    let packs = objects(&storage, "acme/acme/web/data");
    let largest = packs.iter().max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let good = std::fs::read(largest).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    std::fs::write(largest, &flipped).unwrap();
    let drill = say("drill").await;
    assert!(
        drill.contains("failed") && drill.contains("damaged") && drill.contains("ciphertext"),
        "a flipped byte: {drill}"
    );
    std::fs::remove_file(largest).unwrap();
    let drill = say("drill").await;
    let name = &largest.file_name().unwrap().to_string_lossy()[..8];
    assert!(
        drill.contains("failed") && drill.contains("damaged") && drill.contains(name),
        "pack {name} is missing: {drill}"
    );
    std::fs::write(largest, &good).unwrap();
    assert!(say("drill").await.contains("comes back whole"), "and with the pack as it was, all is well");

    // A password that is another one: neither a drill nor a backup takes it, and no second repository is begun.
    console("cp /etc/landfall/backups/acme/password /root/; echo wrong >/etc/landfall/backups/acme/password")
        .await
        .unwrap();
    for verb in ["drill", "backup", "init"] {
        let said = say(verb).await;
        assert!(said.contains("failed") && said.contains("wrong password"), "{verb}: {said}");
    }
    console("cp /root/password /etc/landfall/backups/acme/password; rm /root/password").await.unwrap();

    // Backups that are whole, of something that is not.
    for (wrong, spoil, seen) in [
        ("an empty dump", ": >$stage/database.dump", "the dump of the database"),
        (
            "a table missing",
            "docker exec acme_database-postgres-1 pg_dump -U app -d app -Fc -C --exclude-table=visits >$stage/database.dump",
            "the table public.visits of the database is missing",
        ),
        (
            "other values",
            "docker exec acme_database-postgres-1 sh -c \"psql -q -U app -d app -c 'update visits set id = -id where id = 7' && pg_dump -U app -d app -Fc -C\" >$stage/database.dump",
            "the table public.visits of the database holds other values",
        ),
        ("half a dump", "truncate -s 60000 $stage/database.dump", "does not go in"),
        ("no dump", "rm $stage/database.dump", "has no dump of the database"),
    ] {
        console(&format!("{BY_HAND} {spoil}; again")).await.unwrap_or_else(|why| panic!("{wrong}: {why}"));
        let drill = say("drill").await;
        assert!(drill.contains("failed") && drill.contains(seen), "{wrong}: {drill}");
        // It goes, so that the next one is spoilt from a good one.
        let forget = format!(
            "{BY_HAND} rm -rf $stage; restic -q forget $(restic snapshots --latest 1 --json | grep -o '\"short_id\":\"[0-9a-f]*' | tail -n 1 | cut -d '\"' -f 4)"
        );
        console(&forget).await.unwrap_or_else(|why| panic!("{wrong}: {why}"));
    }
    assert!(!sql("select datname from pg_database").await.contains("drill"), "whatever came of them");
    let judged = say("judge").await;
    assert!(judged.contains("checked"), "{judged}");

    // An old backup is an alarm and drift; the next apply makes a new one.
    console("echo '2020-01-01T00:00:00Z old' >/var/lib/landfall/backups/acme/last-good; touch -d 2020-01-01 /var/lib/landfall/backups/acme/last-good").await.unwrap();
    assert!(say("alarm").await.contains("the last good backup is of 2020-01-01"), "the alarm says since when");
    let check = world.go(&text, Goal::Check).await;
    assert_eq!(check.outcome.code, 3, "{:?}", check.plan());
    let applied = world.go(&text, Goal::Apply).await;
    assert_eq!(applied.plan(), ["update host/web/command/backup-acme"], "{}", applied.failure());
    assert!(say("alarm").await.contains("good"), "and all is well again");

    restores::worse_days(&machines, id).await;

    a_storage_box_does_as_well(&world, &machines, id).await;

    // What opens the backups outlives everything.
    let gone = world.go(&text, Goal::Destroy).await;
    assert_eq!(gone.outcome.code, 0, "{}", gone.failure());
    let kept = world.secrets.0.lock().unwrap().contains_key("backups-password");
    assert!(kept && !objects(&storage, "acme/acme/web/snapshots").is_empty(), "the backups and their password stay");
    assert_eq!(machines.close().await, Vec::<String>::new());
}

/// The same over SFTP: a second host with an account and a pinned key.
async fn a_storage_box_does_as_well(world: &World, machines: &Arc<landfall::rehearsal::machines::LocalHosts>, id: i64) {
    let key = || PrivateKey::random(&mut rand_core::OsRng, Algorithm::Ed25519).unwrap();
    let (host_key, login) = (key(), key());
    let arrival = Arrival {
        user: "u1".into(),
        public_key: login.public_key().to_openssh().unwrap(),
        host_key: host_key.to_openssh(LineEnding::LF).unwrap().to_string(),
        host_public_key: host_key.public_key().to_openssh().unwrap(),
    };
    let address = machines.address(77);
    let birth = Birth {
        id: 77,
        address: address.clone(),
        host_name: "box".into(),
        image: "debian-13".into(),
        user_data: arrival.user_data(),
        root_keys: vec![],
    };
    machines.bear(birth).await.expect("a second host");
    let waits =
        "for i in $(seq 60); do [ -e /run/cloud-init/result.json ] && break; sleep 1; done; systemctl is-active ssh";
    machines.at_the_console(77, waits).await.expect("a second host that is up");
    let private = login.to_openssh(LineEnding::LF).unwrap().to_string();
    world.secrets.0.lock().unwrap().insert("backups-ssh-key".into(), private);
    let store = format!(
        "to = \"sftp\"\naddress = \"{address}\"\nuser = \"u1\"\nhost_key = \"{}\"\npath = \"backups/acme\"",
        host_key.public_key().to_openssh().unwrap()
    );
    let applied = world.go(&playbook(world, &store), Goal::Apply).await;
    assert_eq!(applied.outcome.code, 0, "{}", applied.failure());
    let drill = machines.at_the_console(id, "landfall-backup acme backup && landfall-backup acme drill").await.unwrap();
    assert!(drill.contains("comes back whole"), "{drill}");
    let held = machines.at_the_console(77, "ls /home/u1/backups/acme").await.unwrap();
    assert!(held.contains("snapshots"), "{held}");
    machines.bury(77).await.unwrap();
}

/// Every object of the storage below `prefix`.
fn objects(storage: &Storage, prefix: &str) -> Vec<std::path::PathBuf> {
    let (mut found, mut open) = (vec![], vec![storage.folder().join(prefix)]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() { open.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}
