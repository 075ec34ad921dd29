//! The interview: which pages there are, what has been answered, and what an answer does to the playbook. Pure: the
//! full-screen wizard, the plain prompts and `--set` all go through here, so that the same answers make the same file.

use std::collections::BTreeSet;

use crate::model::draft::{Draft, FIRST};
use crate::model::money::Money;
use crate::model::name::{NAME_RULE, Name, is_email, is_host_name};
use crate::model::playbook::{Budget, Playbook};
use crate::model::problem::Problem;
use crate::model::question::{Field, Key, NONE, Page, Question};
use crate::model::resource::Resource;
use crate::model::value::Outputs;
use crate::steps::{self, STEPS, Site, Sources};

/// What the wizard calls the server.
const SERVER: &str = "web";

/// Every page, as far as they can be told from `draft`.
pub fn pages(draft: &Draft) -> Vec<Page> {
    let mut pages = vec![project()];
    pages.extend(STEPS.iter().flat_map(|step| step.pages(draft)));
    pages
}

fn project() -> Page {
    let questions = vec![
        Question::new(
            Key::Head("name"),
            "name",
            Field::Text(|text| match Name::parse(text) {
                Some(_) => Ok(()),
                None => Err(NAME_RULE.to_owned()),
            }),
            "Everything Landfall makes carries this name, so that it can be found again. The playbook is saved as a \
             file of this name.",
        ),
        Question::new(
            Key::Head("domain"),
            "domain",
            Field::Text(|text| match is_host_name(text) && text.contains('.') {
                true => Ok(()),
                false => Err("a domain such as acme.dev".to_owned()),
            }),
            "The domain you own, without www. Leave it empty if you have none yet.",
        )
        .optional(),
        Question::new(
            Key::Head("email"),
            "e-mail",
            Field::Text(|text| match is_email(text) {
                true => Ok(()),
                false => Err("an address such as me@acme.dev".to_owned()),
            }),
            "Where those who issue certificates can reach you when something is wrong. Nobody else gets it.",
        )
        .optional(),
        Question::new(
            Key::Head("budget"),
            "budget a month",
            Field::Budget,
            "Net of tax, such as 40 EUR, or 40 EUR, 30 USD. A plan that costs more is refused before anything is \
             made. Leave it empty for no limit.",
        )
        .optional(),
    ];
    Page::new(FIRST, "project", "What it is called, and what it may cost.", questions)
}

/// The page the wizard goes on with: the first that has not been answered.
pub fn next_page(draft: &Draft) -> usize {
    let pages = pages(draft);
    match &draft.goes_on {
        Some(id) => pages.iter().position(|page| page.id == id).unwrap_or_default(),
        None => pages.len(),
    }
}

/// What stands for the question now, as it would be typed: the answer; `none` where its step was left out; else
/// nothing. `passed` tells whether its page has been answered.
pub fn current(draft: &Draft, question: &Question, passed: bool) -> Option<String> {
    match draft.answer(question) {
        None if passed && question.may_remove_step() => {
            let there = question.key.step().is_some_and(|kind| draft.has(kind));
            (!there).then(|| NONE.to_owned())
        }
        answer => answer,
    }
}

/// Puts what was typed for `question` into the draft. An empty text takes the default. Fails with what would be right.
pub fn answer(draft: &mut Draft, question: &Question, typed: &str) -> Result<(), String> {
    // What the wizard cannot show stays, unless something new is typed.
    if typed.trim().is_empty() && draft.is_beyond(question) {
        return Ok(());
    }
    let value = question.read(typed)?;
    let none = value.as_ref().and_then(|value| value.as_str()) == Some(NONE);
    if let Some(kind) = question.key.step() {
        if none && question.may_remove_step() {
            draft.remove_step(kind);
            return Ok(());
        }
        add_step(draft, kind);
    }
    draft.put(question, value);
    Ok(())
}

fn add_step(draft: &mut Draft, kind: &'static str) {
    let order: Vec<&'static str> = STEPS.iter().map(|step| step.kind()).collect();
    let Some(step) = STEPS.iter().find(|step| step.kind() == kind) else { return };
    let server = draft.id("server").unwrap_or(SERVER).to_owned();
    if kind == "server" {
        draft.add_step(kind, &[("id", SERVER)], &order);
    } else if let Some(key) = step.named_server(draft) {
        draft.add_step(kind, &[(key, &server)], &order);
    } else {
        draft.add_step(kind, &[], &order);
    }
}

/// Finishes a page whose answers are all in the draft, which was `before` it: takes out what means nothing beside them,
/// lets answers that were defaults follow what they were made of, adds the steps that come along with new ones and takes
/// away those that came along with old ones, and notes which page is next.
pub fn finish(draft: &mut Draft, before: &Draft, id: &str) {
    let all = pages(draft);
    let Some(at) = all.iter().position(|page| page.id == id) else { return };
    for (kind, key) in &all[at].drops {
        draft.drop(kind, key);
    }
    follow(draft, before, at);
    for step in STEPS {
        let (now, then) = (step.comes_along(draft), step.comes_along(before));
        // What somebody left out of a finished playbook stays out.
        if now && (!then || before.goes_on.is_some()) {
            add_step(draft, step.kind());
        } else if then && !now {
            draft.remove_step(step.kind());
        }
    }
    for step in STEPS {
        if let Some(key) = step.named_server(draft)
            && draft.has(step.kind())
            && !draft.answers(step.kind(), key)
        {
            let server = draft.id("server").unwrap_or(SERVER).to_owned();
            draft.set(step.kind(), key, &server);
        }
    }
    // Going back to a page and changing it does not undo the ones behind it.
    let next = next_page(draft);
    if next <= at {
        let all = pages(draft);
        draft.goes_on = all.get(at + 1).map(|page| page.id.to_owned());
    }
}

/// Answers behind the page `at` that are what was offered for them before, and would be offered otherwise now, follow: a
/// host name under the domain, a place of the provider, the address of the database.
fn follow(draft: &mut Draft, before: &Draft, at: usize) {
    let old: Vec<Question> = pages(before).into_iter().flat_map(|page| page.questions).collect();
    let new = pages(draft).into_iter().skip(at + 1).flat_map(|page| page.questions);
    for question in new.collect::<Vec<_>>() {
        let Some(was) = old.iter().find(|old| old.key == question.key) else { continue };
        let is_old_default = was.default.is_some() && draft.answer(&question) == was.default;
        if is_old_default && was.default != question.default && (question.default.is_some() || question.optional) {
            let _ = answer(draft, &question, "");
        }
    }
}

/// What is wrong with the answers of `page` as the steps themselves see it, by question.
pub fn problems(draft: &Draft, page: &Page) -> Vec<(usize, String)> {
    let text = draft.text();
    let Ok(playbook) = Playbook::parse(&text) else { return vec![] };
    let mut found = Vec::new();
    for entry in &playbook.steps {
        let Some(Err(problem)) = steps::find(&entry.kind).map(|step| step.needs(entry)) else { continue };
        let asked = page.questions.iter().position(|question| match question.key {
            Key::Step(kind, key) => kind == entry.kind && draft.answers(kind, key) && problem.at == entry.place_of(key),
            _ => false,
        });
        if let Some(index) = asked {
            found.push((index, in_words(&problem)));
        }
    }
    for (index, question) in page.questions.iter().enumerate() {
        let typed = draft.answer(question).filter(|_| matches!(question.field, Field::Variables)).unwrap_or_default();
        let named = typed.split_whitespace().filter_map(|pair| pair.split_once("=output:")?.1.split_once('.'));
        for (step, _) in named {
            if !playbook.steps.iter().any(|entry| entry.id.as_str() == step) {
                found.push((index, format!("there is no step `{step}` whose output could be taken")));
            }
        }
    }
    found
}

fn in_words(problem: &Problem) -> String {
    match (&problem.expected, &problem.hint) {
        (Some(expected), _) => format!("{}: expected {expected}", problem.message),
        (None, Some(hint)) => format!("{}: {hint}", problem.message),
        (None, None) => problem.message.clone(),
    }
}

/// Everything the draft asks for so far; steps that are not whole yet are left out, and so is what needs files beside
/// the playbook.
pub fn wanted(draft: &Draft) -> Vec<Resource> {
    let Ok(playbook) = Playbook::parse(&draft.text()) else { return vec![] };
    let (outputs, sources) = (Outputs::new(), Sources::new());
    let mut all: Vec<Resource> = Vec::new();
    for entry in &playbook.steps {
        let Some(step) = steps::find(&entry.kind) else { continue };
        if step.needs(entry).is_err() {
            continue;
        }
        let site = Site { playbook: &playbook, entry, outputs: &outputs, sources: &sources };
        for resource in step.desired(&site).unwrap_or_default() {
            if !resource.gone && !all.iter().any(|other| other.address == resource.address) {
                all.push(resource);
            }
        }
    }
    all
}

/// What the step of `kind` would make with the answers of `draft`: addresses, each with what it says.
pub fn made_by(draft: &Draft, kind: &str) -> Vec<(String, String)> {
    let Ok(playbook) = Playbook::parse(&draft.text()) else { return vec![] };
    let ids: Vec<&Name> = playbook.steps.iter().filter(|entry| entry.kind == kind).map(|entry| &entry.id).collect();
    let line = |resource: &Resource| {
        let values: Vec<String> =
            resource.spec.fields().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        (resource.address.to_string(), values.join(", "))
    };
    wanted(draft).iter().filter(|resource| ids.contains(&&resource.step)).map(line).collect()
}

/// The same for the bill: a server costs what it costs before anybody may log in to it.
pub fn wanted_for_bill(draft: &Draft) -> Vec<Resource> {
    // Nobody's key: its private half was never kept.
    const NOBODY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn";
    let mut draft = draft.clone();
    let keys = steps::find("server").map(|step| step.pages(&draft)).unwrap_or_default();
    let keys =
        keys.iter().flat_map(|page| &page.questions).find(|question| question.key == Key::Step("server", "keys"));
    if let Some(question) = keys
        && draft.has("server")
        && !draft.answers("server", "keys")
    {
        let _ = answer(&mut draft, question, NOBODY);
    }
    wanted(&draft)
}

/// What the budget is, by currency.
pub fn budget(draft: &Draft) -> Vec<Money> {
    let playbook = Playbook::parse(&draft.text());
    playbook.map(|playbook| playbook.budget.iter().map(Budget::money).collect()).unwrap_or_default()
}

/// What to do once everything runs: a label and a text each.
pub fn farewell(draft: &Draft, path: &str) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut add = |label: &str, text: String| lines.push((label.to_owned(), text));
    if let Some(host) = draft.get("app", "host") {
        add("your app", format!("https://{host}"));
    }
    if draft.has("server") {
        add("log in", format!("landfall ssh {path}"));
    }
    for (kind, provider, dashboard) in [
        ("server", "hetzner", "https://console.hetzner.com"),
        ("server", "digitalocean", "https://cloud.digitalocean.com"),
        ("database", "supabase", "https://supabase.com/dashboard"),
        ("database", "neon", "https://console.neon.tech"),
        ("dns", "cloudflare", "https://dash.cloudflare.com"),
    ] {
        if draft.get(kind, "provider") == Some(provider) {
            add(&format!("{kind} at {provider}"), dashboard.to_owned());
        }
    }
    add("has anything changed?", format!("landfall check {path}"));
    add("after you edit it", format!("landfall apply {path}"));
    add("what it costs", format!("landfall cost {path}"));
    add("take it all away", format!("landfall destroy {path}"));
    match draft.has("backups") {
        true => {
            add("does a backup come back?", format!("landfall drill {path}"));
            add(
                "keep safe",
                format!("{path} and its vault file: with a token they bring everything back, data included"),
            );
        }
        false => add(
            "keep safe",
            format!("{path} and its vault file: with a token they bring everything back but your data"),
        ),
    }
    lines
}

/// Answers given beforehand, as `--set key=value`, by key.
#[derive(Clone, Debug, Default)]
pub struct Given(Vec<(String, String)>);

impl Given {
    /// Reads `key=value` texts. Fails with what is wrong, such as a key that is none.
    pub fn read(texts: &[String]) -> Result<Given, String> {
        let mut all = Vec::new();
        let known = if texts.is_empty() { BTreeSet::new() } else { all_keys() };
        for text in texts {
            let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form key=value"))?;
            let key = key.trim().to_owned();
            if !known.contains(&key) {
                let near = known.iter().max_by(|a, b| {
                    let alike = |other: &str| strsim::jaro_winkler(&key, other);
                    alike(a).total_cmp(&alike(b))
                });
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(format!("nothing asks for `{key}`{near}"));
            }
            all.push((key, value.to_owned()));
        }
        Ok(Given(all))
    }

    /// The answer for `question`, if one was given.
    pub fn of(&self, question: &Question) -> Option<&str> {
        let key = question.key.as_text();
        self.0.iter().rev().find(|(given, _)| *given == key).map(|(_, value)| value.as_str())
    }

    /// Has none been given?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the given answers of the pages that have been answered into the draft; those of the others are taken when they
    /// are asked for. Fails with what is wrong, and where every page has been answered also with what nothing asks for.
    pub fn put(&self, draft: &mut Draft) -> Result<(), String> {
        let mut asked = BTreeSet::new();
        // Questions come up as others are answered.
        let mut index = 0;
        while let Some(page) = pages(draft).get(index).filter(|_| index < next_page(draft)).cloned() {
            let mut at = 0;
            while let Some(question) = questions(draft, page.id).get(at).cloned() {
                if let Some(value) = self.of(&question) {
                    answer(draft, &question, value)
                        .map_err(|why| format!("--set {}: {why}", question.key.as_text()))?;
                }
                asked.insert(question.key.as_text());
                at += 1;
            }
            index += 1;
        }
        if draft.goes_on.is_none() { self.all_in(&asked) } else { Ok(()) }
    }

    /// Fails with an answer that would not be asked for if every other question of `draft` that is open got its default.
    pub fn fits(&self, draft: &Draft) -> Result<(), String> {
        let mut draft = draft.clone();
        let mut asked = BTreeSet::new();
        let mut index = 0;
        while let Some(page) = pages(&draft).get(index).cloned() {
            let open = index >= next_page(&draft);
            let mut at = 0;
            while let Some(question) = questions(&draft, page.id).get(at).cloned() {
                let typed = self.of(&question).or(open.then_some(""));
                // What is wrong is told when it is asked for.
                let _ = typed.map(|typed| answer(&mut draft, &question, typed));
                asked.insert(question.key.as_text());
                at += 1;
            }
            index += 1;
        }
        self.all_in(&asked)
    }

    fn all_in(&self, asked: &BTreeSet<String>) -> Result<(), String> {
        match self.0.iter().find(|(key, _)| !asked.contains(key)) {
            None => Ok(()),
            Some((key, _)) => Err(format!("--set {key}: nothing asks for that with the other answers")),
        }
    }
}

/// What `--set` calls every question there is, with commas between.
pub fn known_keys() -> String {
    all_keys().into_iter().collect::<Vec<_>>().join(", ")
}

/// What every question there is is called, whatever the other answers are.
fn all_keys() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut all = Draft::default();
    let mut index = 0;
    while let Some(page) = pages(&all).get(index).cloned() {
        for question in questions(&all, page.id) {
            let Field::Choice(choices) = &question.field else { continue };
            for choice in choices {
                let mut draft = all.clone();
                let _ = answer(&mut draft, &question, &choice.value);
                known.extend(questions(&draft, page.id).iter().map(|question| question.key.as_text()));
            }
            let _ = answer(&mut all, &question, "");
        }
        known.extend(questions(&all, page.id).iter().map(|question| question.key.as_text()));
        index += 1;
    }
    known
}

/// The questions of the page called `id`, as far as they can be told from `draft`.
pub fn questions(draft: &Draft, id: &str) -> Vec<Question> {
    pages(draft).into_iter().find(|page| page.id == id).map(|page| page.questions).unwrap_or_default()
}

#[cfg(test)]
mod tests;
