//! `landfall cost`: the bill of a playbook, or providers side by side.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::cli::Settings;
use crate::cli::go::{doors, finish_json, refuse, runtime};
use crate::cli::load::{Cupboard, Loaded, load, vault};
use crate::cupboard::lockline::LockLine;
use crate::doors::Doors;
use crate::engine::Goal;
use crate::estimate::snapshot::{Dated, snapshot};
use crate::estimate::{self, Fit};
use crate::front::{self, Style};
use crate::model::catalog::Catalog;
use crate::model::event::{BillLine, FailureView, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::money::{PriceLine, over_budget, totals};
use crate::model::name::Name;
use crate::model::resource::Resource;
use crate::model::value::Outputs;
use crate::{providers, steps};

/// How many plans of each provider are shown side by side.
const SHOWN: usize = 3;

/// Prints what the playbook at `path` costs a month. Gives the exit code: 5 when that is over its budget.
pub fn of_playbook(settings: &Settings, path: &Path) -> Result<u8, Failure> {
    let loaded = match load(path) {
        Ok(loaded) => loaded,
        Err(refused) => return Ok(refuse(settings.style, refused)),
    };
    let wanted = steps::desired(&loaded.playbook, &Outputs::new(), &loaded.sources).map_err(|problems| {
        let text: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
        Failure::new(Kind::Playbook, text.join("; "))
    })?;
    let prices = read_snapshot()?;
    let doors = doors(settings, &loaded.cupboard, Goal::Plan);
    let (lines, sources, vat) = runtime()?.block_on(bill(&doors, &loaded, &wanted, &prices))?;
    let over = over_budget(&loaded.playbook.budget, &lines);
    let notes = estimate::limits(&wanted);
    match settings.style {
        Style::Json => {
            for line in &lines {
                let line = serde_json::to_value(BillLine::from(line)).unwrap_or_default();
                front::json::print_document(&json!({ "type": "bill-line", "line": line }));
            }
            front::json::print_document(&json!({ "type": "bill", "sources": sources, "notes": notes }));
            if let Some(failure) = &over {
                finish_json(&[], failure);
            }
        }
        Style::Plain { .. } => front::print(&render(&loaded, &lines, &sources, &notes, &vat)),
    }
    match over {
        Some(failure) if settings.style != Style::Json => {
            front::complain(&front::plain::render_failure(&FailureView::from(&failure)));
            Ok(failure.kind.exit_code())
        }
        Some(failure) => Ok(failure.kind.exit_code()),
        None => Ok(0),
    }
}

type Bill = (Vec<PriceLine>, Vec<String>, Vec<(String, rust_decimal::Decimal)>);

/// The lines, where the prices of each provider are from, and value added tax by currency.
async fn bill(doors: &Doors, loaded: &Loaded, wanted: &[Resource], prices: &[Dated]) -> Result<Bill, Failure> {
    let (mut lines, mut sources, mut vat) = (Vec::new(), Vec::new(), Vec::new());
    let named: BTreeSet<&'static str> = wanted.iter().map(|resource| resource.address.provider).collect();
    let report = Report::silent();
    for name in named {
        let Some(provider) = providers::find(name).filter(|provider| provider.api().is_some()) else { continue };
        let of_it: Vec<Resource> =
            wanted.iter().filter(|resource| resource.address.provider == name).cloned().collect();
        if has_token(doors, name) {
            let stock = provider.take_stock(doors, &loaded.playbook.name, &of_it, &report).await?;
            lines.extend(stock.bill?);
            sources.push(format!("{name}: read now"));
            if let Some(Ok(catalog)) = provider.catalog(doors, &report).await {
                vat.extend(catalog.vat.map(|percent| (catalog.currency, percent)));
            }
            continue;
        }
        match prices.iter().find(|dated| dated.catalog.provider == name) {
            Some(Dated { date, catalog }) => {
                lines.extend(estimate::bill(catalog, &of_it).map_err(|failure| {
                    let kind = failure.kind;
                    let hint = failure.hint.clone().unwrap_or_default();
                    Failure::new(kind, failure.message.clone())
                        .hint(format!("{hint}. That was so on {date}: with a token, today's stock is read"))
                })?);
                sources.push(format!("{name}: prices of {date} (no token: they may have changed)"));
            }
            None => {
                let rented = estimate::rented_bill(&of_it);
                if !rented.is_empty() {
                    sources.push(format!(
                        "{name}: prices of {} (no token: they may have changed)",
                        crate::model::rented::READ
                    ));
                }
                lines.extend(rented);
            }
        }
    }
    Ok((lines, sources, vat))
}

fn has_token(doors: &Doors, provider: &str) -> bool {
    let api = providers::find(provider).and_then(|provider| provider.api());
    api.and_then(|api| Name::parse(api.token)).is_some_and(|name| doors.keys.get(&name).is_some())
}

fn read_snapshot() -> Result<Vec<Dated>, Failure> {
    snapshot().map_err(|e| Failure::new(Kind::Failed, "the prices in the program cannot be read").because(e))
}

fn render(
    loaded: &Loaded,
    lines: &[PriceLine],
    sources: &[String],
    notes: &[String],
    vat: &[(String, rust_decimal::Decimal)],
) -> String {
    let views: Vec<BillLine> = lines.iter().map(BillLine::from).collect();
    let mut out = match views.is_empty() {
        true => "\n  costs nothing a month\n\n".to_owned(),
        false => front::plan::render_bill(&views),
    };
    for sum in totals(lines) {
        if let Some((_, percent)) = vat.iter().find(|(currency, _)| *currency == sum.currency) {
            let gross = estimate::with_vat(sum.amount, *percent);
            let _ = writeln!(out, "  with {} % value added tax: {gross:.2} {}", percent.normalize(), sum.currency);
        }
        if let Some(budget) = loaded.playbook.budget.iter().find(|budget| budget.currency == sum.currency) {
            let _ = writeln!(out, "  budget: {}", budget.money());
        }
    }
    for source in sources {
        let _ = writeln!(out, "  {source}");
    }
    for note in notes {
        let _ = writeln!(out, "  note: {note}");
    }
    out
}

/// Prints what servers with at least so much cost at every provider. Gives the exit code: 1 when nothing fits.
pub fn of_size(settings: &Settings, cpu: u32, memory_gb: u32) -> Result<u8, Failure> {
    let prices = read_snapshot()?;
    // Tokens of no playbook in particular: those of the environment.
    let nowhere = Path::new("landfall.toml");
    let name = Name::parse("landfall").ok_or_else(|| Failure::new(Kind::Failed, "bad name"))?;
    let cupboard = Cupboard { keys: Arc::new(vault(&name, nowhere)), references: Arc::new(LockLine::of(nowhere, "")) };
    let doors = doors(settings, &cupboard, Goal::Plan);
    let (catalogs, live) = runtime()?.block_on(async {
        let (mut catalogs, mut live): (Vec<Catalog>, Vec<String>) = (vec![], vec![]);
        for Dated { catalog: old, .. } in &prices {
            let provider = providers::find(&old.provider).filter(|_| has_token(&doors, &old.provider));
            let now = match provider {
                Some(provider) => provider.catalog(&doors, &Report::silent()).await,
                None => None,
            };
            match now {
                Some(Ok(now)) => {
                    live.push(old.provider.clone());
                    catalogs.push(now);
                }
                // One provider that cannot be asked is no reason to be silent about the others.
                Some(Err(failure)) => {
                    front::complain(&front::plain::render_failure(&FailureView::from(&failure)));
                    catalogs.push(old.clone());
                }
                None => catalogs.push(old.clone()),
            }
        }
        Ok::<_, Failure>((catalogs, live))
    })?;
    let fits = estimate::side_by_side(&catalogs, cpu, memory_gb, SHOWN);
    let source = |fit: &Fit<'_>| match live.contains(&fit.catalog.provider) {
        true => "read now".to_owned(),
        false => {
            let dated = prices.iter().find(|dated| dated.catalog.provider == fit.catalog.provider);
            format!("prices of {}", dated.map_or("", |dated| dated.date.as_str()))
        }
    };
    if fits.is_empty() {
        return Err(Failure::new(Kind::Failed, format!("no plan has {cpu} cores and {memory_gb} GB"))
            .hint("ask for less; ARM plans are only taken by name"));
    }
    let mut out = String::new();
    if settings.style != Style::Json {
        let _ = writeln!(
            out,
            "{:<14} {:<20} {:>5} {:>7} {:>7}  {:<6} {:>12}  {:<9}  source",
            "provider", "plan", "cores", "memory", "disk", "place", "a month", "now"
        );
    }
    for fit in &fits {
        let (plan, offer) = (fit.plan, fit.offer);
        let now = if offer.orderable { "orderable" } else { "sold out" };
        if settings.style == Style::Json {
            let line = json!({
                "type": "offer", "provider": fit.catalog.provider, "plan": plan.name, "cores": plan.cores,
                "memory_gb": plan.memory_gb, "disk_gb": plan.disk_gb, "place": offer.place,
                "monthly": format!("{:.2}", fit.monthly.amount), "currency": fit.monthly.currency,
                "orderable": offer.orderable, "source": source(fit),
            });
            let _ = writeln!(out, "{line}");
        } else {
            let _ = writeln!(
                out,
                "{:<14} {:<20} {:>5} {:>4} GB {:>4} GB  {:<6} {:>12}  {:<9}  {}",
                fit.catalog.provider,
                plan.name,
                plan.cores.normalize(),
                plan.memory_gb.normalize(),
                plan.disk_gb.normalize(),
                offer.place,
                fit.monthly.to_string(),
                now,
                source(fit)
            );
        }
    }
    if settings.style != Style::Json {
        out.push_str("\nnet of tax, with an IPv4 address, at the cheapest place; currencies are not converted\n");
    }
    front::print(&out);
    Ok(0)
}
