//! THE CLIENTS' JOURNAL: what was requested and what was acknowledged. Every subnet and every lease has a
//! unique word, which is also stored in the books.
//!
//! Promises: an entry is written before its request is sent, and becomes certain only with the answer;
//! certain entries are compared with the books (see `books`), the others may or may not be there. Immediately
//! reports an address or a prefix that is granted while another client holds it. After [`Journal::blind`] no
//! answer counts as an acknowledgement.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gipam::plan::prefix::Prefix;

use crate::cluster::history::{Hold, Observer};
use crate::crew::SHARED;

/// The state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requested, not answered: may be granted.
    Asked,
    /// Certainly granted.
    Held,
    /// Release requested, not answered: may be gone.
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
    /// The word of the lease's subnet.
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
    /// Requests refused with a status below 500.
    pub refused: u64,
    /// Requests answered with 503.
    pub unavailable: u64,
    /// Requests without an answer.
    pub dropped: u64,
    /// Requests refused because the plan's store did not answer.
    pub storeless: u64,
    /// The longest time that a request took.
    pub slowest: Duration,
    /// Prefixes or addresses that were granted while another client held them.
    pub twice: Vec<String>,
    /// Where holds are noted that other hosts must not have at the same time.
    pub observer: Option<Observer>,
}

/// The journal, shared by the clients.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Book>>);

impl Journal {
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on an answer does not prove anything, because the disk is about to be lost.
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

    /// Notes that a client requests a subnet: any of its family, or this one.
    pub fn ask_subnet(&mut self, owner: usize, pool: &str) -> String {
        let word = self.word();
        self.tell(&word, || format!("client {owner} requests a subnet: {pool:?}"));
        self.subnets.insert(word.clone(), Subnet { state: State::Asked, owner, granted: None });
        word
    }

    pub fn ask_lease(&mut self, owner: usize, subnet: &str, gateway: bool) -> String {
        let word = if gateway { format!("gateway of {subnet}") } else { self.word() };
        let lease = Lease { state: State::Asked, owner, subnet: subnet.to_owned(), gateway, address: None };
        self.leases.insert(word.clone(), lease);
        word
    }

    /// Notes that a subnet was certainly granted, unless `blind`.
    pub fn got_subnet(&mut self, word: &str, id: String, prefix: Prefix) {
        if self.blind {
            return;
        }
        self.acknowledged += 1;
        for (other, subnet) in &self.subnets {
            let overlaps = subnet.granted.as_ref().is_some_and(|(_, it)| it.overlaps(prefix));
            if subnet.state == State::Held && overlaps {
                self.observer.iter().for_each(|it| it.suspects(Hold::Subnet(prefix)));
                self.twice.push(format!("{prefix} was granted to {word} while {other} holds {subnet:?}"));
            }
        }
        if let Some(subnet) = self.subnets.get_mut(word) {
            (subnet.state, subnet.granted) = (State::Held, Some((id, prefix)));
            // The subnets that all clients share are those that all hosts share.
            if let Some(observer) = self.observer.as_ref().filter(|_| subnet.owner != SHARED) {
                observer.holds(word, Hold::Subnet(prefix));
            }
        }
    }

    /// Notes that an address was certainly granted.
    pub fn got_lease(&mut self, word: &str, id: &str, address: IpAddr) {
        if self.blind {
            return;
        }
        self.acknowledged += 1;
        let is_gateway = self.leases.get(word).is_none_or(|lease| lease.gateway);
        if let Some(observer) = self.observer.as_ref().filter(|_| !is_gateway) {
            observer.holds(word, Hold::Address(address));
        }
        self.hold(word, id, address);
    }

    /// Notes the holder of an address, and reports it if the address was already held.
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

    /// Notes that a release is about to be sent: from now on another client may get the address.
    pub fn leave_lease(&mut self, word: &str, id: &str) {
        if let Some(lease) = self.leases.get_mut(word) {
            lease.state = State::Leaving;
            if let Some(address) = lease.address {
                if let Some(observer) = &self.observer {
                    observer.leaves(word, Hold::Address(address));
                }
                self.holders.remove(&(id.to_owned(), address));
            }
        }
    }

    /// Notes that the release of a subnet, with all its leases, is about to be sent.
    pub fn leave_subnet(&mut self, word: &str) {
        let Some(subnet) = self.subnets.get_mut(word) else { return };
        subnet.state = State::Leaving;
        let Some((id, prefix)) = subnet.granted.clone() else { return };
        if let Some(observer) = &self.observer {
            observer.leaves(word, Hold::Subnet(prefix));
        }
        for word in self.leases_of(word) {
            self.leave_lease(&word, &id);
        }
    }

    /// Notes that a lease is certainly gone.
    pub fn lost_lease(&mut self, word: &str, acknowledged: bool) {
        if !self.blind {
            self.acknowledged += u64::from(acknowledged);
            self.leases.remove(word);
        }
    }

    /// Notes that a subnet and all its leases are certainly gone.
    pub fn lost_subnet(&mut self, word: &str, acknowledged: bool) {
        self.tell(word, || format!("it is gone; released: {acknowledged}"));
        if !self.blind {
            self.acknowledged += u64::from(acknowledged);
            self.subnets.remove(word);
            self.leases.retain(|_, lease| lease.subnet != word);
        }
    }

    /// Notes something for the story of this word.
    pub fn tell(&self, word: &str, what: impl FnOnce() -> String) {
        if let Some(observer) = &self.observer {
            observer.notes(word, what());
        }
    }

    pub fn leases_of(&self, subnet: &str) -> Vec<String> {
        self.leases.iter().filter(|(_, lease)| lease.subnet == subnet).map(|(word, _)| word.clone()).collect()
    }
}
