//! Which pools and subnets fill up: when their fullness crosses its threshold, up or down.
//!
//! Promises: pure; each crossing is reported once; after an upward crossing a subject counts as full until it is well
//! below (ten points, or half of a small threshold), so one lease cannot cause another report. Forgets deleted subjects.

use std::collections::BTreeMap;

use crate::plan::settings::Millis;
use crate::view::Fullness;

/// A family of a pool, or a subnet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The address space of a pool in one family.
    Pool {
        /// Its name.
        pool: String,
        /// `v4` or `v6`.
        family: String,
    },
    /// The addresses of a subnet.
    Subnet {
        /// Its pool, or an empty string.
        pool: String,
        /// Its address space.
        space: String,
        /// Its prefix.
        subnet: String,
    },
}

/// How full something is, and its threshold.
#[derive(Clone, Debug)]
pub struct Level {
    pub subject: Subject,
    /// How full it is.
    pub full: Fullness,
    /// The threshold in percent; `None` = never warn.
    pub warn_at: Option<u8>,
}

/// Something that is filling up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filling {
    /// How full it was at the last check, in percent.
    pub percent: u8,
    /// The threshold.
    pub warn_at: u8,
    /// When it was first seen above the threshold.
    pub since: Millis,
}

/// A threshold that was just crossed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    pub subject: Subject,
    /// How full it is, in percent.
    pub percent: u8,
    /// The threshold in percent.
    pub warn_at: u8,
    /// Whether it rose to the threshold; otherwise it fell well below it.
    pub up: bool,
}

/// Everything that is filling up now.
pub type Fillings = BTreeMap<Subject, Filling>;

/// Below this percentage it no longer counts as full.
const fn relief(warn_at: u8) -> u8 {
    if warn_at > 20 { warn_at - 10 } else { warn_at / 2 }
}

/// Updates `known` from these levels; returns the crossings.
pub fn judge(known: &mut Fillings, levels: &[Level], now: Millis) -> Vec<Crossing> {
    let mut crossings = Vec::new();
    let mut filling = Fillings::new();
    for Level { subject, full, warn_at } in levels {
        let (percent, before) = (full.percent(), known.get(subject));
        let Some(warn_at) = *warn_at else { continue };
        let up = percent >= warn_at || (before.is_some() && percent > 0 && percent >= relief(warn_at));
        if up != before.is_some() {
            crossings.push(Crossing { subject: subject.clone(), percent, warn_at, up });
        }
        if up {
            let since = before.map_or(now, |before| before.since);
            filling.insert(subject.clone(), Filling { percent, warn_at, since });
        }
    }
    *known = filling;
    crossings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(share: f64, warn_at: Option<u8>) -> Vec<Level> {
        let subject = Subject::Pool { pool: "lan".to_owned(), family: "v4".to_owned() };
        vec![Level { subject, full: Fullness(share), warn_at }]
    }

    #[test]
    fn a_crossing_is_an_event_once_and_is_taken_back_only_well_below() {
        let mut known = Fillings::new();
        let mut look = |share: f64| {
            judge(&mut known, &at(share, Some(80)), 7)
                .iter()
                .map(|it| (it.up, it.percent))
                .collect::<Vec<_>>()
        };
        assert_eq!(look(0.799), []);
        assert_eq!(look(0.8), [(true, 80)]);
        for share in [0.9, 0.75, 0.81, 0.7] {
            assert_eq!(look(share), [], "{share}");
        }
        assert_eq!(look(0.69), [(false, 69)]);
        assert_eq!(look(0.75), []);
        assert_eq!(look(1.0), [(true, 100)]);
    }

    #[test]
    fn a_small_share_can_be_taken_back_too() {
        let mut known = Fillings::new();
        assert_eq!(judge(&mut known, &at(0.01, Some(1)), 0).len(), 1);
        assert_eq!(judge(&mut known, &at(0.0, Some(1)), 0).len(), 1);
        assert_eq!(judge(&mut known, &at(0.25, Some(20)), 0).len(), 1);
        assert_eq!(judge(&mut known, &at(0.1, Some(20)), 0).len(), 0);
        assert_eq!(judge(&mut known, &at(0.09, Some(20)), 0).len(), 1);
    }

    #[test]
    fn what_is_off_or_gone_says_nothing() {
        let mut known = Fillings::new();
        assert_eq!(judge(&mut known, &at(1.0, None), 0), []);
        assert_eq!(judge(&mut known, &at(1.0, Some(80)), 3).len(), 1);
        assert_eq!(known.values().next().map(|it| it.since), Some(3));
        assert_eq!(judge(&mut known, &[], 5), []);
        assert!(known.is_empty());
    }
}
