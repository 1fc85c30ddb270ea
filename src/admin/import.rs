//! Imports and exports lease files of the old gipam: `gipam import` and `gipam export`.
//!
//! Promises: a file that cannot be parsed changes nothing; books that hold subnets are replaced only on request, and the
//! history records this; the digest of an imported or exported file is stored, so that the next start recognizes the file.

use serde_json::{Value, json};

use crate::config::PoolsOrigin;
use crate::ledger::Altered;
use crate::plan::change::{Change, Why};
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::settings::{Millis, Settings};
use crate::plan::{Plan, Subnet};
use crate::settle::{Below, settle};
use crate::store::old_gipam::{self, Parsed};
use crate::store::takeover;
use crate::text::counted;
use crate::view::source::Source;

pub use crate::store::takeover::{EXPORTED_DIGEST, TAKEN_DIGEST};

/// A lease file that is to be imported into the books.
pub struct Importing {
    parsed: Parsed,
    digest: String,
    replace: bool,
    settings: Settings,
    origin: PoolsOrigin,
}

impl Importing {
    /// Parses the file's content.
    pub fn new(
        name: &str,
        content: &str,
        replace: bool,
        settings: &Settings,
        origin: &PoolsOrigin,
    ) -> Result<Self, Refusal> {
        let parsed = old_gipam::parse(content.as_bytes())
            .map_err(|error| Refusal::new(ErrorKind::Invalid, format!("{name}: {error}")))?;
        for oddity in &parsed.oddities {
            tracing::warn!("{name}: {oddity}");
        }
        let digest = old_gipam::digest(content.as_bytes());
        Ok(Self { parsed, digest, replace, settings: settings.clone(), origin: origin.clone() })
    }

    /// The summary for people.
    pub fn summary(&self) -> Value {
        let books = &self.parsed.books;
        json!({
            "subnets": books.allocated.len(),
            "leases": books.allocated.iter().map(|subnet| subnet.addresses.len()).sum::<usize>(),
            "oddities": self.parsed.oddities.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }

    /// The changes that import the file into this plan.
    pub fn alter(&self, plan: &Plan, now: Millis) -> Result<Altered, Refusal> {
        let held: Vec<_> = plan.subnets().filter(|subnet| subnet.is_held()).collect();
        if !held.is_empty() && !self.replace {
            let text = format!(
                "address pool overlaps with existing pool on this address space: the books already hold {}; to \
                 replace them with the file, repeat with --replace",
                counted(held.len(), "subnet")
            );
            return Err(Refusal::new(ErrorKind::Taken, text));
        }
        let mut changes = Vec::new();
        for subnet in plan.subnets() {
            let serial = subnet.state.serial;
            if subnet.is_held() {
                changes.push(Change::SubnetReleased { serial, at: now, cool_until: now, why: Why::Force });
            }
            changes.push(Change::SubnetForgotten { serial });
        }
        // The settings in force may be newer than those at the start, because SIGHUP reloads the configuration.
        let in_force = plan.settings().clone();
        let configured = match self.origin {
            PoolsOrigin::Document(_) => in_force,
            PoolsOrigin::Nowhere | PoolsOrigin::Options { .. } => {
                Settings { pools: self.settings.pools.clone(), ..in_force }
            }
        };
        let from_file: Vec<_> = takeover::pools(&self.parsed.books, &configured).into_iter().collect();
        let known = if from_file.is_empty() { plan.settings().pools.clone() } else { from_file };
        let (settings, warnings) = settle(&configured, &self.origin, &known, Below::LeaseFile, plan);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        settings.check().map_err(|error| Refusal { kind: ErrorKind::Invalid, text: error.to_string() })?;
        changes.extend(takeover::changes(&self.parsed.books, plan, &settings, now));
        let meta = vec![(TAKEN_DIGEST.to_owned(), self.digest.clone())];
        Ok(Altered { settings: Some(settings), changes, meta })
    }
}

/// Refuses every format except `leases.json`.
pub fn check_format(query: &str) -> Result<(), Refusal> {
    match query {
        "" | "format=leases.json" => Ok(()),
        other => Err(Refusal::new(
            ErrorKind::Invalid,
            format!("unknown format {other}; the only format is leases.json"),
        )),
    }
}

/// The held subnets and leases as a lease file of the old gipam. Logs everything that the old gipam cannot handle.
pub fn export(source: &Source) -> Result<Vec<u8>, Refusal> {
    let pools = source.look(|plan| plan.settings().pools.clone())?;
    let mut allocated = Vec::new();
    let exported = |_: &Plan, subnet: &Subnet| takeover::exported(subnet);
    source.each_subnet(exported, |subnet| {
        allocated.push(subnet);
        Ok(())
    })?;
    let books = takeover::export(&pools, allocated);
    for obstacle in old_gipam::obstacles(&books) {
        tracing::warn!("export: {obstacle}");
    }
    Ok(old_gipam::write(&books))
}
