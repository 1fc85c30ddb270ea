//! The machine's part of the books: what it knows about the plan of many hosts, and how a change of it becomes durable.
//!
//! Promises: pure; slices and everything else change in one step, or not at all; what a plan file gave is no claim, and stays
//! with this host until the same slice is claimed. Commits nothing: the ledger does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::own_books::{BookEntry, ClaimBooks, SeenHost};
use super::machine::records::{Epoch, SliceRecord, read, written};
use crate::ledger::Altered;
use crate::plan::Plan;
use crate::plan::change::Change;
use crate::plan::error::Refusal;
use crate::plan::request::{Request, SliceRequest};
use crate::plan::settings::Millis;
use crate::plan::slices::{Slice, SliceState};

/// The rows of the table `meta` in which the books keep what is not a slice.
pub const CLAIMS: &str = "claims";
pub const HOSTS: &str = "claims.hosts";

/// What a host knows about its own claims, as the books contain it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct KeptClaims {
    id: String,
    plan: String,
    epoch: u64,
    mark: String,
    intended: u64,
    acknowledged: u64,
    seq: u64,
    older: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptHost {
    name: String,
    fenced: Option<Millis>,
}

/// What the two rows say, without the slices: the id of this host, which is empty if it never had one, and its books.
pub fn read_rows(claims: Option<&str>, hosts: Option<&str>) -> Result<(String, ClaimBooks), String> {
    let unreadable =
        |row| format!("table meta, row {row}, cannot be read; restore the books, or join again: gipam join");
    let kept: KeptClaims = match claims {
        Some(text) => read(text).ok_or_else(|| unreadable(CLAIMS))?,
        None => KeptClaims::default(),
    };
    let hosts: BTreeMap<String, KeptHost> = match hosts {
        Some(text) => read(text).ok_or_else(|| unreadable(HOSTS))?,
        None => BTreeMap::new(),
    };
    let seen = |host: KeptHost| SeenHost { name: host.name, fenced: host.fenced };
    let books = ClaimBooks {
        plan: kept.plan,
        epoch: Epoch { number: kept.epoch, mark: kept.mark },
        intended: kept.intended,
        acknowledged: kept.acknowledged,
        seq: kept.seq,
        older: kept.older,
        hosts: hosts.into_iter().map(|(id, host)| (id, seen(host))).collect(),
        slices: BTreeMap::new(),
    };
    Ok((kept.id, books))
}

/// Whether this text proves a claim in the plan's store.
pub fn is_claim(text: &str) -> bool {
    read::<SliceRecord>(text).is_some()
}

impl ClaimBooks {
    /// These books with the slices of the plan.
    pub fn with_slices(self, plan: &Plan) -> Self {
        let claimed = plan.slices().iter().filter(|slice| is_claim(&slice.claim));
        let slices = claimed.map(|slice| (slice.prefix, (slice.state, slice.claim.to_string())));
        Self { slices: slices.collect(), ..self }
    }

    /// The row [`CLAIMS`] of these books.
    pub fn claims_row(&self, id: &str) -> String {
        written(&KeptClaims {
            id: id.to_owned(),
            plan: self.plan.clone(),
            epoch: self.epoch.number,
            mark: self.epoch.mark.clone(),
            intended: self.intended,
            acknowledged: self.acknowledged,
            seq: self.seq,
            older: self.older,
        })
    }

    fn hosts_row(&self) -> String {
        let kept = |host: &SeenHost| KeptHost { name: host.name.clone(), fenced: host.fenced };
        let hosts: BTreeMap<&String, KeptHost> =
            self.hosts.iter().map(|(id, host)| (id, kept(host))).collect();
        written(&hosts)
    }
}

/// What makes these entries durable, all together; `before` is what the books contain. Refused if a slice is to be given back
/// in which something is held or cools.
pub fn altered(
    plan: &Plan,
    id: &str,
    before: &ClaimBooks,
    entries: &[BookEntry],
) -> Result<Altered, Refusal> {
    let mut altered = Altered::default();
    let (mut kept, mut hosts) = (false, false);
    let mut after = ClaimBooks { slices: BTreeMap::new(), ..before.clone() };
    for entry in entries {
        match entry {
            BookEntry::Slice { .. } | BookEntry::SliceGone { .. } => {
                altered.changes.extend(slice_changes(plan, entry)?)
            }
            BookEntry::Host { .. } => hosts = true,
            _ => kept = true,
        }
        after.apply(entry.clone());
    }
    if kept {
        altered.meta.push((CLAIMS.to_owned(), after.claims_row(id)));
    }
    if hosts {
        altered.meta.push((HOSTS.to_owned(), after.hosts_row()));
    }
    Ok(altered)
}

fn slice_changes(plan: &Plan, entry: &BookEntry) -> Result<Vec<Change>, Refusal> {
    let request = match entry {
        BookEntry::Slice { prefix, state: SliceState::Held, claim } => {
            SliceRequest::Owned { prefix: *prefix, claim: claim.as_str().into() }
        }
        BookEntry::Slice { prefix, state: SliceState::Leaving, .. } => {
            SliceRequest::Leave { prefix: *prefix }
        }
        // The value of the owner is kept, too.
        BookEntry::Slice { prefix, state: SliceState::Lost, claim } => {
            let lost = Slice { prefix: *prefix, state: SliceState::Lost, claim: claim.as_str().into() };
            let other = plan.slices().meeting(*prefix).any(|known| known.prefix != *prefix);
            let news = !other && plan.slices().get(*prefix) != Some(&lost);
            return Ok(news.then_some(Change::SlicePut(lost)).into_iter().collect());
        }
        BookEntry::SliceGone { prefix } => SliceRequest::Gone { prefix: *prefix },
        _ => return Ok(Vec::new()),
    };
    let decision = plan.decide(&Request::Slice(Box::new(request)), 0);
    decision.reply.map(|_| decision.changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> ClaimBooks {
        let host = SeenHost { name: "b".to_owned(), fenced: Some(7) };
        ClaimBooks {
            plan: "p".to_owned(),
            epoch: Epoch { number: 3, mark: "m".to_owned() },
            intended: 5,
            acknowledged: 4,
            seq: 9,
            older: true,
            hosts: [("id-b".to_owned(), host)].into(),
            slices: BTreeMap::new(),
        }
    }

    #[test]
    fn the_rows_rebuild_the_books() {
        let books = full();
        let (claims, hosts) = (books.claims_row("id-a"), books.hosts_row());
        assert_eq!(read_rows(Some(&claims), Some(&hosts)), Ok(("id-a".to_owned(), books)));
        assert_eq!(read_rows(None, None), Ok((String::new(), ClaimBooks::default())));
        let error = read_rows(Some("{"), None).unwrap_err();
        assert!(error.contains("row claims, cannot be read"), "{error}");
    }

    #[test]
    fn entries_become_one_change_of_slices_and_rows() {
        let plan = Plan::new(crate::plan::settings::Settings::default());
        let prefix = crate::plan::written::prefix("192.0.2.0/26").unwrap().0;
        let held = BookEntry::Slice { prefix, state: SliceState::Held, claim: "v".to_owned() };
        let entries = [BookEntry::Seq(10), held, BookEntry::Epoch(Epoch::default())];
        let made = altered(&plan, "id-a", &full(), &entries).unwrap();
        let slice = Slice { prefix, state: SliceState::Held, claim: "v".into() };
        assert_eq!(made.changes, [Change::SlicePut(slice)]);
        let after = ClaimBooks { seq: 10, epoch: Epoch::default(), ..full() };
        assert_eq!(made.meta, [(CLAIMS.to_owned(), after.claims_row("id-a"))]);
    }
}
