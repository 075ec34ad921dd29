//! A plan, as people read it. Understandable without colour.

use std::fmt::Write as _;

use console::style;
use similar::{ChangeTag, TextDiff};

use crate::model::event::{BillLine, ChangeView, FieldView};
use crate::text::count;

/// How many of what a plan holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Changes to make, by verb, in the order people expect.
    pub verbs: Vec<(&'static str, usize)>,
    /// Addresses whose data would be lost.
    pub losses: Vec<String>,
}

impl Summary {
    /// Counts `changes`.
    pub fn of(changes: &[ChangeView]) -> Summary {
        let number = |verb: &str| changes.iter().filter(|change| change.verb == verb).count();
        let verbs = ["create", "update", "replace", "delete", "conflict"].map(|verb| (verb, number(verb)));
        let losses = changes.iter().filter(|change| change.loses_data).map(|change| change.address.clone());
        Summary { verbs: verbs.into_iter().filter(|(_, n)| *n > 0).collect(), losses: losses.collect() }
    }

    /// How many changes there are to make.
    pub fn total(&self) -> usize {
        self.verbs.iter().map(|(_, n)| n).sum()
    }

    /// `3 changes (2 to create, 1 to update)`.
    pub fn in_words(&self) -> String {
        let parts: Vec<String> = self.verbs.iter().map(|(verb, n)| format!("{n} to {verb}")).collect();
        match parts.is_empty() {
            true => count(0, "change"),
            false => format!("{} ({})", count(self.total(), "change"), parts.join(", ")),
        }
    }
}

/// The whole plan: changes with their fields, what is no longer wanted, and the bill.
pub fn render(changes: &[ChangeView], bill: &[BillLine], orphans: &[String]) -> String {
    let mut out = String::new();
    for change in changes.iter().filter(|change| change.verb != "keep") {
        let sign = match change.verb.as_str() {
            "create" => style("+").green(),
            "update" => style("~").yellow(),
            "replace" => style("-/+").red(),
            "delete" => style("-").red(),
            _ => style("!").red(),
        };
        let loss = if change.loses_data { "  (its data will be lost)" } else { "" };
        let _ = writeln!(out, "  {sign} {}{loss}", style(&change.address).bold());
        if let Some(conflict) = &change.conflict {
            let _ = writeln!(out, "      {conflict}");
        }
        if change.verb == "create" {
            let brief: Vec<String> = change.fields.iter().filter_map(brief).collect();
            if !brief.is_empty() {
                let _ = writeln!(out, "      {}", style(brief.join(", ")).dim());
            }
        } else {
            change.fields.iter().for_each(|field| render_field(field, &mut out));
        }
    }
    for orphan in orphans {
        let _ = writeln!(out, "  ? {orphan}  (ours, but no longer in the playbook: it stays until you take it away)");
    }
    if !bill.is_empty() {
        out.push_str(&render_bill(bill));
    }
    let kept = changes.iter().filter(|change| change.verb == "keep").count();
    let _ = writeln!(out, "plan: {}, {} as wanted", Summary::of(changes).in_words(), count(kept, "resource"));
    out
}

/// A bill with its sum, one line per thing.
pub fn render_bill(bill: &[BillLine]) -> String {
    let mut out = String::new();
    for currency in currencies(bill) {
        let lines: Vec<&BillLine> = bill.iter().filter(|line| line.currency == currency).collect();
        let sum: rust_decimal::Decimal =
            lines.iter().filter_map(|line| line.monthly.parse::<rust_decimal::Decimal>().ok()).sum();
        let _ = writeln!(out, "\n  costs {sum:.2} {currency} a month, net of tax:");
        for line in lines {
            let _ = writeln!(out, "  {:>9}  {}", line.monthly, line.what);
        }
    }
    out.push('\n');
    out
}

fn currencies(bill: &[BillLine]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in bill {
        if !all.contains(&line.currency) {
            all.push(line.currency.clone());
        }
    }
    all
}

/// A field of something new, if it is short and says something.
fn brief(field: &FieldView) -> Option<String> {
    let value = field.to.as_deref()?;
    match (field.name.as_str(), value) {
        (_, "" | "false") => None,
        (name, "true") => Some(name.replace('_', " ")),
        ("content", text) if !text.contains('\n') && text.chars().count() <= 80 => Some(text.to_owned()),
        ("content" | "files", text) => Some(count(text.lines().count(), "line")),
        ("keys" | "key" | "public_key", text) => Some(count(text.split(", ").count(), "key")),
        (name, value) if value.chars().count() <= 60 && !value.contains('\n') => Some(format!("{name} {value}")),
        _ => None,
    }
}

fn render_field(field: &FieldView, out: &mut String) {
    let from = field.from.as_deref().unwrap_or_default();
    let to = field.to.as_deref().unwrap_or_default();
    if !from.contains('\n') && !to.contains('\n') {
        let from = if from.is_empty() { "(nothing)" } else { from };
        let _ = writeln!(out, "      {}: {from} → {to}", field.name);
        return;
    }
    let _ = writeln!(out, "      {}:", field.name);
    let diff = TextDiff::from_lines(from, to);
    for group in diff.grouped_ops(1) {
        for op in group {
            for line in diff.iter_changes(&op) {
                let text = line.value().trim_end_matches('\n');
                let _ = match line.tag() {
                    ChangeTag::Delete => writeln!(out, "        {}", style(format!("- {text}")).red()),
                    ChangeTag::Insert => writeln!(out, "        {}", style(format!("+ {text}")).green()),
                    ChangeTag::Equal => writeln!(out, "          {text}"),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(verb: &'static str, address: &str, fields: Vec<FieldView>) -> ChangeView {
        let loses_data = verb == "replace";
        ChangeView {
            address: address.into(),
            step: "web".into(),
            verb: verb.into(),
            fields,
            loses_data,
            conflict: None,
        }
    }

    fn field(name: &'static str, from: Option<&str>, to: &str) -> FieldView {
        FieldView { name: name.into(), from: from.map(str::to_owned), to: Some(to.to_owned()) }
    }

    #[test]
    fn a_plan_is_read_from_top_to_bottom() {
        console::set_colors_enabled(false);
        let changes = [
            change("keep", "hetzner/ssh-key/1a2b3c4d", vec![]),
            change(
                "create",
                "hetzner/server/web",
                vec![
                    field("backups", None, "false"),
                    field("image", None, "debian-13"),
                    field("running", None, "true"),
                ],
            ),
            change("update", "host/web/file/etc/caddy/Caddyfile", vec![field("content", Some("a\nb\n"), "a\nc\n")]),
            change("replace", "hetzner/volume/data", vec![field("location", Some("fsn1"), "nbg1")]),
        ];
        let line = |monthly: &str, what: &str| BillLine {
            address: String::new(),
            what: what.into(),
            monthly: monthly.into(),
            currency: "EUR".into(),
        };
        let bill = [line("5.49", "server web: cx23 in fsn1"), line("0.50", "address web-ipv4")];
        insta::assert_snapshot!(render(&changes, &bill, &["hetzner/firewall/old".into()]), @r"
          + hetzner/server/web
              image debian-13, running
          ~ host/web/file/etc/caddy/Caddyfile
              content:
                  a
                - b
                + c
          -/+ hetzner/volume/data  (its data will be lost)
              location: fsn1 → nbg1
          ? hetzner/firewall/old  (ours, but no longer in the playbook: it stays until you take it away)

          costs 5.99 EUR a month, net of tax:
               5.49  server web: cx23 in fsn1
               0.50  address web-ipv4

        plan: 3 changes (1 to create, 1 to update, 1 to replace), 1 resource as wanted
        ");
    }
}
