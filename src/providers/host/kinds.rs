//! The kinds of things on a host: what to ask, what the answer means, how to make it so, how to undo it.

pub(super) mod account;
pub(super) mod compose;
pub(super) mod files;
pub(super) mod software;

use crate::model::failure::Failure;
use crate::model::resource::{Observed, Resource, Spec};
use crate::model::secret::Keys;
use crate::providers::host::facts::{self, Facts, Questions};
use crate::providers::host::script::Script;

/// Adds what must be known of `resource` to the questions. Fails when a secret it holds is missing.
pub(super) fn ask(resource: &Resource, keys: &dyn Keys, questions: &mut Questions) -> Result<(), Failure> {
    match &resource.spec {
        Spec::File(spec) => files::ask_file(spec, keys, questions)?,
        Spec::Directory(spec) => files::ask_directory(spec, questions),
        Spec::GeneratedSecret(spec) => files::ask_secret(spec, questions),
        Spec::Package(spec) => software::ask_package(spec, questions),
        Spec::Service(spec) => software::ask_service(spec, questions),
        Spec::Command(spec) => software::ask_command(spec, questions),
        Spec::User(spec) => account::ask_user(spec, questions),
        Spec::AuthorizedKey(spec) => account::ask_key(spec, questions),
        Spec::Compose(spec) => compose::ask(spec, questions),
        _ => {}
    }
    Ok(())
}

/// What the facts say of `resource`.
pub(super) fn read(resource: &Resource, keys: &dyn Keys, facts: &Facts) -> Result<Observed, Failure> {
    let fields = match &resource.spec {
        Spec::File(spec) => files::read_file(spec, keys, facts)?,
        Spec::Directory(spec) => files::read_directory(spec, facts),
        Spec::GeneratedSecret(spec) => files::read_secret(spec, facts),
        Spec::Package(spec) => software::read_package(spec, facts),
        Spec::Service(spec) => software::read_service(spec, facts),
        Spec::Command(spec) => software::read_command(spec, facts),
        Spec::User(spec) => account::read_user(spec, facts),
        Spec::AuthorizedKey(spec) => account::read_key(spec, facts),
        Spec::Compose(spec) => compose::read(spec, facts),
        _ => None,
    };
    // On a host that was there before Landfall, a file that nobody handed over is somebody's own.
    let is_elses = resource.on.as_ref().is_some_and(|at| !at.made_by_us)
        && matches!(resource.spec, Spec::File(_))
        && !facts.made.contains(&facts::made_line(resource));
    if let Some(fields) = &fields
        && is_elses
        && fields.get("content") != resource.spec.fields().get("content")
    {
        return Ok(Observed::Foreign(format!(
            "{} was on the host before Landfall and says something else; to hand it over (it is kept aside and \
             comes back with `destroy`), add the line `{}` to {} on the host",
            resource.address.name,
            facts::made_line(resource),
            facts::MADE
        )));
    }
    Ok(match fields {
        Some(fields) => Observed::Present { fields, outputs: resource.gives.clone(), ours: facts.is_ours(resource) },
        None => Observed::Absent,
    })
}

/// Shell text that forgets what `resource` had taken up, before anything is changed: a run that breaks off
/// in between then leaves it as not up to date, even where its files look as they did before.
pub(crate) fn forget(resource: &Resource, out: &mut Script) {
    match &resource.spec {
        Spec::Service(spec) => software::forget_service(spec, out),
        Spec::Compose(spec) => compose::forget(spec, out),
        _ => {}
    }
}

/// Shell text that makes `resource` as it is wanted, whatever is there. Packages are not made here: they
/// are installed together.
pub(super) fn make(resource: &Resource, keys: &dyn Keys, out: &mut Script) -> Result<(), Failure> {
    match &resource.spec {
        Spec::File(spec) => files::make_file(spec, keys, out)?,
        Spec::Directory(spec) => files::make_directory(spec, out)?,
        Spec::GeneratedSecret(spec) => files::make_secret(spec, out),
        Spec::Service(spec) => software::make_service(spec, out),
        Spec::Command(spec) => software::make_command(spec, out),
        Spec::User(spec) => account::make_user(spec, out),
        Spec::AuthorizedKey(spec) => account::make_key(spec, out),
        Spec::Compose(spec) => compose::make(spec, out),
        _ => {}
    }
    Ok(())
}

/// Shell text that takes `resource` away again.
pub(super) fn unmake(resource: &Resource, out: &mut Script) {
    match &resource.spec {
        Spec::File(spec) => files::unmake_file(spec, out),
        Spec::Directory(spec) => files::unmake_directory(spec, out),
        Spec::GeneratedSecret(spec) => files::unmake_secret(spec, out),
        Spec::Package(spec) => software::unmake_package(spec, out),
        Spec::Service(spec) => software::unmake_service(spec, out),
        Spec::Command(spec) => software::unmake_command(spec, out),
        Spec::User(spec) => account::unmake_user(spec, out),
        Spec::AuthorizedKey(spec) => account::unmake_key(spec, out),
        Spec::Compose(spec) => compose::unmake(spec, out),
        _ => {}
    }
}
