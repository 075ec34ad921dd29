//! What a playbook can want of a domain: its zone, its records, its settings, and a certificate for its origin.

use crate::model::machine::digest;
use crate::model::resource::Fields;
use crate::model::value::Value;

/// A zone: a domain whose records a provider serves.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The domain, such as `acme.dev`.
    pub domain: String,
}

impl Zone {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("domain", self.domain.as_str().into()), ("active", true.into())])
    }
}

/// One record of a zone.
#[derive(Clone, Debug)]
pub struct Record {
    /// The zone it is in.
    pub zone: String,
    /// `A`, `AAAA`, `CNAME`, `TXT`, `CAA` or `MX`.
    pub kind: &'static str,
    /// The full name, such as `app.acme.dev`.
    pub name: String,
    /// What it says, as a zone file would: an address, a name, a text without quotes, `0 issue "ca.example"`,
    /// `10 mail.example`.
    pub content: Value,
    /// Do visitors come through the provider's proxy?
    pub proxied: bool,
}

impl Record {
    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::from([("content", self.content.clone())]);
        if matches!(self.kind, "A" | "AAAA" | "CNAME") {
            fields.insert("proxied", self.proxied.into());
        }
        fields
    }
}

/// A certificate for the way between the provider's proxy and the server, known to that proxy alone.
#[derive(Clone, Debug)]
pub struct OriginCertificate {
    /// The zone whose names it is for.
    pub zone: String,
    /// The names it is for, sorted.
    pub names: Vec<String>,
    /// The request in PEM form, made where the key is.
    pub request: Value,
    /// For how many days it is asked for.
    pub days: u32,
}

impl OriginCertificate {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([
            ("names", Value::texts(self.names.iter().map(String::as_str))),
            ("request", self.request.clone()),
            ("in_time", true.into()),
        ])
    }
}

impl Record {
    /// What a record's address calls it: `app.acme.dev/A`; where several of one kind and name may stand side by
    /// side, with the first digits of the content's digest behind it.
    pub fn address_name(kind: &str, name: &str, content: &str) -> String {
        match kind {
            "A" | "AAAA" | "CNAME" => format!("{name}/{kind}"),
            _ => format!("{name}/{kind}/{}", &digest(content.as_bytes())[..8]),
        }
    }
}
