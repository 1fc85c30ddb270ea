//! THE CLIENTS' JOURNAL: what was asked, and what was acknowledged, by word: every subnet and every lease carries a word
//! of its own into the books.
//!
//! Promises: an entry is written before its request leaves, and becomes certain only with the answer; what is certain
//! is compared with the books (see `books`), what is not may be there or not. Notices at once when an address or a prefix
//! is given to somebody while another holds it. After [`Journal::blind`] no answer counts as an acknowledgement.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gipam::plan::prefix::Prefix;

/// The state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked, not answered: may be granted.
    Asked,
    /// Granted for certain.
    Held,
    /// Being given back, not answered: may be gone.
    Leaving,
}

/// A subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    pub state: State,
    pub owner: usize,
    /// PoolID and prefix, once known.
    pub granted: Option<(String, Prefix)>,
}

/// A lease.
#[derive(Clone, Debug)]
pub struct Lease {
    pub state: State,
    pub owner: usize,
    /// The word of its subnet.
    pub subnet: String,
    pub gateway: bool,
    pub address: Option<IpAddr>,
}

/// See the top of this file.
#[derive(Debug, Default)]
pub struct Book {
    pub subnets: BTreeMap<String, Subnet>,
    pub leases: BTreeMap<String, Lease>,
    holders: BTreeMap<(String, IpAddr), String>,
    words: u64,
    pub blind: bool,
    /// Answers that granted or released something.
    pub acknowledged: u64,
    /// Answers that refused, with a status below 500.
    pub refused: u64,
    /// Answers 503.
    pub unavailable: u64,
    /// Requests without an answer.
    pub dropped: u64,
    /// Prefixes or addresses that were given while somebody held them.
    pub twice: Vec<String>,
}

/// The journal, shared by the clients.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Book>>);

impl Journal {
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on answers prove nothing: the disk is about to go.
    pub fn blind(&self, blind: bool) {
        self.book().blind = blind;
    }

    pub fn acknowledged(&self) -> u64 {
        self.book().acknowledged
    }
}

impl Book {
    /// A word that was never used.
    pub fn word(&mut self) -> String {
        self.words += 1;
        format!("w{}", self.words)
    }

    pub fn ask_subnet(&mut self, owner: usize) -> String {
        let word = self.word();
        self.subnets.insert(word.clone(), Subnet { state: State::Asked, owner, granted: None });
        word
    }

    pub fn ask_lease(&mut self, owner: usize, subnet: &str, gateway: bool) -> String {
        let word = if gateway { format!("gateway of {subnet}") } else { self.word() };
        let lease = Lease { state: State::Asked, owner, subnet: subnet.to_owned(), gateway, address: None };
        self.leases.insert(word.clone(), lease);
        word
    }

    /// A subnet was granted for certain; unless `blind`.
    pub fn got_subnet(&mut self, word: &str, id: String, prefix: Prefix) {
        if self.blind {
            return;
        }
        self.acknowledged += 1;
        for (other, subnet) in &self.subnets {
            let overlaps = subnet.granted.as_ref().is_some_and(|(_, it)| it.overlaps(prefix));
            if subnet.state == State::Held && overlaps {
                self.twice.push(format!("{prefix} was granted to {word} while {other} holds {subnet:?}"));
            }
        }
        if let Some(subnet) = self.subnets.get_mut(word) {
            (subnet.state, subnet.granted) = (State::Held, Some((id, prefix)));
        }
    }

    /// An address was granted for certain.
    pub fn got_lease(&mut self, word: &str, id: &str, address: IpAddr) {
        if self.blind {
            return;
        }
        self.acknowledged += 1;
        self.hold(word, id, address);
    }

    /// Notes who holds an address, and that nobody did.
    pub fn hold(&mut self, word: &str, id: &str, address: IpAddr) {
        if let Some(lease) = self.leases.get_mut(word) {
            (lease.state, lease.address) = (State::Held, Some(address));
        }
        if let Some(other) = self.holders.insert((id.to_owned(), address), word.to_owned())
            && other != word
        {
            self.twice.push(format!("{address} of {id} was granted to {word} while {other} holds it"));
        }
    }

    /// A release is about to be asked for: from now on somebody else may get it.
    pub fn leave_lease(&mut self, word: &str, id: &str) {
        if let Some(lease) = self.leases.get_mut(word) {
            lease.state = State::Leaving;
            if let Some(address) = lease.address {
                self.holders.remove(&(id.to_owned(), address));
            }
        }
    }

    /// Likewise for a subnet and all that is in it.
    pub fn leave_subnet(&mut self, word: &str) {
        let Some(subnet) = self.subnets.get_mut(word) else { return };
        subnet.state = State::Leaving;
        let Some((id, _)) = subnet.granted.clone() else { return };
        for word in self.leases_of(word) {
            self.leave_lease(&word, &id);
        }
    }

    /// A lease is gone for certain.
    pub fn lost_lease(&mut self, word: &str, acknowledged: bool) {
        if !self.blind {
            self.acknowledged += u64::from(acknowledged);
            self.leases.remove(word);
        }
    }

    /// Likewise for a subnet and all that is in it.
    pub fn lost_subnet(&mut self, word: &str, acknowledged: bool) {
        if !self.blind {
            self.acknowledged += u64::from(acknowledged);
            self.subnets.remove(word);
            self.leases.retain(|_, lease| lease.subnet != word);
        }
    }

    pub fn leases_of(&self, subnet: &str) -> Vec<String> {
        self.leases.iter().filter(|(_, lease)| lease.subnet == subnet).map(|(word, _)| word.clone()).collect()
    }
}
