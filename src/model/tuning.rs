//! How a host is tuned: the kernel's settings, mounts, time zone, lines of settings files.

use std::collections::BTreeMap;

use crate::model::machine::Check;
use crate::model::resource::Fields;
use crate::model::value::Value;

/// Settings of the kernel, written down for every boot and in force now.
///
/// On a host that shares its kernel with others, such as a container, some are not the host's to set; they
/// are written down, and what is in force is left alone.
#[derive(Clone, Debug)]
pub struct Sysctl {
    /// The drop-in's absolute path.
    pub path: String,
    /// Value by key, such as `net.ipv4.tcp_syncookies`.
    pub settings: BTreeMap<String, String>,
}

impl Sysctl {
    /// The drop-in's text.
    pub fn text(&self) -> String {
        self.settings
            .iter()
            .fold("# Written by Landfall.\n".to_owned(), |text, (key, value)| text + key + " = " + value + "\n")
    }

    pub(super) fn fields(&self) -> Fields {
        let lines = self.settings.iter().map(|(key, value)| format!("{key} = {value}"));
        Fields::from([("settings", self.text().into()), ("in_force", Value::texts(lines))])
    }
}

/// Options of a mount that is there on every host, in fstab(5) and in force now.
#[derive(Clone, Debug)]
pub struct Mount {
    /// What is mounted, as in fstab.
    pub what: &'static str,
    /// Where.
    pub at: &'static str,
    /// The file system's type.
    pub kind: &'static str,
    /// Its options, sorted. The mount may have others beside them.
    pub options: Vec<&'static str>,
}

impl Mount {
    /// The line in fstab.
    pub fn line(&self) -> String {
        format!("{} {} {} {} 0 0", self.what, self.at, self.kind, self.options.join(","))
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::from([("fstab", self.line().into()), ("in_force", Value::texts(self.options.iter().copied()))])
    }
}

/// The host's time zone.
#[derive(Clone, Debug)]
pub struct TimeZone {
    /// A name of the time zone database, such as `Europe/Berlin`.
    pub name: String,
}

impl TimeZone {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("name", self.name.as_str().into())])
    }
}

/// Values in a settings file that belongs to a package and knows no drop-ins, such as login.defs(5): one
/// `KEY value` on each line. Other lines stay as they are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file's absolute path.
    pub path: String,
    /// Value by key.
    pub values: BTreeMap<&'static str, &'static str>,
}

impl Settings {
    pub(super) fn fields(&self) -> Fields {
        let lines = self.values.iter().map(|(key, value)| format!("{key} {value}"));
        Fields::from([("values", Value::texts(lines))])
    }
}

/// Keys in a settings file of JSON that others may write, too, such as Docker's daemon.json. What else stands in it stays.
#[derive(Clone, Debug)]
pub struct JsonSettings {
    /// The file's absolute path. Its text is one JSON object.
    pub path: String,
    /// Value by key, as wanted.
    pub values: serde_json::Map<String, serde_json::Value>,
    /// Keys among them that go together and are only a proposal: where one of them has a value already, all of them stay
    /// as they are.
    pub proposals: &'static [&'static str],
    /// Judges the new file before it takes the old one's place.
    pub check: Check,
}

impl JsonSettings {
    /// What counts of a file that holds `present`, in the planner's words.
    pub fn seen_in(&self, present: &serde_json::Map<String, serde_json::Value>) -> Fields {
        let decided = self.proposals.iter().any(|key| present.contains_key(*key));
        // What was decided otherwise counts as wanted.
        let stays = |key: &String| decided && self.proposals.contains(&key.as_str());
        let lines = self.values.iter().filter_map(|(key, wanted)| {
            let value = if stays(key) { wanted } else { present.get(key)? };
            Some(format!("{key}: {value}"))
        });
        Fields::from([("values", Value::texts(lines))])
    }

    pub(super) fn fields(&self) -> Fields {
        self.seen_in(&self.values)
    }
}
