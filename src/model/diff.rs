//! The planner: what must change so that the world is as wanted. There is no other.

use crate::model::name::Name;
use crate::model::resource::{Fields, Observed, Resource};
use crate::model::value::{OutputKey, Value};

/// The difference in one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// The field's name.
    pub field: &'static str,
    /// What is there; `None` when nothing is.
    pub from: Option<Value>,
    /// What is wanted; `None` when it shall go.
    pub to: Option<Value>,
}

/// What must happen to one resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// Nothing.
    Keep,
    /// It must be made.
    Create,
    /// These fields must change in place.
    Update(Vec<FieldChange>),
    /// It must be deleted and made anew, because of these fields.
    Replace(Vec<FieldChange>),
    /// It must go.
    Delete,
    /// It cannot be made: something of that name is not ours. The text says what.
    Conflict(String),
}

/// One resource and what must happen to it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The resource as wanted.
    pub resource: Resource,
    /// What must happen.
    pub verb: Verb,
}

impl Change {
    /// Is there anything to do?
    pub fn is_keep(&self) -> bool {
        self.verb == Verb::Keep
    }

    /// Would carrying this out lose data?
    pub fn loses_data(&self) -> bool {
        matches!(self.verb, Verb::Replace(_) | Verb::Delete) && self.resource.spec.rules().holds_data
    }
}

/// A change that can be carried out: everything in it is known.
#[derive(Clone, Debug)]
pub struct ReadyChange(Change);

impl ReadyChange {
    /// The change, if nothing in it waits for an output.
    pub fn new(change: Change) -> Result<ReadyChange, OutputKey> {
        match change.resource.unknown() {
            Some(key) if change.verb != Verb::Delete => Err(key),
            _ => Ok(ReadyChange(change)),
        }
    }
}

impl std::ops::Deref for ReadyChange {
    type Target = Change;

    fn deref(&self) -> &Change {
        &self.0
    }
}

/// Decides what must change so that `have` becomes what `want` says. Pure.
pub fn diff(want: &Resource, have: &Observed) -> Change {
    if want.gone {
        return absent(want, have);
    }
    let verb = match have {
        Observed::Absent | Observed::Unreached => Verb::Create,
        Observed::Foreign(what) => Verb::Conflict(what.clone()),
        Observed::Present { fields, .. } => compare(want, fields),
    };
    Change { resource: want.clone(), verb }
}

/// Decides what must change so that `have` is no longer there. Pure.
pub fn absent(want: &Resource, have: &Observed) -> Change {
    let verb = match have {
        Observed::Present { ours: true, .. } => Verb::Delete,
        Observed::Present { .. } | Observed::Absent | Observed::Foreign(_) | Observed::Unreached => Verb::Keep,
    };
    Change { resource: want.clone(), verb }
}

/// Makes sure that what reads a file takes it up in the same run: a service or compose project that would be
/// kept is updated when a file it reads, on the same host, is about to change. Pure.
pub fn take_up(changes: &mut [Change]) {
    let changing: Vec<(Option<Name>, String)> = changes
        .iter()
        .filter(|change| !change.is_keep())
        .filter_map(|change| Some((change.resource.address.place.clone(), change.resource.spec.path()?.to_owned())))
        .collect();
    for change in changes.iter_mut().filter(|change| change.is_keep() && !change.resource.gone) {
        let place = &change.resource.address.place;
        let touched = |path: &String| changing.iter().any(|(at, changed)| at == place && changed == path);
        if change.resource.spec.reads().any(touched) {
            let stale = FieldChange { field: "up_to_date", from: Some(false.into()), to: Some(true.into()) };
            change.verb = Verb::Update(vec![stale]);
        }
    }
}

fn compare(want: &Resource, have: &Fields) -> Verb {
    let rules = want.spec.rules();
    let changes: Vec<FieldChange> = want
        .spec
        .fields()
        .into_iter()
        .filter(|(field, value)| !rules.write_only.contains(field) && have.get(field) != Some(value))
        .map(|(field, value)| FieldChange { field, from: have.get(field).cloned(), to: Some(value) })
        .collect();
    if changes.is_empty() {
        Verb::Keep
    } else if changes.iter().any(|change| rules.replace_on.contains(&change.field)) {
        Verb::Replace(changes)
    } else {
        Verb::Update(changes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::cloud::{Server, Size, Volume};
    use crate::model::name::Name;
    use crate::model::resource::{Address, Spec};

    fn resource(spec: Spec) -> Resource {
        let name = Name::parse("web").unwrap();
        let address = Address { provider: "hetzner", place: None, kind: "x", name: "web".into() };
        Resource { address, owner: name.clone(), step: name, on: None, spec, gives: vec![], gone: false, adopt: false }
    }

    fn server(size: &str, location: &str, image: &str, backups: bool) -> Resource {
        resource(Spec::Server(Server {
            size: Size::Plans(vec![size.into()]),
            location: location.into(),
            image: image.into(),
            backups,
            families: vec![],
            volume: false,
            admin: "deploy".into(),
            keys: vec!["k".into()],
            ceiling: None,
        }))
    }

    fn present(resource: &Resource) -> Observed {
        Observed::Present { fields: resource.spec.fields(), outputs: vec![], ours: true }
    }

    fn servers() -> impl Strategy<Value = Resource> {
        ("[a-z]{1,3}", "[a-z]{1,3}", "[a-z]{1,3}", any::<bool>()).prop_map(|(s, l, i, b)| server(&s, &l, &i, b))
    }

    proptest! {
        #[test]
        fn what_is_as_wanted_is_kept(want in servers()) {
            prop_assert_eq!(diff(&want, &present(&want)).verb, Verb::Keep);
        }

        #[test]
        fn applying_a_change_makes_the_next_diff_keep(want in servers(), have in servers()) {
            let mut fields = have.spec.fields();
            match diff(&want, &present(&have)).verb {
                Verb::Update(changes) | Verb::Replace(changes) => {
                    for change in changes {
                        fields.insert(change.field, change.to.unwrap());
                    }
                }
                other => prop_assert_eq!(other, Verb::Keep),
            }
            prop_assert_eq!(diff(&want, &Observed::Present { fields, outputs: vec![], ours: true }).verb, Verb::Keep);
        }

        #[test]
        fn a_changed_place_or_system_replaces_and_is_said_to_lose_data(want in servers(), have in servers()) {
            let moved = want.spec.fields()["location"] != have.spec.fields()["location"]
                || want.spec.fields()["image"] != have.spec.fields()["image"];
            let change = diff(&want, &present(&have));
            prop_assert_eq!(matches!(change.verb, Verb::Replace(_)), moved);
            prop_assert_eq!(change.loses_data(), moved);
        }
    }

    #[test]
    fn fields_that_cannot_be_read_back_are_not_compared() {
        let want = server("s", "l", "i", true);
        let mut fields = want.spec.fields();
        fields.remove("keys");
        fields.remove("admin");
        assert_eq!(diff(&want, &Observed::Present { fields, outputs: vec![], ours: true }).verb, Verb::Keep);
    }

    #[test]
    fn what_was_there_before_is_used_but_never_deleted() {
        let want = server("s", "l", "i", true);
        let have = Observed::Present { fields: want.spec.fields(), outputs: vec![], ours: false };
        assert!(diff(&want, &have).is_keep());
        assert!(absent(&want, &have).is_keep());
    }

    #[test]
    fn what_reads_a_changing_file_takes_it_up() {
        use crate::model::machine::{File, Service, TakeUp};
        let on = |place: &str, spec: Spec| {
            let mut resource = resource(spec);
            resource.address.place = Name::parse(place);
            resource
        };
        let owner = || ("root".to_owned(), "root".to_owned());
        let file = Spec::File(File {
            path: "/etc/a".into(),
            content: "new".into(),
            owner: owner(),
            mode: 0o644,
            check: None,
            hidden: false,
        });
        let service = |reads: &str| {
            Spec::Service(Service {
                unit: "a.service".into(),
                reads: vec![reads.into()],
                take_up: TakeUp::Reload,
                unit_files: vec![],
                works: None,
                own_kernel: false,
            })
        };
        let keep = |resource: Resource| Change { resource, verb: Verb::Keep };
        let mut changes = [
            Change { resource: on("web", file), verb: Verb::Create },
            keep(on("web", service("/etc/a"))),
            keep(on("web", service("/etc/b"))),
            keep(on("other", service("/etc/a"))),
        ];
        take_up(&mut changes);
        assert_eq!(changes.iter().map(Change::is_keep).collect::<Vec<_>>(), [false, false, true, true]);
        // What shall go is not woken to read its file once more.
        changes[1].verb = Verb::Keep;
        changes[1].resource.gone = true;
        take_up(&mut changes);
        assert!(changes[1].is_keep());
    }

    #[test]
    fn what_shall_go_goes_only_if_it_is_ours_and_then_is_as_wanted() {
        let mut want = server("s", "l", "i", true);
        want.gone = true;
        let have = |ours| Observed::Present { fields: Fields::new(), outputs: vec![], ours };
        assert_eq!(diff(&want, &have(true)).verb, Verb::Delete);
        for kept in [have(false), Observed::Absent, Observed::Foreign("another".into())] {
            assert!(diff(&want, &kept).is_keep());
        }
    }

    #[test]
    fn what_is_not_ours_is_a_conflict_and_never_deleted() {
        let want = resource(Spec::Volume(Volume { size_gb: 10, location: "l".into(), format: "ext4" }));
        let foreign = Observed::Foreign("a volume of someone else".into());
        assert!(matches!(diff(&want, &foreign).verb, Verb::Conflict(_)));
        assert!(absent(&want, &foreign).is_keep());
    }
}
