//! Migrations: each carried out once, in one transaction with the line that says so. The lines stand where
//! Supabase's own command-line client keeps them, `supabase_migrations.schema_migrations`, because the API's own
//! calls for migrations are open to partners only.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::doors::http::Method;
use crate::model::failure::{Failure, Kind};
use crate::model::resource::{Fields, Observed};
use crate::model::service::Migrations;
use crate::model::value::Value;
use crate::providers::supabase::api::Supa;

/// What was carried out, and every table that visitors can reach without row-level security. One question, so that
/// the two belong to the same moment.
const LOOK: &str = "\
select coalesce((select string_agg(version || '_' || coalesce(name, '') || ' ' || md5(coalesce(statements[1], '')), \
chr(10) order by version) from supabase_migrations.schema_migrations), '') as done, \
coalesce((select string_agg(n.nspname || '.' || c.relname, chr(10) order by 1) from pg_class c \
join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p') and not c.relrowsecurity \
and n.nspname in (EXPOSED)), '') as bare";

/// Makes the place for the lines.
const PLACE: &str = "\
create schema if not exists supabase_migrations; \
create table if not exists supabase_migrations.schema_migrations \
(version text primary key, statements text[], name text)";

/// What was seen of the migrations `spec` in the project `reference`.
pub(super) async fn see(api: Supa<'_>, spec: &Migrations, reference: &str) -> Result<Observed, Failure> {
    let Some((done, bare)) = look(api, reference).await? else { return Ok(Observed::Absent) };
    let seen = spec.files.iter().filter_map(|(name, sql)| {
        let known = done.get(name)?;
        Some(match *known == md5(sql) {
            true => Migrations::mark(name, sql),
            false => format!("{name} (carried out with another text)"),
        })
    });
    let fields = Fields::from([("done", Value::texts(seen)), ("tables_without_row_security", Value::texts(bare))]);
    Ok(Observed::Present { fields, outputs: vec![], ours: false })
}

/// Carries out what is missing, in order. Fails as `Human` on a migration that was changed after it was carried out,
/// and on tables without row-level security.
pub(super) async fn apply(api: Supa<'_>, spec: &Migrations, reference: &str) -> Result<(), Failure> {
    query(api, reference, PLACE).await?;
    let done = look(api, reference).await?.map(|(done, _)| done).unwrap_or_default();
    for (name, sql) in &spec.files {
        match done.get(name) {
            Some(known) if *known == md5(sql) => {}
            Some(_) => {
                return Err(Failure::new(
                    Kind::Human,
                    format!("the migration {name} was changed after it was carried out"),
                )
                .hint("bring its old text back, and say what is new in a migration of its own"));
            }
            None => query(api, reference, &once(name, sql)).await.map(|_| ()).map_err(|failure| {
                let (what, hint) = match failure.kind {
                    Kind::Lost => (
                        "may have been carried out, or not",
                        "run the same command again: it looks first, and carries it out if it was not",
                    ),
                    Kind::Failed => {
                        ("failed, and nothing of it was done", "mend the migration, then run the same command again")
                    }
                    _ => ("was not carried out", "run the same command again when that is mended"),
                };
                Failure::new(failure.kind, format!("the migration {name} {what}")).hint(hint).because(failure)
            })?,
        }
    }
    let bare = look(api, reference).await?.map(|(_, bare)| bare).unwrap_or_default();
    match bare.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Kind::Human, format!("tables that anybody can read: {}", bare.join(", ")))
            .because("they are in a schema that Supabase serves to visitors, and have no row-level security")
            .hint(format!(
                "add a migration with `alter table {} enable row level security;` and policies for it",
                bare[0]
            ))),
    }
}

/// A migration and its line, together or not at all.
fn once(name: &str, sql: &str) -> String {
    let (version, title) = name.split_once('_').unwrap_or((name, ""));
    // A quote of its own, so that whatever stands in the text ends nothing.
    let tag = format!("$landfall{}$", md5(sql));
    format!(
        "begin;\n{sql}\n;\ninsert into supabase_migrations.schema_migrations (version, name, statements) values \
         ('{version}', {tag}{title}{tag}, array[{tag}{sql}{tag}]);\ncommit;"
    )
}

type Seen = (BTreeMap<String, String>, Vec<String>);

/// Name and digest of what was carried out, and the bare tables; `None` when the place for the lines is missing.
async fn look(api: Supa<'_>, reference: &str) -> Result<Option<Seen>, Failure> {
    // The schemas that the project's own API serves to visitors.
    let served: Json = api.get(&format!("/projects/{reference}/postgrest")).await?;
    let names = served["db_schema"].as_str().unwrap_or("public").split(',').map(str::trim);
    let quoted: Vec<String> = names.map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    let rows = match query(api, reference, &LOOK.replace("EXPOSED", &quoted.join(", "))).await {
        Ok(rows) => rows,
        Err(failure) if failure.chain().iter().any(|line| line.contains("schema_migrations")) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let lines = |field: &str| -> Vec<String> {
        rows[0][field].as_str().unwrap_or_default().lines().map(str::to_owned).collect()
    };
    let done = lines("done").into_iter().filter_map(|line| {
        let (name, digest) = line.rsplit_once(' ')?;
        Some((name.trim_end_matches('_').to_owned(), digest.to_owned()))
    });
    Ok(Some((done.collect(), lines("bare"))))
}

async fn query(api: Supa<'_>, reference: &str, sql: &str) -> Result<Json, Failure> {
    let path = format!("/projects/{reference}/database/query");
    api.act(Method::Post, &path, json!({ "query": sql })).await
}

fn md5(text: &str) -> String {
    use md5::Digest as _;
    data_encoding::HEXLOWER.encode(&md5::Md5::digest(text.as_bytes()))
}
