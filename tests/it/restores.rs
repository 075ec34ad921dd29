//! What must not happen to data: restores that end half-way, backups that push better ones out, databases that come back
//! without what makes them more than rows. Each is a case that lost somebody's data elsewhere.

use std::sync::Arc;

use landfall::rehearsal::machines::LocalHosts;

/// A database as people have them: large objects, names that need quotes, settings, roles and what they may, policies, another
/// database, and functions whose authors relied on a search_path.
const GROWN: &str = r#"
select lo_from_bytea(0, 'avatar');
create function norm(t text) returns text language sql immutable as $$ select lower(t) $$;
create function slug(t text) returns text language plpgsql immutable as $$ begin return norm(t); end $$;
create table notes (id int primary key, owner text, body text); create unique index on notes (slug(body));
create table tags (id int primary key, note int references notes);
alter table notes enable row level security; create policy mine on notes using (owner = current_user);
insert into notes select g, case when g % 2 = 0 then 'alice' else 'bob' end, 'Note ' || g from generate_series(1, 1000) g;
insert into tags select g, g from generate_series(1, 1000) g;
create table lines (t text); insert into lines values ('COMMIT;'), ('BEGIN;'), ('\\.');
create table prices (id int); create function price(i int) returns int language sql as 'select count(*)::int from prices';
create table checked (id int check (price(id) >= 0)); insert into checked values (1);
create role reader; create role boss login password 'x' bypassrls createdb; grant reader to boss;
alter role boss set statement_timeout = '5s';
create schema "My Schema"; create table "My Schema"."odd ""tab" (a text);
alter role app in database app set search_path = 'public', 'My Schema'; alter database app set app.mode = 'it''s';
alter database app connection limit 50; grant connect on database app to reader; comment on database app is 'prod';
set client_min_messages = error;
create publication cdc for all tables;
create function quiet() returns event_trigger language plpgsql as $$ begin end $$;
create event trigger quiet on ddl_command_end execute function quiet();
grant select on notes to reader; alter default privileges grant select on tables to reader; comment on table tags is 'hello';
"#;

const PSQL: &str = "docker exec -i acme_database-postgres-1 psql -U app -X -q -A -t -v ON_ERROR_STOP=1";
/// The whole server as text, but for two things that are other ones each time: the keys that newer versions write into it, and
/// the salt of the main account's password, which is the vault's.
const ALL: &str =
    "docker exec acme_database-postgres-1 pg_dumpall -U app | grep -vE '^.(un)?restrict |^ALTER ROLE app WITH '";

/// All of it on the host `id`, whose database has a good backup.
pub(crate) async fn worse_days(machines: &Arc<LocalHosts>, id: i64) {
    let console = async |command: &str| {
        machines.at_the_console(id, command).await.unwrap_or_else(|why| panic!("{command}: {why}"))
    };
    let say = async |verb: &str| console(&format!("landfall-backup acme {verb} 2>/dev/null || :")).await;
    let sql = async |database: &str, sql: &str| console(&format!("{PSQL} -d {database} <<'END'\n{sql}\nEND")).await;
    // As if the server were a new one: no data, and no memory of ever having had any.
    let lose = async || {
        console(
            "cd /srv/landfall/acme/database && docker compose down --volumes 2>/dev/null && docker compose up --detach --wait 2>/dev/null; \
             docker compose --file /srv/landfall/acme/app/compose.yaml stop 2>/dev/null; \
             rm -rf /srv/uploads /var/lib/docker/volumes/acme_app_data/_data/* /var/lib/landfall/backups/acme",
        )
        .await;
    };
    sql("app", GROWN).await;
    sql("app", "create database \"analytics d'x\"").await;
    console(&format!("{PSQL} -d \"analytics d'x\" -c 'create table t as select generate_series(1, 500) g'")).await;
    let made = say("backup").await;
    assert!(made.contains("backed-up"), "{made}");
    let drill = say("drill").await;
    assert!(drill.contains("comes back whole") && drill.contains("database@1: 1 tables, 500 rows"), "{drill}");
    let before = console(ALL).await;

    // A server that has not taken its data up yet makes no backup, and stale locks keep nobody out.
    lose().await;
    console(
        "cd /root; . /etc/landfall/backups/acme/settings; export RESTIC_REPOSITORY=$repository RESTIC_PASSWORD_FILE=/etc/landfall/backups/acme/password \
         AWS_ACCESS_KEY_ID=$(cat /etc/landfall/backups/acme/access-key) AWS_SECRET_ACCESS_KEY=$(cat /etc/landfall/backups/acme/secret-key); \
         restic check --no-cache --read-data --limit-download 20 >/dev/null 2>&1 & for i in $(seq 100); do [ -z \"$(restic list locks --no-lock -q)\" ] || break; sleep 0.1; done; kill -9 $!; \
         [ -n \"$(restic list locks --no-lock -q)\" ]",
    )
    .await;
    let refused = say("backup").await;
    assert!(refused.contains("failed\tthis server has not taken up its data yet"), "{refused}");
    let drill = say("drill").await;
    assert!(drill.contains("comes back whole"), "a drill on a lost server, past the lock of a dead program: {drill}");

    // Interrupted at every stage: whatever was reached, the next one goes on, and nothing is taken for living data.
    let stages = ["0.4", "1.1", "1.8", "2.6", "3.4"];
    for stage in stages {
        lose().await;
        console(&format!(
            "setsid landfall-backup acme restore >/dev/null 2>&1 & pid=$!; sleep {stage}; kill -9 -$pid; wait $pid 2>/dev/null; :"
        ))
        .await;
        let restored = say("restore").await;
        assert!(restored.contains("restored\teverything up to"), "interrupted after {stage} s: {restored}");
        assert_eq!(console(ALL).await, before, "interrupted after {stage} s");
    }
    #[expect(clippy::print_stdout, reason = "a number for the reader of the tests")]
    {
        println!("restores interrupted at {} stages: all of them ended with what was backed up", stages.len());
    }

    // Far less than before is refused, and what held more stays when somebody means it.
    sql("app", "truncate notes, tags, visits; drop table other.things").await;
    let refused = say("backup").await;
    assert!(refused.contains("failed\tit would hold far less than the last one"), "{refused}");
    assert!(say("accept").await.contains("accepted") && say("backup").await.contains("backed-up"));
    let listed = say("list").await;
    let good = listed.lines().find(|line| line.contains("(kept, whatever its age)")).expect("one that is kept");
    let good = good.split_whitespace().nth(1).expect("a name").to_owned();

    // An older moment, beside what lives.
    let beside = say(&format!("beside {good}")).await;
    let copy = format!("landfall_{good}_0");
    assert!(beside.contains(&copy), "{beside}");
    assert_eq!(sql(&copy, "select count(*) from notes").await.trim(), "1000");
    assert_eq!(sql("app", "select count(*) from notes").await.trim(), "0", "what lives is left as it is");
    sql("app", &format!("drop database {copy}")).await;
    assert!(say("drill @1").await.contains("failed\tthere is no backup that old"));

    // What cannot go in is named; with a word from a person the rest comes back, and nobody calls that everything.
    sql("app", "insert into visits select g, 'x' from generate_series(1, 50) g; create function never(i int) returns int language plpgsql immutable as $$ begin if \
         current_setting('application_name') = 'once' then return i; end if; raise exception 'never'; end $$; set application_name = 'once'; create index nowhere on visits (never(id))")
    .await;
    assert!(say("accept").await.contains("accepted") && say("backup").await.contains("backed-up"));
    assert!(
        say("judge").await.contains("failed\tthe dump of the database does not go in"),
        "found by the weekly check"
    );
    assert!(say("alarm").await.contains("would not come back"), "and told every hour");
    lose().await;
    for _ in 0..2 {
        let refused = say("restore").await;
        assert!(refused.contains("never") && refused.contains("CREATE INDEX nowhere"), "{refused}");
        assert!(say("backup").await.contains("has not taken up its data yet"));
    }
    say("accept").await;
    let restored = say("restore").await;
    assert!(restored.contains("lost\tdatabase: ") && restored.contains("restored\twhat is told above"), "{restored}");
    assert_eq!(sql("app", "select count(*) from visits").await.trim(), "50");
    sql("app", "drop function never cascade").await;
    assert!(say("accept").await.contains("accepted") && say("backup").await.contains("backed-up"));
    // The network it shares with the database is another one by now.
    console("docker compose --file /srv/landfall/acme/app/compose.yaml up --detach --force-recreate 2>&1").await;
}
