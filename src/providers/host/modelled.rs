//! The same provider for modelled hosts: what is wanted is noted by its digest and found again, and nothing is done.
//! They are asked for with `--endpoint host=URL`, which a rehearsal gives.

use std::collections::BTreeMap;

use rand_core::{OsRng, RngCore as _};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde::Deserialize;
use serde_json::json;

use crate::doors::Doors;
use crate::doors::http::{Api, Call, LimitReset, Method};
use crate::model::diff::{ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::{Failure, Kind};
use crate::model::machine::{HostAt, digest};
use crate::model::resource::{Fields, Observed, Resource, Spec};
use crate::model::secret::Keys;
use crate::model::value::Value;

/// Where modelled hosts are; there is no usual place.
pub(super) const API: Api = Api {
    name: "host",
    base: "http://127.0.0.1:9",
    token: "host-token",
    make_token: "only a rehearsal has modelled hosts",
    limit_reset: LimitReset::Unsaid,
};

#[derive(Deserialize)]
struct Things {
    things: BTreeMap<String, Thing>,
}

#[derive(Deserialize)]
struct Thing {
    fields: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
}

/// Are hosts modelled?
pub fn is_asked_for(doors: &Doors) -> bool {
    doors.http.has_endpoint(API.name)
}

/// One answer for each of `want`, which are on one host.
pub(super) async fn look(doors: &Doors, want: &[Resource], report: &Report) -> Result<Vec<Observed>, Failure> {
    let Some(at) = want.first().and_then(|resource| resource.on.as_ref()) else { return Ok(vec![]) };
    let call = Call::new(Method::Post, "/look").body(json!({ "keys": keys_of(at) }));
    let reply = doors.http.send(&API, &call, report).await?;
    let odd = |why: String| Failure::new(Kind::Failed, "the modelled host's answer is not understood").because(why);
    if reply.status != 200 {
        return Err(odd(reply.body.to_string()));
    }
    let things: Things = serde_json::from_value(reply.body).map_err(|e| odd(e.to_string()))?;
    let see = |resource: &Resource| match things.things.get(&resource.address.to_string()) {
        Some(thing) => Ok(read(resource, thing, &*doors.keys)),
        None => Ok(Observed::Absent),
    };
    want.iter().map(see).collect()
}

/// Makes the changes one by one, and looks again.
pub(super) async fn apply(
    doors: &Doors,
    changes: &[ReadyChange],
    report: &Report,
) -> Result<Option<Vec<Observed>>, Failure> {
    let Some(at) = changes.first().and_then(|change| change.resource.on.as_ref()) else { return Ok(None) };
    for change in changes {
        if report.stopping() {
            return Err(Failure::new(Kind::Stopped, "stopped as you asked, after the change in hand"));
        }
        let resource = &change.resource;
        report.tell(Progress::Started(resource.address.clone()));
        let mut body =
            json!({ "keys": keys_of(at), "address": resource.address.to_string(), "fields": null, "outputs": {} });
        if change.verb != Verb::Delete {
            let outputs = outputs(resource)?;
            let written = |(name, value): (&&'static str, &Value)| ((*name).to_owned(), mark(value, &*doors.keys));
            let fields: BTreeMap<String, String> = resource.spec.fields().iter().map(written).collect();
            if let (Spec::BornKey(_), Some(born)) = (&resource.spec, outputs.get("born_key")) {
                body["born"] = born.as_str().into();
            }
            body["fields"] = json!(fields);
            body["outputs"] = json!(outputs);
        }
        let reply = doors.http.send(&API, &Call::new(Method::Post, "/change").body(body), report).await;
        let refused = match reply {
            Ok(reply) if reply.status == 200 => None,
            Ok(reply) => {
                Some(Failure::new(Kind::Failed, "the modelled host refused a change").because(reply.body.to_string()))
            }
            Err(failure) => Some(failure),
        };
        if let Some(failure) = refused {
            report.tell(Progress::Failed(resource.address.clone()));
            return Err(failure);
        }
        report.tell(Progress::Done(resource.address.clone()));
    }
    let resources: Vec<Resource> = changes.iter().map(|change| change.resource.clone()).collect();
    look(doors, &resources, report).await.map(Some)
}

fn keys_of(at: &HostAt) -> Vec<String> {
    at.host_key.to_string().split(' ').map(str::to_owned).collect()
}

/// What the note of a thing says of `resource`. A field that is noted with the digest of what is wanted is as wanted.
fn read(resource: &Resource, thing: &Thing, keys: &dyn Keys) -> Observed {
    let mut fields = Fields::new();
    for (name, value) in resource.spec.fields() {
        if let Some(noted) = thing.fields.get(name) {
            let same = *noted == mark(&value, keys);
            fields.insert(name, if same { value } else { "(something else)".into() });
        }
    }
    let mut given = resource.gives.clone();
    for name in ["born_key", "key_in_use", "certificate_request"] {
        given.extend(thing.outputs.get(name).map(|value| (name, value.clone())));
    }
    Observed::Present { fields, outputs: given, ours: true }
}

/// A digest of what a field holds, secrets filled in.
fn mark(value: &Value, keys: &dyn Keys) -> String {
    fn write(value: &Value, keys: &dyn Keys, out: &mut String) {
        match value {
            Value::Secret(name, quoting) => {
                out.push_str(&keys.get(name).map(|secret| quoting.quote(secret.expose())).unwrap_or_default());
            }
            Value::List(items) | Value::Joined(items) => items.iter().for_each(|item| {
                write(item, keys, out);
                out.push('\u{1f}');
            }),
            plain => out.push_str(&plain.to_string()),
        }
    }
    let mut text = String::new();
    write(value, keys, &mut text);
    digest(text.as_bytes())
}

/// What a host of flesh and blood would give once this is there.
fn outputs(resource: &Resource) -> Result<BTreeMap<&'static str, String>, Failure> {
    let mut outputs = BTreeMap::new();
    match &resource.spec {
        Spec::BornKey(_) => {
            let mut bytes = [0; 32];
            OsRng.fill_bytes(&mut bytes);
            let fingerprint = data_encoding::BASE64_NOPAD.encode(&bytes);
            outputs.insert("born_key", format!("SHA256:{fingerprint}"));
        }
        Spec::KeyInUse(spec) => drop(outputs.insert("key_in_use", spec.fingerprint.to_string())),
        Spec::CertificateRequest(spec) => {
            let trouble = |e: rcgen::Error| Failure::new(Kind::Failed, "cannot make a certificate request").because(e);
            let mut params = CertificateParams::new(spec.names.clone()).map_err(trouble)?;
            let name = crate::providers::host::kinds::certificate::request_name(resource);
            params.distinguished_name.push(DnType::CommonName, name);
            let key = KeyPair::generate().map_err(trouble)?;
            let request = params.serialize_request(&key).and_then(|request| request.pem()).map_err(trouble)?;
            outputs.insert("certificate_request", format!("{}\n", request.replace("\r\n", "\n").trim()));
        }
        _ => {}
    }
    Ok(outputs)
}
