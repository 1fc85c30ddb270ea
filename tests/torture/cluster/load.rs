//! THE LOAD ON THE CLUSTER: clients of every host, which request and release as dockerd does: networks that gipam chooses, networks
//! by number anywhere in the pools, addresses of their own networks and of the LAN, and addresses of the LAN by number, for
//! which all hosts compete.
//!
//! Promises: every client works until it is stopped, over restarts of its daemon; everything is written into the journal of its host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::host::Host;
use crate::crew::{Client, Dice, Outcome, SHARED};
use crate::journal::{Journal, State};

/// Clients of each host.
const CLIENTS: usize = 4;
/// The LAN of all hosts.
const LAN: [&str; 2] = ["198.18.64.0/24", "2001:db8:99::/64"];
/// A client's pause between two requests, which leaves the processors to the store.
const PACE: Duration = Duration::from_millis(2);

/// Creates a host's networks on the LAN, once.
pub fn meet(host: &Host) {
    let mut client = Client::new(&host.house.socket(), &host.journal, SHARED);
    for (v6, lan) in [(false, LAN[0]), (true, LAN[1])] {
        let (outcome, word) = client.subnet(v6, lan);
        assert_eq!(outcome, Outcome::Done, "{:?}", client.reasons);
        assert_eq!(client.lease(&word, true), Outcome::Done, "{:?}", client.reasons);
    }
}

/// Clients at work.
pub struct Crew {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    pub fn start<'a>(hosts: impl Iterator<Item = &'a Host>, seed: u64) -> Crew {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for host in hosts {
            for owner in 0..CLIENTS {
                let dice = Dice::new(seed * 1_000 + host.observer.host as u64 * 100 + owner as u64 + 1);
                let (socket, journal, stop) = (host.house.socket(), host.journal.clone(), stop.clone());
                threads.push(std::thread::spawn(move || {
                    work(Client::new(&socket, &journal, owner), dice, &stop);
                }));
            }
        }
        Crew { stop, threads }
    }

    /// Lets every client finish its request.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn work(mut client: Client, mut dice: Dice, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        step(&mut client, &mut dice);
        client.reasons.clear();
        std::thread::sleep(PACE);
    }
}

/// Does one thing that Docker might do.
fn step(client: &mut Client, dice: &mut Dice) -> Outcome {
    let own = client.held_subnets(client.owner);
    let leases = client.held_leases();
    let mut one_of = |words: &[String]| words.get(dice.below(words.len().max(1) as u64) as usize).cloned();
    let (network, lease) = (one_of(&own), one_of(&leases));
    match dice.below(24) {
        0 | 1 if own.len() < 3 => create(client, dice.below(2) == 0, ""),
        2 | 3 if own.len() < 4 => {
            let (v6, prefix) = by_number(dice);
            create(client, v6, &prefix)
        }
        4 | 5 if own.len() > 1 => network.map_or(Outcome::Refused, |word| client.release_subnet(&word)),
        6..=8 if leases.len() <= 14 => {
            let (v6, number) = (dice.below(2) == 0, dice.below(16));
            let address = match v6 {
                false => format!("198.18.64.{}", 240 + number),
                true => format!("2001:db8:99::f{number:x}"),
            };
            on_lan(client, v6, &address)
        }
        9..=14 if leases.len() > 4 => lease.map_or(Outcome::Refused, |word| client.release(&word)),
        _ if leases.len() > 14 => lease.map_or(Outcome::Refused, |word| client.release(&word)),
        choice => match network.filter(|_| choice % 2 == 0) {
            Some(word) => client.lease(&word, false),
            None => on_lan(client, dice.below(2) == 0, ""),
        },
    }
}

/// Any subnet of the pools that are cut into networks.
fn by_number(dice: &mut Dice) -> (bool, String) {
    match dice.below(3) {
        0 => {
            let number = dice.below(128);
            (false, format!("198.18.{}.{}/26", number / 4, number % 4 * 64))
        }
        _ => (true, format!("2001:db8:77:{:x}::/64", dice.below(0x4000))),
    }
}

fn create(client: &mut Client, v6: bool, pool: &str) -> Outcome {
    let (outcome, word) = client.subnet(v6, pool);
    if outcome == Outcome::Done { client.lease(&word, true) } else { outcome }
}

fn on_lan(client: &mut Client, v6: bool, address: &str) -> Outcome {
    let shared = client.held_subnets(SHARED);
    let is_wanted = |word: &&String| {
        let book = client.journal.book();
        let granted = book.subnets.get(*word).and_then(|subnet| subnet.granted.clone());
        granted.is_some_and(|(_, prefix)| prefix.to_string() == LAN[usize::from(v6)])
    };
    let Some(word) = shared.iter().find(is_wanted).cloned() else { return Outcome::Refused };
    client.lease_at(&word, false, address)
}

/// Releases everything that a host's clients may hold.
pub fn release_all(host: &Host) {
    let mut client = Client::new(&host.house.socket(), &host.journal, SHARED);
    let words = |journal: &Journal| -> (Vec<String>, Vec<String>) {
        let book = journal.book();
        let leases = book.leases.iter().filter(|(_, it)| it.state == State::Held && !it.gateway);
        let leases = leases.map(|(word, _)| word.clone()).collect();
        let subnets = book.subnets.iter().filter(|(_, it)| it.state == State::Held);
        (leases, subnets.map(|(word, _)| word.clone()).collect())
    };
    let (leases, _) = words(&host.journal);
    for word in leases {
        assert_eq!(client.release(&word), Outcome::Done, "{:?}", client.reasons);
    }
    let (_, subnets) = words(&host.journal);
    for word in subnets {
        assert_eq!(client.release_subnet(&word), Outcome::Done, "{:?}", client.reasons);
    }
}
