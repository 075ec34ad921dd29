//! What decides who gets into a host: sshd, its host key, sudo, the firewall. Changes here are guarded.

use crate::model::resource::Fields;
use crate::model::value::Value;

/// Settings of sshd, in a drop-in file that is read before any other. Judged by what sshd itself says is
/// in force, never by the file.
#[derive(Clone, Debug)]
pub struct Sshd {
    /// The drop-in's absolute path.
    pub path: String,
    /// Keyword and value, in order; a keyword may come more than once.
    pub settings: Vec<(String, String)>,
}

impl Sshd {
    /// The drop-in's text.
    pub fn text(&self) -> String {
        let lines = self.settings.iter().map(|(keyword, value)| format!("{keyword} {value}\n"));
        format!(
            "# Written by Landfall. sshd takes the first value it reads, so this file comes first.\n{}",
            lines.collect::<String>()
        )
    }

    /// What `sshd -T` prints of these settings when they are in force, sorted.
    pub fn effective(&self) -> Vec<String> {
        // Debian's own addition is not printed by the sshd of Debian 12.
        let printed = self.settings.iter().filter(|(keyword, _)| keyword != "DebianBanner");
        let mut lines: Vec<String> = printed.map(|(keyword, value)| in_force(keyword, value)).collect();
        lines.sort();
        lines
    }

    /// The words of a comma-separated setting, such as the key exchanges on offer.
    pub fn list(&self, keyword: &str) -> Vec<&str> {
        let value = self.settings.iter().find(|(known, _)| known == keyword).map(|(_, value)| value.as_str());
        value.map(|value| value.split(',').collect()).unwrap_or_default()
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::from([
            ("settings", self.text().into()),
            ("in_force", Value::texts(self.effective())),
            ("up_to_date", true.into()),
        ])
    }
}

/// `sshd -T` has one spelling for each value.
fn in_force(keyword: &str, value: &str) -> String {
    let value = match value {
        "prohibit-password" => "without-password",
        other => other,
    };
    format!("{} {value}", keyword.to_ascii_lowercase())
}

/// A table of nftables that is ours alone. It is replaced in one transaction; other tables are left alone.
#[derive(Clone, Debug)]
pub struct Nftables {
    /// The table's name, of the family `inet`.
    pub table: String,
    /// The file that holds it, an absolute path.
    pub path: String,
    /// The file's text: makes the table anew, whatever it holds.
    pub text: String,
}

impl Nftables {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("rules", self.text.as_str().into()), ("in_force", true.into())])
    }
}

/// A host key that was born on the host: its private half has never been anywhere else. It waits until
/// the provider vouches for it.
#[derive(Clone, Debug)]
pub struct BornKey;

impl BornKey {
    pub(super) fn fields() -> Fields {
        Fields::from([("there", true.into())])
    }
}

/// The host key sshd shows, and nothing else beside it.
#[derive(Clone, Debug)]
pub struct KeyInUse {
    /// Its SHA-256 fingerprint, `SHA256:…`, vouched for by the provider.
    pub fingerprint: Value,
}

impl KeyInUse {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("fingerprint", self.fingerprint.clone())])
    }
}

/// Which of the two keys a provider can vouch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VouchFor {
    /// The one sshd shows.
    Used,
    /// The one that was born on the host, and is about to be used.
    Born,
}

/// What the provider says of a server's host key, so that any machine with the API token knows it.
#[derive(Clone, Debug)]
pub struct Vouch {
    /// The server's name, without the playbook's.
    pub server: String,
    /// The key's fingerprint.
    pub fingerprint: Value,
    /// Which key.
    pub what: VouchFor,
}

impl Vouch {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("fingerprint", self.fingerprint.clone())])
    }
}

/// A private key that never leaves its host, and the request for its certificate.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// Where the key is, in PEM form.
    pub key: String,
    /// Where the request is, in PEM form.
    pub request: String,
    /// Owner and group of the key.
    pub owner: (String, String),
    /// The names the certificate shall be for, sorted.
    pub names: Vec<String>,
}

impl CertificateRequest {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([
            ("names", Value::texts(self.names.iter().map(String::as_str))),
            ("owner", format!("{}:{}", self.owner.0, self.owner.1).into()),
        ])
    }
}
