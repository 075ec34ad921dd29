//! What a playbook can want of a service that is rented whole: a database project and what belongs to it.

use std::collections::BTreeMap;

use crate::model::machine::digest;
use crate::model::name::Name;
use crate::model::resource::Fields;
use crate::model::value::{Quoting, Value};

/// A database project.
#[derive(Clone, Debug)]
pub struct Project {
    /// The organisation it is in, as the provider calls it; `None` where the token decides.
    pub organization: Option<String>,
    /// The provider's name of the place.
    pub region: String,
    /// The secret that holds the password of its first account.
    pub password: Name,
    /// Other secrets the provider makes for it, which are kept in the vault.
    pub secrets: Vec<Name>,
    /// What else is wanted of it, by name: size, limits.
    pub wishes: Fields,
}

impl Project {
    pub(super) fn fields(&self) -> Fields {
        let mut fields = self.wishes.clone();
        fields.insert("region", self.region.as_str().into());
        fields.insert("password", Value::Secret(self.password.clone(), Quoting::Plain));
        fields.insert("secrets_kept", true.into());
        fields.insert("running", true.into());
        if let Some(organization) = &self.organization {
            fields.insert("organization", organization.as_str().into());
        }
        fields
    }
}

/// Settings of something that is there. They are changed, never made and never deleted.
#[derive(Clone, Debug)]
pub struct Preferences {
    /// What they are settings of, as the provider finds it: a zone's domain, a step's name.
    pub of: String,
    /// The settings, by name.
    pub wishes: Fields,
}

/// From where a service may be reached.
#[derive(Clone, Debug)]
pub struct AllowList {
    /// Addresses, without a prefix length.
    pub addresses: Vec<Value>,
}

impl AllowList {
    pub(super) fn fields(&self) -> Fields {
        // Where the order does not matter there is only one, so that another one is no difference.
        let mut addresses = self.addresses.clone();
        addresses.sort_by_key(ToString::to_string);
        addresses.dedup();
        Fields::from([("addresses", Value::List(addresses))])
    }
}

/// Changes of a database's schema, each carried out once, in order of their names.
#[derive(Clone, Debug)]
pub struct Migrations {
    /// SQL by name.
    pub files: BTreeMap<String, String>,
}

impl Migrations {
    /// What is known of one migration: its name and the first digits of its digest.
    pub fn mark(name: &str, sql: &str) -> String {
        format!("{name} {}", &digest(sql.as_bytes())[..12])
    }

    pub(super) fn fields(&self) -> Fields {
        let marks = self.files.iter().map(|(name, sql)| Migrations::mark(name, sql));
        Fields::from([("done", Value::texts(marks)), ("tables_without_row_security", Value::List(vec![]))])
    }
}

/// A secret that Landfall makes and keeps in the vault.
#[derive(Clone, Debug)]
pub struct MadeSecret {
    /// What it is called.
    pub name: Name,
    /// How long it is, in letters and digits.
    pub length: u16,
    /// Does it stay when everything else is destroyed, because what it opens stays?
    pub outlives: bool,
}

/// A place for objects, such as backups. It is made, and never deleted: what it holds is there for the day when
/// everything else is gone.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Where it shall be, as its provider calls it; only looked at when it is made.
    pub place: Option<String>,
}

impl Bucket {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("name", self.name.as_str().into())])
    }
}

impl MadeSecret {
    pub(super) fn fields(&self) -> Fields {
        Fields::from([("kept", true.into())])
    }
}
