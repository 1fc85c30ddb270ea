//! THE HISTORY OF THE CLUSTER: which host certainly held which subnet or address, from when to when.
//!
//! Promises: a hold begins when its answer was read and ends before its release is sent, so that two holds that overlap in this
//! history overlapped in truth; all hosts write into one history, in one order. What the hosts share (the LAN's subnet, its
//! gateway) is not in it. Judges afterwards and does not look into any books. Also tells the story of what is suspect: everything
//! that clients asked and were answered about it, and what happened to the hosts meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gipam::plan::prefix::{Family, Prefix};

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    Subnet(Prefix),
    Address(IpAddr),
}

impl Hold {
    /// Whether both are, or contain, the same address.
    fn meets(self, other: Self) -> bool {
        let prefix = |hold: Self| match hold {
            Self::Subnet(prefix) => prefix,
            Self::Address(address) => Prefix::host(address),
        };
        prefix(self).overlaps(prefix(other))
    }
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
    /// Something else that a client of the host learnt about this word.
    Noted {
        host: usize,
        word: String,
        what: String,
    },
    /// Something that happened to the host, or to everything.
    Happened {
        host: Option<usize>,
        what: String,
    },
}

/// All events with their times, and what is wrong so far.
#[derive(Debug)]
struct Events {
    began: Instant,
    /// The time of day then, as the books write times.
    day: u128,
    all: Vec<(u128, Event)>,
    suspects: Vec<(usize, Hold)>,
}

/// The history, shared by all hosts.
#[derive(Clone, Debug)]
pub struct History(Arc<Mutex<Events>>);

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

    /// For the story only.
    pub fn notes(&self, word: &str, what: String) {
        self.history.note(Event::Noted { host: self.host, word: word.to_owned(), what });
    }

    /// For the story only: something that concerns all holds of the host.
    pub fn happens(&self, what: &str) {
        self.history.note(Event::Happened { host: Some(self.host), what: what.to_owned() });
    }

    /// Something is wrong about this, so that its story will be told.
    pub fn suspects(&self, hold: Hold) {
        self.history.events().suspects.push((self.host, hold));
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

impl Default for History {
    fn default() -> Self {
        let day = u128::from(gipam::clock::now());
        let events = Events { began: Instant::now(), day, all: Vec::new(), suspects: Vec::new() };
        Self(Arc::new(Mutex::new(events)))
    }
}

impl History {
    fn events(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: Event) {
        let mut events = self.events();
        let at = events.day + events.began.elapsed().as_millis();
        events.all.push((at, event));
    }

    /// For the story only: something that concerns every host.
    pub fn happens(&self, what: &str) {
        self.note(Event::Happened { host: None, what: what.to_owned() });
    }

    /// What is wrong so far: the host, and what is held.
    pub fn suspects(&self) -> Vec<(usize, Hold)> {
        self.events().suspects.clone()
    }

    /// Everything that concerns this hold, or the hosts that had it, a line for each event with its time in milliseconds.
    pub fn story(&self, hold: Hold) -> String {
        let events = self.events();
        let about = |event: &&(u128, Event)| match &event.1 {
            Event::Answered { hold: it, .. } | Event::Leaving { hold: it, .. } => it.meets(hold),
            _ => false,
        };
        let held = events.all.iter().filter(about);
        let words: BTreeSet<(usize, String)> = held
            .filter_map(|(_, event)| match event {
                Event::Answered { host, word, .. } | Event::Leaving { host, word, .. } => {
                    Some((*host, word.clone()))
                }
                _ => None,
            })
            .collect();
        let mut text = String::new();
        for (at, event) in &events.all {
            let told = match event {
                Event::Answered { host, word, .. } | Event::Leaving { host, word, .. } => {
                    words.contains(&(*host, word.clone()))
                }
                Event::Noted { host, word, what } => {
                    words.contains(&(*host, word.clone())) || what.contains(&shown(hold))
                }
                Event::Forgotten { .. } | Event::Happened { host: None, .. } => true,
                Event::Happened { host: Some(host), .. } => words.iter().any(|(it, _)| it == host),
            };
            if told {
                let _ = match event {
                    Event::Happened { host: None, what } => writeln!(text, "{at} {what}"),
                    Event::Happened { host: Some(host), what } => writeln!(text, "{at} host {host}: {what}"),
                    Event::Noted { host, word, what } => writeln!(text, "{at} host {host}, {word}: {what}"),
                    held => writeln!(text, "{at} {held:?}"),
                };
            }
        }
        text
    }

    /// Plays the history again, and reports each hold that began while another one lasted.
    pub fn judge(&self) -> Judged {
        let (mut moment, mut judged) = (Moment::default(), Judged::default());
        let mut suspects = Vec::new();
        let mut events = self.events();
        for (_, event) in &events.all {
            match event {
                Event::Answered { host, word, hold } => {
                    judged.holds += 1;
                    let holder = (*host, word.clone());
                    let others = moment.others(*hold, &holder);
                    suspects.extend(others.first().map(|_| (*host, *hold)));
                    judged.twice.extend(
                        others
                            .iter()
                            .map(|other| format!("{hold:?} was given to {holder:?} while {other:?} held it")),
                    );
                    moment.begin(*hold, holder);
                }
                Event::Leaving { host, word, hold } => moment.end(*hold, &(*host, word.clone())),
                Event::Forgotten { host } => moment.forget(*host),
                Event::Noted { .. } | Event::Happened { .. } => {}
            }
        }
        events.suspects.extend(suspects);
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

/// A hold as requests and books write it.
pub fn shown(hold: Hold) -> String {
    match hold {
        Hold::Subnet(prefix) => prefix.to_string(),
        Hold::Address(address) => address.to_string(),
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
    a.notes("w1", "asks for the wrong subnet".to_owned());
    let story = history.story(address);
    assert!(story.contains("w1") && story.contains("w4") && story.contains("wrong"), "{story}");
    assert!(history.suspects().contains(&(0, address)), "what is wrong is not suspect");
    b.forgotten();
    a.holds("w5", subnet("198.51.100.0/26"));
    assert_eq!(history.judge().twice.len(), 3, "only the hold of the own host overlaps");
}
