//! The kinds of things on a host: what to ask, what the answer means, how to make it so, how to undo it.

pub(super) mod access;
pub(super) mod account;
pub(super) mod certificate;
pub(super) mod compose;
pub(super) mod files;
pub(super) mod json;
pub(super) mod software;
pub(super) mod tuning;

use crate::model::failure::Failure;
use crate::model::resource::{Observed, Resource, Spec};
use crate::model::secret::Keys;
use crate::providers::host::facts::{self, Facts};
use crate::providers::host::questions::Questions;
use crate::providers::host::script::Script;

/// Adds what must be known of `resource` to the questions. Fails when a secret it holds is missing.
pub(super) fn ask(resource: &Resource, keys: &dyn Keys, questions: &mut Questions) -> Result<(), Failure> {
    match &resource.spec {
        Spec::File(spec) => {
            if resource.on.as_ref().is_some_and(|at| !at.made_by_us) {
                questions.pristine.insert(spec.path.clone());
            }
            files::ask_file(spec, keys, questions)?;
        }
        Spec::Directory(spec) => files::ask_directory(spec, questions),
        Spec::GeneratedSecret(spec) => files::ask_secret(spec, questions),
        Spec::Package(spec) => software::ask_package(spec, questions),
        Spec::Service(spec) => software::ask_service(spec, questions),
        Spec::Command(spec) => software::ask_command(spec, questions),
        Spec::User(spec) => account::ask_user(spec, questions),
        Spec::AuthorizedKey(spec) => account::ask_key(spec, questions),
        Spec::Compose(spec) => compose::ask(spec, questions),
        Spec::Sshd(spec) => access::ask_sshd(spec, questions),
        Spec::Nftables(spec) => access::ask_table(spec, questions),
        Spec::BornKey(_) | Spec::KeyInUse(_) => access::ask_host_keys(questions),
        Spec::Sysctl(spec) => tuning::ask_sysctl(spec, questions),
        Spec::Mount(spec) => tuning::ask_mount(spec, questions),
        Spec::TimeZone(_) => questions.time_zone = true,
        Spec::Settings(spec) => tuning::ask_settings(spec, questions),
        Spec::JsonSettings(spec) => json::ask(spec, questions),
        Spec::CertificateRequest(spec) => certificate::ask(spec, questions),
        _ => {}
    }
    Ok(())
}

/// What the facts say of `resource`.
pub(super) fn read(resource: &Resource, keys: &dyn Keys, facts: &Facts) -> Result<Observed, Failure> {
    // Three kinds give what they read; everything else gives what it was told to.
    let told = match &resource.spec {
        Spec::BornKey(_) => Some(access::read_born(facts)),
        Spec::KeyInUse(spec) => Some(access::read_used(spec, facts)),
        Spec::CertificateRequest(spec) => Some(certificate::read(spec, facts)),
        _ => None,
    };
    if let Some(told) = told {
        let ours = facts.is_ours(resource);
        return Ok(told.map_or(Observed::Absent, |(fields, outputs)| Observed::Present { fields, outputs, ours }));
    }
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
        Spec::Sshd(spec) => access::read_sshd(spec, facts),
        Spec::Nftables(spec) => access::read_table(spec, facts),
        Spec::Sysctl(spec) => tuning::read_sysctl(spec, facts),
        Spec::Mount(spec) => tuning::read_mount(spec, facts),
        Spec::TimeZone(_) => tuning::read_time_zone(facts),
        Spec::Settings(spec) => tuning::read_settings(spec, facts),
        Spec::JsonSettings(spec) => json::read(spec, facts),
        _ => None,
    };
    if let (Spec::JsonSettings(spec), Some(what), false) =
        (&resource.spec, json::not_ours_to_write(resource, facts), facts.is_ours(resource))
    {
        return Ok(Observed::Foreign(format!("{} {what}: mend it, then run the same command again", spec.path)));
    }
    // On a host that was there before Landfall, a file that nobody handed over is somebody's own, unless it is
    // as its package brought it.
    let is_elses = resource.on.as_ref().is_some_and(|at| !at.made_by_us)
        && matches!(resource.spec, Spec::File(_))
        && !resource.adopt
        && !facts.made.contains(&facts::made_line(resource))
        && !facts.is_pristine(&resource.address.name);
    if let Some(fields) = &fields
        && is_elses
        && fields.get("content") != resource.spec.fields().get("content")
    {
        return Ok(Observed::Foreign(format!(
            "{} was on the host before Landfall and says something else; to hand it over, add `--adopt {}` to `landfall apply` \
             (the old file is kept aside and comes back with `destroy`)",
            resource.address.name, resource.address
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
        Spec::Sshd(spec) => access::make_sshd(spec, out),
        Spec::Nftables(spec) => access::make_table(spec, out),
        Spec::BornKey(_) => access::make_born(out),
        Spec::KeyInUse(spec) => access::make_used(spec, out)?,
        Spec::Sysctl(spec) => tuning::make_sysctl(spec, out),
        Spec::Mount(spec) => tuning::make_mount(spec, out),
        Spec::TimeZone(spec) => tuning::make_time_zone(spec, out),
        Spec::Settings(spec) => tuning::make_settings(spec, out),
        Spec::JsonSettings(spec) => json::make(spec, out),
        Spec::CertificateRequest(spec) => certificate::make(resource, spec, out),
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
        Spec::Sshd(spec) => access::unmake_sshd(spec, out),
        Spec::Nftables(spec) => access::unmake_table(spec, out),
        Spec::BornKey(_) => access::unmake_born(out),
        Spec::Sysctl(spec) => tuning::unmake_sysctl(spec, out),
        Spec::Mount(spec) => tuning::unmake_mount(spec, out),
        Spec::Settings(spec) => tuning::unmake_settings(spec, out),
        Spec::JsonSettings(spec) => json::unmake(spec, out),
        Spec::CertificateRequest(spec) => certificate::unmake(spec, out),
        _ => {}
    }
}
