//! THE CLIENTS: many threads, each with its own connection, which request and release subnets and addresses
//! as dockerd does, and record everything in the journal.
//!
//! Promises: a client sends one request at a time; every word is used once; a client whose connection breaks
//! opens a new one until it is stopped. Bounded: a client holds a few subnets and a few dozen leases.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use gipam::plan::prefix::Prefix;
use serde_json::{Value, json};

use crate::daemon::until;
use crate::http::{Answer, Wire};
use crate::journal::{Journal, State};

/// The option with which a subnet's word gets into the books.
pub const WORD: &str = "com.docker.torture";

/// Pools that run out, with addresses and subnets that are reused at once, so that any double grant shows.
pub const POOLS: &str = r#"
history = 2000
[[pool]]
name = "four"
v4 = { base = "198.18.0.0/22", size = 27 }
cooling = "0"
subnet_cooling = "0"
[[pool]]
name = "six"
v6 = { base = "2001:db8:77::/56", size = 64 }
cooling = "0"
subnet_cooling = "0"
"#;

/// The owner of the subnets that all clients share.
pub const SHARED: usize = usize::MAX;

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out.
    Done,
    /// Refused for a valid reason.
    Refused,
    /// 503, or no answer.
    Unknown,
}

/// Pseudorandom numbers; the same seed gives the same ones.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// One client.
pub struct Client {
    socket: PathBuf,
    wire: Option<Wire>,
    pub journal: Journal,
    pub owner: usize,
    /// The texts of 503 answers, except those that report an exhausted pool or subnet.
    pub reasons: Vec<String>,
}

impl Client {
    pub fn new(socket: &Path, journal: &Journal, owner: usize) -> Client {
        Client { socket: socket.to_owned(), wire: None, journal: journal.clone(), owner, reasons: Vec::new() }
    }

    fn call(&mut self, method: &str, body: &Value) -> Option<Answer> {
        let began = Instant::now();
        let answer = self.send(method, body);
        let mut book = self.journal.book();
        book.slowest = book.slowest.max(began.elapsed());
        drop(book);
        answer
    }

    fn send(&mut self, method: &str, body: &Value) -> Option<Answer> {
        if self.wire.is_none() {
            self.wire = Wire::try_unix(&self.socket);
        }
        let answer = self.wire.as_mut()?.try_call(&format!("IpamDriver.{method}"), body.to_string());
        if answer.as_ref().is_none_or(|answer| answer.head.to_ascii_lowercase().contains("connection: close"))
        {
            self.wire = None;
        }
        answer
    }

    /// Reads an answer: what was granted, or what a refusal or a missing answer means.
    fn outcome(&mut self, answer: Option<Answer>) -> Result<Value, (Outcome, bool)> {
        let Some(answer) = answer else {
            self.journal.book().dropped += 1;
            return Err((Outcome::Unknown, false));
        };
        if answer.status >= 400 && answer.text().contains("the plan's store did not answer") {
            self.journal.book().storeless += 1;
        }
        match answer.status {
            200 => Ok(answer.ok()),
            503 => {
                let text = answer.refused();
                if text.starts_with("no available") {
                    self.journal.book().refused += 1;
                    return Err((Outcome::Refused, true));
                }
                self.journal.book().unavailable += 1;
                let certain = text.contains("nothing was changed");
                self.reasons.push(text);
                Err((Outcome::Unknown, certain))
            }
            400..=499 => {
                self.journal.book().refused += 1;
                Err((Outcome::Refused, true))
            }
            other => panic!("status {other}: {}", answer.text()),
        }
    }

    /// RequestPool: a subnet of a family, chosen by gipam or requested by prefix.
    pub fn subnet(&mut self, v6: bool, pool: &str) -> (Outcome, String) {
        let word = self.journal.book().ask_subnet(self.owner, pool);
        let body = json!({
            "AddressSpace": "local", "Pool": pool, "SubPool": "", "Options": {WORD: word}, "V6": v6
        });
        let answer = self.call("RequestPool", &body);
        let outcome = match self.outcome(answer) {
            Ok(granted) => {
                let text = |name: &str| granted[name].as_str().unwrap().to_owned();
                let prefix = Prefix::parse(&text("Pool")).unwrap();
                self.journal.book().got_subnet(&word, text("PoolID"), prefix);
                Outcome::Done
            }
            Err((outcome, certain)) => {
                let reason = self.reasons.last().cloned().unwrap_or_default();
                self.journal
                    .book()
                    .tell(&word, || format!("the request is {outcome:?}; the last 503: {reason}"));
                if certain {
                    self.journal.book().lost_subnet(&word, false);
                }
                outcome
            }
        };
        (outcome, word)
    }

    /// RequestAddress in a held subnet: its gateway, or an endpoint's address.
    pub fn lease(&mut self, subnet: &str, gateway: bool) -> Outcome {
        self.lease_at(subnet, gateway, "")
    }

    /// RequestAddress in a held subnet, of this address unless it is empty.
    pub fn lease_at(&mut self, subnet: &str, gateway: bool, address: &str) -> Outcome {
        let (word, id) = {
            let mut book = self.journal.book();
            let Some((id, _)) = book.subnets.get(subnet).and_then(|subnet| subnet.granted.clone()) else {
                return Outcome::Refused;
            };
            (book.ask_lease(self.owner, subnet, gateway), id)
        };
        let options = match gateway {
            true => json!({"RequestAddressType": "com.docker.network.gateway"}),
            false => json!({"com.docker.network.endpoint.name": word}),
        };
        let answer =
            self.call("RequestAddress", &json!({"PoolID": id, "Address": address, "Options": options}));
        match self.outcome(answer) {
            Ok(granted) => {
                let text = granted["Address"].as_str().unwrap();
                let address: IpAddr = text.split('/').next().unwrap().parse().unwrap();
                self.journal.book().got_lease(&word, &id, address);
                Outcome::Done
            }
            Err((outcome, certain)) => {
                if certain {
                    self.journal.book().lost_lease(&word, false);
                }
                outcome
            }
        }
    }

    /// ReleaseAddress.
    pub fn release(&mut self, word: &str) -> Outcome {
        let (id, address) = {
            let mut book = self.journal.book();
            let Some(lease) = book.leases.get(word).cloned() else { return Outcome::Refused };
            let granted = book.subnets.get(&lease.subnet).and_then(|subnet| subnet.granted.clone());
            let (Some((id, _)), Some(address)) = (granted, lease.address) else { return Outcome::Refused };
            book.leave_lease(word, &id);
            (id, address)
        };
        let answer = self.call("ReleaseAddress", &json!({"PoolID": id, "Address": address}));
        match self.outcome(answer) {
            Ok(_) => {
                self.journal.book().lost_lease(word, true);
                Outcome::Done
            }
            Err((outcome, _)) => outcome,
        }
    }

    /// ReleasePool.
    pub fn release_subnet(&mut self, word: &str) -> Outcome {
        let id = {
            let mut book = self.journal.book();
            let Some((id, _)) = book.subnets.get(word).and_then(|subnet| subnet.granted.clone()) else {
                return Outcome::Refused;
            };
            book.leave_subnet(word);
            id
        };
        let answer = self.call("ReleasePool", &json!({ "PoolID": id }));
        match self.outcome(answer) {
            Ok(_) => {
                self.journal.book().lost_subnet(word, true);
                Outcome::Done
            }
            Err((outcome, _)) => {
                let reason = self.reasons.last().cloned().unwrap_or_default();
                self.journal
                    .book()
                    .tell(word, || format!("its release is {outcome:?}; the last 503: {reason}"));
                outcome
            }
        }
    }

    /// The subnets that are certainly held, by this client or by all clients together.
    pub fn held_subnets(&self, owner: usize) -> Vec<String> {
        let book = self.journal.book();
        let held = book.subnets.iter().filter(|(_, it)| it.owner == owner && it.state == State::Held);
        held.map(|(word, _)| word.clone()).collect()
    }

    pub fn held_leases(&self) -> Vec<String> {
        let book = self.journal.book();
        let held = book.leases.iter().filter(|(_, it)| it.owner == self.owner && it.state == State::Held);
        held.filter(|(_, it)| !it.gateway).map(|(word, _)| word.clone()).collect()
    }

    /// Does one thing that Docker might do.
    pub fn step(&mut self, dice: &mut Dice) -> Outcome {
        let (own, leases) = (self.held_subnets(self.owner), self.held_leases());
        let mut pick = |words: &[String]| words[dice.below(words.len() as u64) as usize].clone();
        let (one_of_own, one_lease) =
            ((!own.is_empty()).then(|| pick(&own)), (!leases.is_empty()).then(|| pick(&leases)));
        match dice.below(20) {
            0 | 1 if own.len() < 3 => {
                let v6 = dice.below(2) == 0;
                let pool = match dice.below(4) {
                    0 => format!("203.0.113.{}/28", dice.below(16) * 16),
                    _ => String::new(),
                };
                let (outcome, word) = self.subnet(v6 && pool.is_empty(), &pool);
                if outcome == Outcome::Done { self.lease(&word, true) } else { outcome }
            }
            2 if own.len() > 1 => one_of_own.map_or(Outcome::Refused, |word| self.release_subnet(&word)),
            3..=9 if leases.len() > 3 => one_lease.map_or(Outcome::Refused, |word| self.release(&word)),
            choice if leases.len() > 20 => {
                let _ = choice;
                one_lease.map_or(Outcome::Refused, |word| self.release(&word))
            }
            choice => {
                let shared = self.held_subnets(SHARED);
                let among = if choice % 3 == 0 && !own.is_empty() { &own } else { &shared };
                if among.is_empty() {
                    return self.subnet(false, "").0;
                }
                let word = among[dice.below(among.len() as u64) as usize].clone();
                self.lease(&word, false)
            }
        }
    }
}

/// Requests the subnets that all clients share, once.
pub fn meeting_place(socket: &Path, journal: &Journal) {
    let mut client = Client::new(socket, journal, SHARED);
    if client.held_subnets(SHARED).is_empty() {
        for v6 in [false, true] {
            let (outcome, word) = client.subnet(v6, "");
            assert_eq!(outcome, Outcome::Done);
            assert_eq!(client.lease(&word, true), Outcome::Done);
        }
    }
}

/// Clients that work until `stop`.
pub struct Crew {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<String>>>,
    journal: Journal,
}

impl Crew {
    pub fn start(clients: usize, socket: &Path, journal: &Journal, seed: u64) -> Crew {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..clients).map(|owner| {
            let (socket, journal, stop) = (socket.to_owned(), journal.clone(), stop.clone());
            let mut dice = Dice::new(seed * 1_000 + owner as u64 + 1);
            std::thread::spawn(move || {
                let mut client = Client::new(&socket, &journal, owner);
                while !stop.load(Ordering::Relaxed) {
                    if client.step(&mut dice) == Outcome::Unknown {
                        std::thread::yield_now();
                        if client.wire.is_none()
                            && std::os::unix::net::UnixStream::connect(&client.socket).is_err()
                        {
                            break; // the receiver is gone
                        }
                    }
                }
                client.reasons
            })
        });
        Crew { threads: threads.collect(), stop, journal: journal.clone() }
    }

    /// Waits until this many more answers have arrived.
    pub fn work(&self, answers: u64) {
        let goal = self.journal.acknowledged() + answers;
        until("the clients are answered", || (self.journal.acknowledged() >= goal).then_some(()));
    }

    /// Whether every client has given up.
    pub fn idle(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Stops the clients; returns the texts of the 503 answers.
    pub fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("a client failed")).collect()
    }
}
