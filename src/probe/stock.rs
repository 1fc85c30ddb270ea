//! Which addresses are being probed, and which did not answer a short time ago.
//!
//! Promises: pure; time comes in as milliseconds of a steady clock. An address that a request waits for is settled within
//! [`QUICK`]'s last step, the others within [`PATIENT`]'s. Sends nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::plan::settings::Millis;

/// How long a silent address counts as free.
const FRESH: Millis = 600_000;
/// After this time it is probed again, so that the stock does not run out.
const RENEWED: Millis = 300_000;
/// When the packets for a waiting request are sent, and when the address then counts as silent.
const QUICK: [Millis; 3] = [0, 70, 180];
/// The same for addresses that nobody waits for: a machine that just starts may miss the first packets.
const PATIENT: [Millis; 4] = [0, 250, 600, 1_000];

/// A probe that is not settled yet.
#[derive(Clone, Debug)]
struct Underway {
    begun: Millis,
    steps: &'static [Millis],
    /// How many packets were sent.
    sent: usize,
    /// The plan's next generation when the probe began.
    generation: u64,
}

impl Underway {
    /// When the next packet is due, or the end.
    fn next(&self) -> Millis {
        self.begun + self.steps.get(self.sent).or(self.steps.last()).copied().unwrap_or_default()
    }
}

/// What is due now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DueProbes {
    /// Addresses to send a packet for.
    pub send: Vec<IpAddr>,
    /// Addresses that turned out to be silent.
    pub silent: Vec<IpAddr>,
}

/// The probes.
#[derive(Clone, Debug, Default)]
pub struct ProbeStock {
    underway: BTreeMap<IpAddr, Underway>,
    /// When each silent address was settled.
    silent: BTreeMap<IpAddr, Millis>,
}

impl ProbeStock {
    /// Begins a probe, unless one is under way or the address is known to be silent. A request that waits is served sooner.
    pub fn begin(&mut self, address: IpAddr, now: Millis, generation: u64, is_waited_for: bool) {
        let limit = if is_waited_for { FRESH } else { RENEWED };
        if self.silent.get(&address).is_some_and(|at| at.saturating_add(limit) > now) {
            return;
        }
        let steps: &'static [Millis] = if is_waited_for { &QUICK } else { &PATIENT };
        let known = self.underway.get(&address).filter(|known| known.steps.len() <= steps.len());
        if known.is_none() {
            self.underway.insert(address, Underway { begun: now, steps, sent: 0, generation });
        }
    }

    /// Probes an address again although it was silent.
    pub fn again(&mut self, address: IpAddr, now: Millis, generation: u64) {
        self.silent.remove(&address);
        self.begin(address, now, generation, false);
    }

    /// What is due at this time.
    pub fn due(&mut self, now: Millis) -> DueProbes {
        let mut due = DueProbes::default();
        for (address, probe) in &mut self.underway {
            if probe.next() > now {
                continue;
            }
            match probe.sent + 1 < probe.steps.len() {
                true => {
                    probe.sent += 1;
                    due.send.push(*address);
                }
                false => due.silent.push(*address),
            }
        }
        for address in &due.silent {
            self.underway.remove(address);
            self.silent.insert(*address, now);
        }
        due
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Millis> {
        self.underway.values().map(Underway::next).min()
    }

    /// Ends the probe of an address that answered; returns the generation of its beginning, or `None` if it is not probed.
    pub fn answered(&mut self, address: IpAddr) -> Option<u64> {
        let probe = self.underway.get(&address).filter(|probe| probe.sent > 0)?;
        let generation = probe.generation;
        self.forget(address);
        Some(generation)
    }

    /// Forgets what is known about an address.
    pub fn forget(&mut self, address: IpAddr) {
        self.underway.remove(&address);
        self.silent.remove(&address);
    }

    /// The addresses that count as silent.
    pub fn silent(&mut self, now: Millis) -> BTreeSet<IpAddr> {
        self.silent.retain(|_, at| at.saturating_add(FRESH) > now);
        self.silent.keys().copied().collect()
    }

    /// Whether a probe of the address is under way.
    pub fn is_underway(&self, address: IpAddr) -> bool {
        self.underway.contains_key(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_request_waits_for_two_packets_and_less_than_200_ms() {
        let mut stock = ProbeStock::default();
        stock.begin(ip(7), 1_000, 5, true);
        assert_eq!(stock.answered(ip(7)), None, "nothing was sent yet");
        assert_eq!(stock.due(1_000).send, [ip(7)]);
        assert_eq!(stock.next(), Some(1_070));
        assert_eq!(stock.due(1_070).send, [ip(7)]);
        assert_eq!(stock.due(1_179), DueProbes::default());
        assert_eq!(stock.due(1_180).silent, [ip(7)]);
        assert_eq!((stock.next(), stock.silent(1_180).len()), (None, 1));
    }

    #[test]
    fn an_address_that_answers_is_never_silent() {
        let mut stock = ProbeStock::default();
        stock.begin(ip(7), 0, 5, false);
        stock.due(0);
        assert_eq!(stock.answered(ip(7)), Some(5));
        assert_eq!(stock.answered(ip(7)), None, "an answer counts once");
        assert_eq!(stock.due(10_000), DueProbes::default());
        assert!(stock.silent(10_000).is_empty());
    }

    #[test]
    fn a_waiting_request_does_not_wait_for_a_patient_probe() {
        let mut stock = ProbeStock::default();
        stock.begin(ip(7), 0, 5, false);
        stock.due(0);
        stock.begin(ip(7), 100, 6, true);
        stock.due(100);
        stock.begin(ip(7), 110, 6, false);
        stock.due(170);
        assert_eq!(stock.due(280).silent, [ip(7)]);
    }

    #[test]
    fn a_silent_address_is_probed_again_before_it_is_stale() {
        let mut stock = ProbeStock::default();
        stock.begin(ip(7), 0, 5, true);
        for at in [0, 70, 180] {
            stock.due(at);
        }
        stock.begin(ip(7), 200_000, 6, false);
        assert_eq!(stock.next(), None);
        stock.begin(ip(7), 300_200, 6, false);
        assert_eq!(stock.due(300_200).send, [ip(7)]);
        assert_eq!(stock.silent(300_200).len(), 1, "it still counts");
        assert!(stock.silent(601_000).is_empty());
    }
}
