//! Records as the API writes them, and as a playbook does. Pure.

use std::net::Ipv6Addr;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::model::dns;
use crate::model::name::Name;
use crate::model::resource::{Fields, Observed, Resource};

/// A record as the API shows it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    data: Json,
    priority: Option<u32>,
    proxied: Option<bool>,
    comment: Option<String>,
}

/// The comment of every record of `playbook`. Within the free plan's 100 characters, since a name has at most 40.
pub(super) fn mark(playbook: &Name) -> String {
    format!("landfall:{playbook}")
}

impl Entry {
    pub(super) fn is_owned_by(&self, playbook: &Name) -> bool {
        self.comment.as_deref() == Some(&mark(playbook))
    }

    /// What it says, as a zone file would.
    pub(super) fn content(&self) -> String {
        match self.kind.as_str() {
            "TXT" => unquote(&self.content),
            "CAA" => match (&self.data["flags"], self.data["tag"].as_str(), self.data["value"].as_str()) {
                (flags, Some(tag), Some(value)) => format!("{flags} {tag} \"{value}\""),
                _ => self.content.clone(),
            },
            "MX" => format!("{} {}", self.priority.unwrap_or_default(), self.content),
            _ => normal(&self.content),
        }
    }

    fn fields(&self) -> Fields {
        let mut fields = Fields::from([("content", self.content().into())]);
        if let Some(proxied) = self.proxied.filter(|_| matches!(self.kind.as_str(), "A" | "AAAA" | "CNAME")) {
            fields.insert("proxied", proxied.into());
        }
        fields
    }

    fn in_words(&self) -> String {
        let proxied = if self.proxied == Some(true) { ", proxied" } else { "" };
        format!("{} {} → {}{proxied}", self.kind, self.name, self.content())
    }
}

/// Addresses and names in one spelling.
fn normal(content: &str) -> String {
    match content.parse::<Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => content.trim_end_matches('.').to_lowercase(),
    }
}

/// A text without its quotes: `"a" "b"` is `ab`.
fn unquote(content: &str) -> String {
    match content.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\" \"", "").replace("\\\"", "\"").replace("\\\\", "\\"),
        None => content.to_owned(),
    }
}

/// A text in quotes, in pieces of at most 255 bytes (RFC 1035).
fn quote(text: &str) -> String {
    let mut pieces = vec![String::new()];
    for letter in text.chars() {
        if pieces.last().is_some_and(|piece| piece.len() + letter.len_utf8() > 255) {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
        }
    }
    let quoted = pieces.iter().map(|p| format!("\"{}\"", p.replace('\\', "\\\\").replace('"', "\\\"")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// Can a record of ours of this kind not stand beside `other`, of the same name?
fn excludes(spec: &dns::Record, other: &Entry) -> bool {
    let policy = |text: &str| text.to_lowercase().split([' ', ';']).next().unwrap_or_default().to_owned();
    match (spec.kind, other.kind.as_str()) {
        ("CNAME", kind) => matches!(kind, "A" | "AAAA" | "CNAME" | "NS"),
        ("A" | "AAAA", kind) => kind == "CNAME" || kind == spec.kind || kind == "NS",
        // A domain has one mail policy: two of them count as none.
        ("TXT", "TXT") => {
            let mine = policy(&spec.content.to_string());
            mine.starts_with("v=") && policy(&other.content()) == mine
        }
        _ => false,
    }
}

/// What was seen of `resource` among the records of its zone.
pub(super) fn see(records: &[Entry], resource: &Resource, spec: &dns::Record) -> Observed {
    let here: Vec<&Entry> = records.iter().filter(|entry| entry.name.eq_ignore_ascii_case(&spec.name)).collect();
    let strangers = || here.iter().filter(|entry| !entry.is_owned_by(&resource.owner));
    let own = own(&here, resource, spec);
    // Who says that the domain sends no mail, while mail comes in, cuts its owner off.
    if spec.kind == "TXT"
        && spec.name == spec.zone
        && spec.content.to_string() == "v=spf1 -all"
        && own.is_none()
        && !resource.adopt
    {
        let takes_mail = |entry: &&Entry| entry.kind == "MX" && entry.content().trim_end_matches('.') != "0 ";
        if let Some(mail) = records.iter().find(takes_mail) {
            return Observed::Foreign(format!(
                "the zone takes mail: there is {}. With `mail = \"none\"` receivers reject all mail of the domain. Take `mail` \
                 out of the playbook, or add --adopt {} if nothing sends mail any more",
                mail.in_words(),
                resource.address
            ));
        }
    }
    // Beside ours, a stranger's address would be found half of the time.
    let in_conflict = strangers().find(|entry| excludes(spec, entry));
    if let (Some(own), None) = (own, in_conflict) {
        return Observed::Present { fields: own.fields(), outputs: vec![], ours: true };
    }
    let want = crate::model::resource::Spec::Record(spec.clone()).fields();
    if let Some(same) = strangers().find(|entry| entry.kind == spec.kind && entry.fields() == want) {
        return Observed::Present { fields: same.fields(), outputs: vec![], ours: false };
    }
    let Some(stranger) = in_conflict else { return Observed::Absent };
    let can_adopt = stranger.kind == spec.kind && own.is_none();
    if resource.adopt && can_adopt {
        return Observed::Present { fields: stranger.fields(), outputs: vec![], ours: false };
    }
    let whose = match stranger.comment.as_deref().and_then(|comment| comment.strip_prefix("landfall:")) {
        Some(playbook) => format!("which belongs to the playbook `{playbook}`"),
        None => "which is not Landfall's".to_owned(),
    };
    let what_to_do = match can_adopt {
        true => format!("Delete it, or add --adopt {} to take it over", resource.address),
        false => "Delete it, or take ours out of the playbook".to_owned(),
    };
    Observed::Foreign(format!(
        "there is {}, {whose}; the playbook wants {} {} → {}. {what_to_do}",
        stranger.in_words(),
        spec.kind,
        spec.name,
        spec.content,
    ))
}

/// Our own record for `spec` among those of its name. Of texts and the like there may be several: the one that
/// already says what is wanted, else the first that no other record of the playbook could be.
fn own<'a>(here: &[&'a Entry], resource: &Resource, spec: &dns::Record) -> Option<&'a Entry> {
    let mut mine = here.iter().copied().filter(|entry| entry.kind == spec.kind && entry.is_owned_by(&resource.owner));
    match spec.kind {
        "A" | "AAAA" | "CNAME" => mine.next(),
        _ => mine.find(|entry| entry.content() == spec.content.to_string()),
    }
}

/// The identifier of the record that a change of `resource` is about, if it is there.
pub(super) fn find<'a>(records: &'a [Entry], resource: &Resource, spec: &dns::Record) -> Option<&'a Entry> {
    let here: Vec<&Entry> = records.iter().filter(|entry| entry.name.eq_ignore_ascii_case(&spec.name)).collect();
    own(&here, resource, spec)
        .or_else(|| here.into_iter().find(|entry| resource.adopt && entry.kind == spec.kind && excludes(spec, entry)))
}

/// Records of ours that must go before `spec` can be made, such as a CNAME where an address shall be, or the mail policy
/// that was there before.
pub(super) fn in_the_way<'a>(
    records: &'a [Entry],
    resource: &'a Resource,
    spec: &'a dns::Record,
) -> impl Iterator<Item = &'a Entry> {
    records.iter().filter(move |entry| {
        entry.name.eq_ignore_ascii_case(&spec.name)
            && entry.is_owned_by(&resource.owner)
            && excludes(spec, entry)
            && (entry.kind != spec.kind || entry.kind == "TXT")
    })
}

/// The record as the API wants it.
pub(super) fn body(resource: &Resource, spec: &dns::Record) -> Json {
    let content = spec.content.to_string();
    let mut body = json!({ "type": spec.kind, "name": spec.name, "ttl": 1, "comment": mark(&resource.owner) });
    match spec.kind {
        "CAA" => {
            let mut parts = content.splitn(3, ' ');
            let flags: u32 = parts.next().and_then(|flags| flags.parse().ok()).unwrap_or_default();
            let tag = parts.next().unwrap_or_default();
            let value = parts.next().unwrap_or_default().trim_matches('"');
            body["data"] = json!({ "flags": flags, "tag": tag, "value": value });
        }
        "MX" => {
            let (priority, host) = content.split_once(' ').unwrap_or(("0", &content));
            body["priority"] = priority.parse::<u32>().unwrap_or_default().into();
            body["content"] = host.into();
        }
        "TXT" => body["content"] = quote(&content).into(),
        _ => {
            body["content"] = content.into();
            body["proxied"] = spec.proxied.into();
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_their_quotes() {
        let long = "v=DKIM1; p=".to_owned() + &"A".repeat(400);
        for text in ["v=spf1 -all", "say \"hi\"", "back\\slash", "", &long] {
            assert_eq!(unquote(&quote(text)), text, "{}", quote(text));
        }
        assert!(quote(&long).split("\" \"").all(|piece| piece.len() <= 257));
        // What somebody wrote without quotes is the same text.
        assert_eq!(unquote("v=spf1 -all"), "v=spf1 -all");
    }

    #[test]
    fn addresses_have_one_spelling() {
        assert_eq!(normal("2001:DB8:0:0::1"), "2001:db8::1");
        assert_eq!(normal("Target.Example."), "target.example");
    }
}
