//! How long what must wait for each other takes: the longest chain of batches, each of which needs what the one before
//! gave. A run cannot be faster than that; how much slower it is says how well it works side by side.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::engine::survey::Lane;
use crate::model::name::Name;
use crate::model::resource::{Address, Observed, Resource, Spec};
use crate::model::value::OutputKey;

/// What is known of chains so far: the length of the longest one that ends at each thing.
#[derive(Default)]
pub(super) struct Chains {
    /// Which outputs each resource waits for while nothing is known.
    needs: BTreeMap<Address, Vec<OutputKey>>,
    lanes: BTreeMap<Lane, Duration>,
    outputs: BTreeMap<OutputKey, Duration>,
    servers: BTreeMap<Name, Duration>,
    secrets: Duration,
    longest: Duration,
}

impl Chains {
    /// Of resources as they are wanted while no output is known.
    pub(super) fn of(unknown: &[Resource]) -> Chains {
        let needs = unknown.iter().map(|resource| {
            let fields = resource.spec.fields();
            let of_host = resource.on.iter().flat_map(|at| [&at.address, &at.host_key]);
            let keys = fields.values().chain(of_host).flat_map(|value| value.outputs()).cloned().collect();
            (resource.address.clone(), keys)
        });
        Chains { needs: needs.collect(), ..Chains::default() }
    }

    /// Takes in a batch that ended: its lane, its resources with what was seen of them, and when it began.
    pub(super) fn ended(&mut self, lane: &Lane, batch: &[Resource], after: &[Observed], begun: Instant) {
        let mut before = self.secrets.max(self.lanes.get(lane).copied().unwrap_or_default());
        for resource in batch {
            for key in self.needs.get(&resource.address).into_iter().flatten() {
                before = before.max(self.outputs.get(key).copied().unwrap_or_default());
            }
            if resource.on.is_some() {
                before = before.max(self.servers.get(&resource.step_of_host()).copied().unwrap_or_default());
            }
        }
        let length = before + begun.elapsed();
        self.lanes.insert(lane.clone(), length);
        for (resource, seen) in batch.iter().zip(after) {
            if let Observed::Present { outputs, .. } = seen {
                for (name, _) in outputs {
                    let key = OutputKey { step: resource.step.clone(), name: (*name).to_owned() };
                    self.outputs.entry(key).or_insert(length);
                }
            }
            if resource.on.is_none() && !matches!(resource.spec, Spec::Vouch(_)) {
                self.servers.insert(resource.step.clone(), length);
            }
        }
        if lane.0 == "vault" {
            self.secrets = length;
        }
        self.longest = self.longest.max(length);
    }

    /// The longest chain, with the first look before it, which everything waits for.
    pub(super) fn longest(&self, first_look: Duration) -> Duration {
        first_look + self.longest
    }
}
