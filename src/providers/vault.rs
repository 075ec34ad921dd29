//! Provider `vault`: secrets that Landfall makes. They are made before anything else, because whatever comes
//! later may need them, and forgotten last.

use async_trait::async_trait;
use rand_core::{OsRng, RngCore as _};

use crate::doors::Doors;
use crate::doors::http::Api;
use crate::model::diff::{ReadyChange, Verb};
use crate::model::event::{Progress, Report};
use crate::model::failure::Failure;
use crate::model::name::Name;
use crate::model::resource::{Fields, Observed, Owned, Resource, Spec, Stock};
use crate::model::secret::Secret;
use crate::providers::Provider;

/// The provider itself.
pub struct Vault;

#[async_trait]
impl Provider for Vault {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn api(&self) -> Option<&'static Api> {
        None
    }

    async fn observe(&self, doors: &Doors, want: &[Resource], _: &Report) -> Result<Vec<Observed>, Failure> {
        let mut seen = Vec::new();
        for resource in want {
            // One that cannot be read now is not taken for one that is not there: a new one would lock its owner out.
            let kept = match &resource.spec {
                Spec::MadeSecret(spec) => doors.keys.find(&spec.name)?.is_some(),
                _ => false,
            };
            seen.push(match kept {
                true => {
                    Observed::Present { fields: Fields::from([("kept", true.into())]), outputs: vec![], ours: true }
                }
                false => Observed::Absent,
            });
        }
        Ok(seen)
    }

    async fn take_stock(&self, doors: &Doors, _: &Name, want: &[Resource], report: &Report) -> Result<Stock, Failure> {
        Ok(Stock::free(self.observe(doors, want, report).await?))
    }

    async fn apply(
        &self,
        doors: &Doors,
        changes: &[ReadyChange],
        report: &Report,
    ) -> Result<Option<Vec<Observed>>, Failure> {
        for change in changes {
            let Spec::MadeSecret(spec) = &change.resource.spec else { continue };
            let address = change.resource.address.clone();
            report.tell(Progress::Started(address.clone()));
            let done = match change.verb {
                Verb::Delete => doors.keys.remove(&spec.name),
                _ => match doors.keys.find(&spec.name)? {
                    Some(_) => Ok(()),
                    None => doors.keys.put(&spec.name, new_secret(spec.length)),
                },
            };
            report.tell(if done.is_ok() { Progress::Done(address) } else { Progress::Failed(address) });
            done?;
        }
        Ok(None)
    }

    async fn remove(&self, _: &Doors, _: &Owned, _: &Report) -> Result<(), Failure> {
        Ok(())
    }
}

/// A secret of `length` letters and digits, which is safe in a URL, a shell and a compose file as it is.
fn new_secret(length: u16) -> Secret {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::new();
    while text.len() < usize::from(length) {
        // 248 is the largest multiple of 62 in a byte: what is above would favour some letters.
        let byte = (OsRng.next_u32() & 0xff) as usize;
        if byte < 248 {
            text.push(char::from(ALPHABET[byte % 62]));
        }
    }
    Secret::new(text)
}
