use crate::backups::BY_HAND;
use crate::bare::hosts_are_asked_for;
use crate::chaos::{laptop, read};
use crate::kills::{Real, real};
use crate::world::ask;

/// What many Supabase apps have: a table that refers to accounts and that visitors may not see, a trigger of theirs, policies
/// that ask who somebody is, extensions, one of them in a schema of its own, a role, a bucket, and a listener.
const PROFILES: &str = "
create extension citext with schema extensions;
create schema search;
create extension pg_trgm with schema search;
create role app_reader nologin;
create table public.profiles (
    id uuid primary key references auth.users on delete cascade,
    name extensions.citext not null
);
alter table public.profiles enable row level security;
create policy \"own profile\" on public.profiles using (auth.uid() = id);
create function public.welcome() returns trigger language plpgsql security definer set search_path = ''
    as $$ begin insert into public.profiles values (new.id, new.email); return new; end $$;
create trigger welcome after insert on auth.users for each row execute function public.welcome();
revoke all on public.profiles from anon;
grant select on public.profiles to app_reader;
create policy \"own files\" on storage.objects for select to authenticated using (owner = auth.uid());
alter publication supabase_realtime add table public.profiles;
create table public.plans (id int primary key, name text);
alter table public.plans enable row level security;
insert into public.plans values (1, 'free'), (2, 'paid');
insert into storage.buckets (id, name) values ('avatars', 'avatars');
";

/// As the account `postgres`, from the server.
async fn sql(real: &Real, sql: &str) -> String {
    let id = real.world.api.server_id("acme-web").expect("a server");
    let command = format!(
        "PGSERVICEFILE=/etc/landfall/backups/acme/services psql -X -q -A -t -v ON_ERROR_STOP=1 -d service=database <<'END'\n{sql}\nEND"
    );
    real.machines.at_the_console(id, &command).await.unwrap_or_else(|why| panic!("{sql}: {why}"))
}

/// What of an app with accounts must be the same before and after.
async fn all(real: &Real) -> String {
    sql(
        real,
        "select id, email, encrypted_password from auth.users order by id;
         select id, name from public.profiles order by id;
         select id, token from auth.refresh_tokens order by id;
         select id, name from storage.buckets;
         select tgrelid::regclass, tgname from pg_trigger where not tgisinternal order by 1, 2;
         select schemaname, tablename, policyname, roles, cmd, qual from pg_policies order by 1, 2, 3;
         select schemaname, tablename from pg_publication_tables;
         select table_name, grantee, privilege_type from information_schema.role_table_grants where table_schema = 'public' order by 1, 2, 3;
         select defaclnamespace::regnamespace, defaclobjtype, acl::text from pg_default_acl, unnest(defaclacl) acl order by 1, 2, 3;",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_of_a_supabase_project_come_back_with_all_that_refers_to_them() {
    if !hosts_are_asked_for() {
        return;
    }
    let real = real().await;
    let folder = laptop(&real.text);
    std::fs::write(folder.path().join("migrations/20260102000000_profiles.sql"), PROFILES).unwrap();
    let go = |verb: &str| {
        let ran = tokio::task::block_in_place(|| read(&real.program_to(verb, folder.path()).output().unwrap()));
        assert_eq!(ran.code, Some(0), "{verb}: {}", ran.text);
        ran
    };
    go("apply");
    sql(
        &real,
        "insert into auth.users (id, email, encrypted_password)
          select gen_random_uuid(), 'user' || n || '@acme.dev', md5(n::text) from generate_series(1, 50) n;
         insert into auth.refresh_tokens (token) select md5(n::text) from generate_series(1, 7) n;",
    )
    .await;
    let before = all(&real).await;
    assert!(before.contains("user50@acme.dev") && before.contains("own files"), "{before}");
    assert!(!before.contains("profiles|anon|"), "visitors may not see profiles: {before}");
    let server = real.world.api.server_id("acme-web").expect("a server");
    let console = async |command: &str| real.machines.at_the_console(server, command).await.expect("a host");
    let say = async |verb: &str| console(&format!("landfall-backup acme {verb} 2>&1 || :")).await;
    assert!(say("backup").await.contains("backed-up"));
    console(&format!("mkdir -p /srv/uploads; {BY_HAND} : >$stage/database.lent; again")).await;
    let drill = say("drill").await;
    assert!(drill.contains("the dump of the accounts of the database") && drill.contains("empty"), "{drill}");
    assert!(say("backup").await.contains("backed-up"));
    let drill = say("drill").await;
    assert!(drill.contains("comes back whole") && drill.contains("as they were"), "{drill}");
    let restored = say("restore").await;
    assert!(restored.contains("kept\tdatabase: it holds"), "accounts alone keep a restore away: {restored}");

    // The project is lost, and the server stands; then both are.
    for lost in ["the project", "the project and the server"] {
        let (_, projects) = ask(&real.world, "supabase", "GET", "/projects", None).await;
        let reference = projects[0]["ref"].as_str().expect("a project").to_owned();
        assert_eq!(ask(&real.world, "supabase", "DELETE", &format!("/projects/{reference}"), None).await.0, 200);
        if lost.ends_with("server") {
            assert_eq!(ask(&real.world, "hetzner", "DELETE", &format!("/servers/{server}"), None).await.0, 200);
        }
        go("recover");
        assert_eq!(all(&real).await, before, "{lost}: every account, and what refers to it, is back");
    }
    // And life goes on: an account is made as always, and sequences go on where they were.
    let newcomer = "insert into auth.users (id, email) values (gen_random_uuid(), 'new@acme.dev');
         insert into auth.refresh_tokens (token) values ('next') returning id;
         select count(*) from public.profiles;";
    assert_eq!(sql(&real, newcomer).await.split_whitespace().collect::<Vec<_>>(), ["8", "51"]);
    assert_eq!(go("apply").planned, 0, "nothing is left to do");
    assert_eq!(real.machines.close().await, Vec::<String>::new());
}
