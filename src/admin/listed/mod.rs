//! `gipam import` of a list: a table (CSV), or the output of `docker network inspect`.
//!
//! Promises: the content says what a file is, not its name; nothing is changed unless that is asked for, and what is reported
//! beforehand is decided by the same rules on the same books. A table is taken whole or not at all; of networks, those of
//! this driver that can be taken are, in one durable step. A network of another driver goes on calling that driver, so
//! nothing is taken for it.

mod inspect;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ledger::{Altered, Ledger};
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::listed::{ListedSubnet, Obstacle, Taken};
use crate::plan::prefix::Prefix;
use crate::plan::request::Context;
use crate::text::counted;

/// How many obstacles are listed.
const TOLD: usize = 8;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A lease file of the old gipam.
    OldLeases,
    /// What `docker network inspect` prints.
    Inspected,
    Table,
}

/// What the content shows a file to be.
pub fn form(content: &str) -> Form {
    let content = content.trim_start_matches('\u{feff}').trim_start();
    // A network has its IPAM at the top; a lease file knows no such key.
    let network = || {
        let has = |text: &str| {
            serde_json::from_str(text).is_ok_and(|value: serde_json::Value| value.get("IPAM").is_some())
        };
        // Several, one a line, are refused as such.
        has(content) || content.lines().next().is_some_and(has)
    };
    match content.chars().next() {
        Some('[') => Form::Inspected,
        Some('{') if network() => Form::Inspected,
        Some('{') => Form::OldLeases,
        _ => Form::Table,
    }
}

#[derive(Deserialize)]
pub struct Asked {
    name: String,
    content: String,
    /// Do it; else only say what would be done.
    #[serde(default)]
    pub apply: bool,
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportAnswer {
    /// Whether it was done, or is only a preview.
    pub applied: bool,
    /// Subnets that the books lack, or lacked.
    pub subnets: u64,
    /// Addresses that they lack, or lacked.
    pub leases: u64,
    /// Each subnet.
    pub rows: Vec<Row>,
}

/// What becomes of one subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Where it is listed.
    pub place: String,
    /// Its prefix.
    pub subnet: String,
    /// Its PoolID, if that is listed.
    pub id: Option<String>,
    /// Addresses that the books lack, or lacked.
    pub addresses: Vec<String>,
    /// How many are listed that they know.
    pub known: u64,
    /// `adopt`, `complete`, `known`, `refused` or `left`.
    pub action: String,
    /// Why, where it is not obvious.
    pub why: Option<String>,
    /// What a person can do.
    pub advice: Option<String>,
}

/// A file, read.
#[derive(Debug, Default)]
struct File {
    listed: Vec<ListedSubnet>,
    left: Vec<Row>,
    /// Addresses that two containers have, by the place in `listed`.
    twice: BTreeMap<usize, Twice>,
    /// All or nothing.
    whole: bool,
}

/// One address at two containers.
#[derive(Debug)]
struct Twice {
    why: String,
    advice: String,
}

/// What comes of each subnet, and what to commit.
type Outcomes = Vec<Result<Taken, Obstacle>>;

/// `POST /v1/listed`.
pub(super) async fn take(ledger: &Ledger, names: &[String], asked: Asked) -> Result<Vec<u8>, Refusal> {
    let invalid = |text: String| Refusal::new(ErrorKind::Invalid, format!("{}, {text}", asked.name));
    let File { listed, left, mut twice, whole } = match form(&asked.content) {
        Form::Inspected => inspect::read(&asked.content, names).map_err(invalid)?,
        Form::Table => table::read(&asked.content).map_err(invalid)?,
        Form::OldLeases => return Err(invalid("this is a lease file of the old gipam".to_owned())),
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
    // A reservation matters where addresses are given.
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
            "{} imported: {} and {} were taken",
            asked.name,
            counted(subnets, "subnet"),
            counted(leases, "address")
        );
    }
    serde_json::to_vec(&ImportAnswer { applied: asked.apply, subnets, leases, rows })
        .map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
}

/// Decides on the books as they are, and commits if that is asked for. The prefixes are those of the pools.
async fn decide(
    ledger: &Ledger,
    listed: Arc<Vec<ListedSubnet>>,
    whole: bool,
    apply: bool,
) -> Result<(Outcomes, Vec<Prefix>), Refusal> {
    let alter = move |plan: &crate::plan::Plan| {
        let outcomes = plan.take_listed(&listed, Context { now: plan.now(), random: 0 });
        if whole && let Some(refusal) = refusal(&outcomes) {
            return Err(refusal);
        }
        let taken = outcomes.iter().flatten().flat_map(|taken| &taken.changes);
        let changes = if apply { taken.cloned().collect() } else { Vec::new() };
        let pools = plan.settings().pools.iter().flat_map(|pool| [pool.v4, pool.v6]);
        let bases = pools.flatten().map(|base| base.base).collect();
        Ok((Altered { changes, ..Altered::default() }, (outcomes, bases)))
    };
    ledger.alter(alter).await
}

/// Why nothing is taken, if there is an obstacle.
fn refusal(outcomes: &Outcomes) -> Option<Refusal> {
    let obstacles: Vec<&Obstacle> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let kind = obstacles.first()?.error.kind();
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
        let text =
            "Docker sends the PoolID when the next container starts there; until then it is shown as #?";
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
    fn the_content_says_what_a_file_is() {
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
