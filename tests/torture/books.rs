//! THE BOOKS AGAINST THE JOURNAL: acknowledged ⊆ recovered ⊆ attempted, and the invariants on what was
//! recovered.
//!
//! Promises: reads the books from outside, while the daemon runs; the books settle what was uncertain, so
//! that the next round builds on that. Reports acknowledged grants that are lost and recovered grants that
//! were never requested.

use std::collections::BTreeMap;
use std::path::Path;

use gipam::plan::Plan;
use gipam::plan::change::Kind;
use gipam::store::Reader;

use crate::cluster::history::Hold;
use crate::crew::WORD;
use crate::invariants::{conserved, disjoint};
use crate::journal::{Book, Journal, State};

/// The result of a comparison.
#[derive(Debug, Default)]
pub struct Found {
    /// Subnets and leases in the books.
    pub recovered: u64,
    /// Acknowledged, but missing.
    pub lost: Vec<String>,
    /// Present, but never requested, or acknowledged as released.
    pub strange: Vec<String>,
    /// Broken invariants, and prefixes or addresses granted twice.
    pub broken: Vec<String>,
    /// Unanswered requests that had been carried out.
    pub uncertain: u64,
}

impl Found {
    /// Fails the row unless everything is correct.
    pub fn assert_clean(&self, when: &str) {
        let wrong: Vec<&String> = self.lost.iter().chain(&self.strange).chain(&self.broken).take(5).collect();
        assert!(
            wrong.is_empty(),
            "{when}: {} acknowledged grants are lost, {} are unexpected, {} invariants are broken: {wrong:#?}",
            self.lost.len(),
            self.strange.len(),
            self.broken.len()
        );
    }
}

/// The plan that a daemon would rebuild at its start.
pub fn plan(books: &Path) -> Result<Plan, String> {
    let say = |error: gipam::store::StoreError| format!("{error}: {:?}", std::error::Error::source(&error));
    let reader = Reader::open(books).map_err(say)?;
    let mut plan = Plan::new(reader.settings().map_err(say)?);
    reader.load(|change| plan.apply(&change)).map_err(say)?;
    Ok(plan)
}

/// Compares, and settles what was uncertain.
pub fn compare(books: &Path, journal: &Journal) -> Found {
    let plan = plan(books).unwrap_or_else(|error| panic!("the books cannot be read: {error}"));
    let mut found = Found::default();
    let book = &mut *journal.book();
    found.broken.append(&mut book.twice);
    found.broken.extend([disjoint(&plan), conserved(&plan)].into_iter().filter_map(Result::err));
    let mut seen = Seen::default();
    for subnet in plan.subnets().filter(|subnet| subnet.is_held()) {
        found.recovered += 1;
        let state = &subnet.state;
        let Some(word) = state.options.get(WORD) else {
            found.strange.push(format!("subnet {} has no word", state.id));
            continue;
        };
        if seen.subnets.insert(word.clone(), (state.id.clone(), state.prefix)).is_some() {
            found.broken.push(format!("{word} has two subnets"));
        }
        for (number, record) in subnet.addresses.records().filter(|(_, record)| record.leased) {
            found.recovered += 1;
            let address = state.prefix.address(number);
            let lease = match (record.kind, record.name.as_deref()) {
                (Kind::Gateway, _) => format!("gateway of {word}"),
                (_, Some(name)) => name.to_owned(),
                (_, None) => format!("nameless {address} of {word}"),
            };
            let place = (state.id.clone(), word.clone(), address);
            if let Some((.., other)) = seen.leases.insert(lease.clone(), place) {
                found.broken.push(format!("{lease} has {address} and {other}"));
            }
        }
    }
    settle_subnets(book, &seen, &mut found);
    settle_leases(book, &seen, &mut found);
    book.blind = false;
    found
}

/// The contents of the books, by word.
#[derive(Default)]
struct Seen {
    subnets: BTreeMap<String, (String, gipam::plan::prefix::Prefix)>,
    leases: BTreeMap<String, (String, String, std::net::IpAddr)>,
}

fn settle_subnets(book: &mut Book, seen: &Seen, found: &mut Found) {
    for (word, place) in &seen.subnets {
        match book.subnets.get_mut(word) {
            None => found.strange.push(format!("subnet {place:?} of {word}")),
            Some(subnet) => {
                if subnet.granted.as_ref().is_some_and(|granted| granted != place) {
                    found.broken.push(format!("{word} got {:?} and has {place:?}", subnet.granted));
                }
                found.uncertain += u64::from(subnet.state == State::Asked);
                let before = std::mem::replace(&mut subnet.state, State::Held);
                subnet.granted = Some(place.clone());
                book.tell(word, || format!("{before:?} before, and the books have it: {place:?}"));
            }
        }
    }
    let gone: Vec<String> =
        book.subnets.keys().filter(|word| !seen.subnets.contains_key(*word)).cloned().collect();
    for word in gone {
        book.tell(&word, || "the books do not have it".to_owned());
        if book.subnets[&word].state == State::Held {
            if let (Some(observer), Some((_, prefix))) = (&book.observer, &book.subnets[&word].granted) {
                observer.suspects(Hold::Subnet(*prefix));
            }
            found.lost.push(format!("subnet {word}: {:?}", book.subnets[&word]));
        }
        book.subnets.remove(&word);
        for lease in book.leases_of(&word) {
            let state = book.leases.remove(&lease).map(|lease| lease.state);
            if state == Some(State::Held) {
                found.lost.push(format!("lease {lease} with subnet {word}"));
            }
        }
    }
}

fn settle_leases(book: &mut Book, seen: &Seen, found: &mut Found) {
    for (word, (id, subnet, address)) in &seen.leases {
        match book.leases.get(word) {
            None => found.strange.push(format!("lease {address} of {word} in {subnet}")),
            Some(lease) => {
                if lease.subnet != *subnet || lease.address.is_some_and(|granted| granted != *address) {
                    found.broken.push(format!("{word} got {lease:?} and has {address} in {subnet}"));
                }
                found.uncertain += u64::from(lease.state == State::Asked);
                book.hold(word, id, *address);
            }
        }
    }
    book.leases.retain(|word, lease| {
        let there = seen.leases.contains_key(word);
        if !there && lease.state == State::Held {
            found.lost.push(format!("lease {word}: {lease:?}"));
        }
        there
    });
}
