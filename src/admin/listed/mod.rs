//! `gipam import` of a list: a table (CSV), or the output of `docker network inspect`.
//!
//! Promises: the content of a file, not its name, determines its form; without `apply`, an import is only a preview, which
//! uses the same rules on the same books. A table is imported completely or not at all; of the networks in an inspect list,
//! all that use this driver and can be imported are imported, in one durable step. For a network of another driver, Docker
//! keeps calling that driver, so the network is not imported.

mod inspect;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ledger::{Altered, Ledger};
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::listed::{ListedSubnet, Obstacle, Taken};
use crate::plan::prefix::Prefix;
use crate::text::counted;

/// The maximum number of obstacles in a message.
const TOLD: usize = 8;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A lease file of the old gipam.
    OldLeases,
    /// The output of `docker network inspect`.
    Inspected,
    Table,
}

/// Detects the form of a file from its content.
pub fn form(content: &str) -> Form {
    let content = content.trim_start_matches('\u{feff}').trim_start();
    // A network has a top-level key IPAM; a lease file does not have this key.
    let network = || {
        let has = |text: &str| {
            serde_json::from_str(text).is_ok_and(|value: serde_json::Value| value.get("IPAM").is_some())
        };
        // Several networks, one per line, also count as inspected, and the parser then refuses them.
        has(content) || content.lines().next().is_some_and(has)
    };
    match content.chars().next() {
        Some('[') => Form::Inspected,
        Some('{') if network() => Form::Inspected,
        Some('{') => Form::OldLeases,
        _ => Form::Table,
    }
}

/// A file to import.
#[derive(Deserialize)]
pub struct Asked {
    pub(super) name: String,
    pub(super) content: String,
    /// Apply the import; otherwise only report what would be done.
    #[serde(default)]
    pub(super) apply: bool,
    /// For a lease file of the old gipam: import it even if the books are not empty.
    #[serde(default)]
    pub(super) replace: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportAnswer {
    /// Whether the import was applied; otherwise this is a preview.
    pub applied: bool,
    /// Number of subnets that the books lack, or lacked before the import.
    pub subnets: u64,
    /// Number of addresses that the books lack, or lacked before the import.
    pub leases: u64,
    /// One row for each subnet.
    pub rows: Vec<Row>,
}

/// What the import does with one subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Where the file lists it.
    pub place: String,
    /// Its prefix.
    pub subnet: String,
    /// Its PoolID, if the file lists it.
    pub id: Option<String>,
    /// The listed addresses that the books lack, or lacked before the import.
    pub addresses: Vec<String>,
    /// Number of listed addresses that the books already know.
    pub known: u64,
    /// `adopt`, `complete`, `known`, `refused` or `left`.
    pub action: String,
    /// The reason, if it is not obvious.
    pub why: Option<String>,
    /// What a person can do, if anything.
    pub advice: Option<String>,
}

/// The parsed content of a file.
#[derive(Debug, Default)]
struct File {
    listed: Vec<ListedSubnet>,
    left: Vec<Row>,
    /// Addresses that two containers have, by the index in `listed`.
    twice: BTreeMap<usize, Twice>,
    /// Import all subnets or none.
    whole: bool,
}

/// Addresses that two containers have at the same time.
#[derive(Debug)]
struct Twice {
    why: String,
    advice: String,
}

/// For each subnet, what to commit, or why it cannot be imported.
type Outcomes = Vec<Result<Taken, Obstacle>>;

/// `POST /v1/listed`.
pub(super) async fn take(ledger: &Ledger, names: &[String], asked: Asked) -> Result<Vec<u8>, Refusal> {
    let invalid = |text: String| Refusal::new(ErrorKind::Invalid, format!("{}, {text}", asked.name));
    let File { listed, left, mut twice, whole } = match form(&asked.content) {
        Form::Inspected => inspect::read(&asked.content, names).map_err(invalid)?,
        Form::Table => table::read(&asked.content).map_err(invalid)?,
        Form::OldLeases => return Err(invalid("not a list but a lease file of the old gipam".to_owned())),
    };
    let listed = Arc::new(listed);
    let (decided, bases) = decide(ledger, listed.clone(), whole, asked.apply).await?;
    let mut rows: Vec<Row> =
        listed.iter().zip(&decided).map(|(listed, outcome)| row(listed, outcome)).collect();
    for (at, row) in rows.iter_mut().enumerate() {
        let Some(Twice { why, advice }) = twice.remove(&at) else { continue };
        row.why = Some(row.why.take().map_or(why.clone(), |refused| format!("{refused}; {why}")));
        row.advice = Some(advice);
    }
    let new = |taken: &&Taken| taken.new;
    let (subnets, leases) = (
        decided.iter().flatten().filter(new).count() as u64,
        decided.iter().flatten().map(|taken| taken.leases.len() as u64).sum(),
    );
    // The advice to reserve a prefix matters only where gipam gives addresses.
    let in_a_pool = |row: &Row| {
        let prefix = Prefix::parse(&row.subnet);
        prefix.is_some_and(|prefix| bases.iter().any(|base| base.overlaps(prefix)))
    };
    rows.extend(left.into_iter().map(|row| match in_a_pool(&row) {
        true => row,
        false => Row { advice: None, ..row },
    }));
    if asked.apply {
        tracing::info!(
            "{} imported: {} and {}",
            asked.name,
            counted(subnets, "subnet"),
            counted(leases, "address")
        );
    }
    serde_json::to_vec(&ImportAnswer { applied: asked.apply, subnets, leases, rows })
        .map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
}

/// Decides on the current plan, and commits if `apply` is set. Also returns the base prefixes of the pools.
async fn decide(
    ledger: &Ledger,
    listed: Arc<Vec<ListedSubnet>>,
    whole: bool,
    apply: bool,
) -> Result<(Outcomes, Vec<Prefix>), Refusal> {
    let alter = move |plan: &crate::plan::Plan| {
        let outcomes = plan.take_listed(&listed);
        if whole && let Some(refusal) = refusal(&outcomes) {
            return Err(refusal);
        }
        let taken = outcomes.iter().flatten().flat_map(|taken| &taken.changes);
        let changes = if apply { taken.cloned().collect() } else { Vec::new() };
        let bases = plan.bases().into();
        Ok((Altered { changes, ..Altered::default() }, (outcomes, bases)))
    };
    ledger.alter(alter).await
}

/// The refusal of the whole import, if there is an obstacle.
fn refusal(outcomes: &Outcomes) -> Option<Refusal> {
    let obstacles: Vec<&Obstacle> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let kind = obstacles.first()?.error.kind;
    let mut texts: Vec<String> = obstacles.iter().take(TOLD).map(ToString::to_string).collect();
    if obstacles.len() > TOLD {
        texts.push(format!("and {} more", obstacles.len() - TOLD));
    }
    Some(Refusal { kind, text: format!("nothing was changed: {}", texts.join("; ")) })
}

fn row(listed: &ListedSubnet, outcome: &Result<Taken, Obstacle>) -> Row {
    let new: &[u128] = outcome.as_ref().map(|taken| taken.leases.as_slice()).unwrap_or_default();
    let action = match outcome {
        Ok(taken) if taken.new => "adopt",
        Ok(taken) if !taken.changes.is_empty() => "complete",
        Ok(_) => "known",
        Err(_) => "refused",
    };
    let learns = || {
        let text = "Docker sends the PoolID when the next container starts in the network; until then, the PoolID is shown as #?";
        text.to_owned()
    };
    Row {
        place: listed.place.clone(),
        subnet: listed.network.prefix.to_string(),
        id: listed.network.id.clone(),
        addresses: new.iter().map(|address| listed.network.prefix.address(*address).to_string()).collect(),
        known: outcome.as_ref().map_or(0, |_| (listed.network.leases.len() - new.len()) as u64),
        action: action.to_owned(),
        why: outcome.as_ref().err().map(|obstacle| obstacle.error.to_string()),
        advice: (action == "adopt" && listed.network.id.is_none()).then(learns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_file_is_detected_from_its_content() {
        for (content, expected) in [
            ("\u{feff}[]", Form::Inspected),
            (" {\"Name\": \"web\", \"IPAM\": {}}", Form::Inspected),
            ("{\"v4\": \"10.0.0.0/8\"}", Form::OldLeases),
            ("{\"v4\": ", Form::OldLeases),
            ("{\"IPAM\": {}}\n{\"IPAM\": {}}\n", Form::Inspected),
            ("subnet,address\n", Form::Table),
            ("", Form::Table),
        ] {
            assert_eq!(form(content), expected, "{content}");
        }
    }
}
