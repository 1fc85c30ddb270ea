//! THE HISTORY OF THE CLUSTER: which host certainly held which subnet or address, from when to when.
//!
//! Promises: a hold begins when its answer was read and ends before its release is sent, so that two holds that overlap in this
//! history overlapped in truth; all hosts write into one history, in one order. What the hosts share (the LAN's subnet, its
//! gateway) is not in it. Judges afterwards and does not look into any books.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use gipam::plan::prefix::{Family, Prefix};

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    Subnet(Prefix),
    Address(IpAddr),
}

/// One event.
#[derive(Clone, Debug)]
enum Event {
    Answered {
        host: usize,
        word: String,
        hold: Hold,
    },
    Leaving {
        host: usize,
        word: String,
        hold: Hold,
    },
    /// A person forgets the host: whatever it holds, others may get.
    Forgotten {
        host: usize,
    },
}

/// The history, shared by all hosts.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Vec<Event>>>);

/// Writes the history of one host.
#[derive(Clone, Debug)]
pub struct Observer {
    pub history: History,
    pub host: usize,
}

impl Observer {
    pub fn holds(&self, word: &str, hold: Hold) {
        self.history.note(Event::Answered { host: self.host, word: word.to_owned(), hold });
    }

    pub fn leaves(&self, word: &str, hold: Hold) {
        self.history.note(Event::Leaving { host: self.host, word: word.to_owned(), hold });
    }

    pub fn forgotten(&self) {
        self.history.note(Event::Forgotten { host: self.host });
    }
}

/// Who holds something.
type Holder = (usize, String);

/// What is held at one moment.
#[derive(Default)]
struct Moment {
    addresses: BTreeMap<IpAddr, Vec<Holder>>,
    /// By family and first address, with the last address.
    subnets: BTreeMap<(Family, u128), Vec<(u128, Holder)>>,
}

/// What a history contains.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    pub holds: u64,
    /// Holds of one address or subnet that overlap.
    pub twice: Vec<String>,
}

impl History {
    fn note(&self, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Plays the history again, and reports each hold that began while another one lasted.
    pub fn judge(&self) -> Judged {
        let (mut moment, mut judged) = (Moment::default(), Judged::default());
        for event in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            match event {
                Event::Answered { host, word, hold } => {
                    judged.holds += 1;
                    let holder = (*host, word.clone());
                    let others = moment.others(*hold, &holder);
                    judged.twice.extend(
                        others
                            .iter()
                            .map(|other| format!("{hold:?} was given to {holder:?} while {other:?} held it")),
                    );
                    moment.begin(*hold, holder);
                }
                Event::Leaving { host, word, hold } => moment.end(*hold, &(*host, word.clone())),
                Event::Forgotten { host } => moment.forget(*host),
            }
        }
        judged
    }
}

impl Moment {
    fn begin(&mut self, hold: Hold, holder: Holder) {
        match hold {
            Hold::Address(address) => self.addresses.entry(address).or_default().push(holder),
            Hold::Subnet(prefix) => self
                .subnets
                .entry((prefix.family(), prefix.first()))
                .or_default()
                .push((prefix.last(), holder)),
        }
    }

    fn end(&mut self, hold: Hold, holder: &Holder) {
        match hold {
            Hold::Address(address) => {
                if let Some(holders) = self.addresses.get_mut(&address) {
                    holders.retain(|it| it != holder);
                }
            }
            Hold::Subnet(prefix) => {
                if let Some(holders) = self.subnets.get_mut(&(prefix.family(), prefix.first())) {
                    holders.retain(|(_, it)| it != holder);
                }
            }
        }
    }

    fn forget(&mut self, host: usize) {
        self.addresses.values_mut().for_each(|holders| holders.retain(|it| it.0 != host));
        self.subnets.values_mut().for_each(|holders| holders.retain(|it| it.1.0 != host));
    }

    /// Who else holds it, or a part of it.
    fn others(&self, hold: Hold, holder: &Holder) -> Vec<Holder> {
        match hold {
            Hold::Address(address) => self
                .addresses
                .get(&address)
                .into_iter()
                .flatten()
                .filter(|it| *it != holder)
                .cloned()
                .collect(),
            // There are few subnets.
            Hold::Subnet(prefix) => self
                .subnets
                .iter()
                .filter(|((family, first), _)| *family == prefix.family() && *first <= prefix.last())
                .flat_map(|(_, holders)| holders)
                .filter(|(last, it)| *last >= prefix.first() && it != holder)
                .map(|(_, it)| it.clone())
                .collect(),
        }
    }
}

/// The judge is not blind: histories that must be noticed, and one that must not.
pub fn control() {
    let history = History::default();
    let [a, b] = [0, 1].map(|host| Observer { history: history.clone(), host });
    let subnet = |text: &str| Hold::Subnet(Prefix::parse(text).unwrap());
    let address = Hold::Address("198.51.100.7".parse().unwrap());
    a.holds("w1", address);
    a.leaves("w1", address);
    b.holds("w1", address);
    b.holds("w2", subnet("198.51.100.0/26"));
    assert_eq!(history.judge().twice, Vec::<String>::new());
    a.holds("w3", subnet("198.51.100.0/24"));
    assert_eq!(history.judge().twice.len(), 1, "a subnet around another one is not noticed");
    a.holds("w4", address);
    assert_eq!(history.judge().twice.len(), 2, "an address with two holders is not noticed");
    b.forgotten();
    a.holds("w5", subnet("198.51.100.0/26"));
    assert_eq!(history.judge().twice.len(), 3, "only the hold of the own host overlaps");
}
