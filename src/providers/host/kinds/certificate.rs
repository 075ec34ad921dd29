//! A private key that is born on the host and never leaves it, and the request for its certificate.

use crate::model::access::CertificateRequest;
use crate::model::resource::{Fields, Resource};
use crate::model::value::Value;
use crate::providers::host::facts::Facts;
use crate::providers::host::questions::Questions;
use crate::providers::host::script::{Script, quote};

/// What stands before the names in the request's first line. Readers of PEM pass over what is before it.
const NAMES: &str = "# names: ";

pub(super) fn ask(spec: &CertificateRequest, questions: &mut Questions) {
    questions.stat.insert(spec.key.clone());
    // No digest is empty, so the text always comes home. It is public.
    questions.sums.insert(spec.request.clone());
    questions.texts.insert(spec.request.clone(), String::new());
}

pub(super) fn read(spec: &CertificateRequest, facts: &Facts) -> Option<(Fields, Vec<(&'static str, String)>)> {
    let stat = facts.stat.get(&spec.key)?;
    let text = std::str::from_utf8(facts.texts.get(&spec.request)?).ok()?;
    let (first, request) = text.split_once('\n')?;
    let names = first.strip_prefix(NAMES)?.split(' ');
    let mut fields = Fields::from([("names", Value::texts(names)), ("owner", stat.owner.as_str().into())]);
    if stat.mode != "0600" {
        fields.insert("owner", format!("{}, mode {}", stat.owner, stat.mode).into());
    }
    Some((fields, vec![("certificate_request", format!("{}\n", request.trim()))]))
}

/// What the request calls itself.
pub(crate) fn request_name(resource: &Resource) -> String {
    format!("landfall:{}:{}", resource.owner, resource.address.name)
}

/// The request carries the playbook and the server in its own name, which is how its certificate is found again.
pub(super) fn make(resource: &Resource, spec: &CertificateRequest, out: &mut Script) {
    let (key, request) = (quote(&spec.key), quote(&spec.request));
    let (new_key, new_request) =
        (quote(&format!("{}.landfall-new", spec.key)), quote(&format!("{}.landfall-new", spec.request)));
    let alternatives: Vec<String> = spec.names.iter().map(|name| format!("DNS:{name}")).collect();
    out.line(format!("mkdir -p -- \"$(dirname -- {key})\""));
    out.line(format!("rm -f -- {new_key} {new_request}"));
    out.line(format!(
        "( umask 077; openssl ecparam -name prime256v1 -genkey -noout -out {new_key} && openssl req -new -sha256 -key \
         {new_key} -subj {subject} -addext {names} -out {new_request} )",
        subject = quote(&format!("/CN={}", request_name(resource))),
        names = quote(&format!("subjectAltName={}", alternatives.join(","))),
    ));
    let line = quote(&format!("{NAMES}{}", spec.names.join(" ")));
    out.line(format!("{{ printf '%s\\n' {line}; cat {new_request}; }} >{new_request}2"));
    out.line(format!("chmod 0644 {new_request}2"));
    out.line(format!("chown {}:{} -- {new_key}", quote(&spec.owner.0), quote(&spec.owner.1)));
    out.line(format!("rm -f -- {new_request}; mv -fT -- {new_key} {key}; mv -fT -- {new_request}2 {request}"));
}

pub(super) fn unmake(spec: &CertificateRequest, out: &mut Script) {
    out.line(format!("rm -f -- {} {}", quote(&spec.key), quote(&spec.request)));
}
