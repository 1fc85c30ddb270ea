//! Detects when the fullness of a pool or subnet crosses its threshold, up or down.
//!
//! Promises: pure; each crossing is reported once; after an upward crossing a subject counts as full until it
//! is well below (ten points, or half of a small threshold), so one lease cannot cause another report.
//! Forgets deleted subjects.

use std::collections::BTreeMap;

use crate::plan::settings::{Millis, rfc3339};
use crate::view::rows::FillingRow;

/// A family of a pool, or a subnet: whether it is a subnet, pool, family, space, subnet. Pools come first.
type Subject = (bool, Option<String>, Option<String>, Option<String>, Option<String>);

/// Everything that is filling up now.
pub type Fillings = BTreeMap<Subject, FillingRow>;

fn subject(row: &FillingRow) -> Subject {
    let FillingRow { pool, family, subnet, space, .. } = row.clone();
    (subnet.is_some(), pool, family, space, subnet)
}

/// Below this percentage, a subject no longer counts as full.
const fn relief(warn_at: u8) -> u8 {
    if warn_at > 20 { warn_at - 10 } else { warn_at / 2 }
}

/// Updates `known` from these levels, each with its threshold in `warn_at`; returns the subjects that rose to
/// their threshold (true) or fell well below it (false).
pub fn judge(known: &mut Fillings, levels: Vec<FillingRow>, now: Millis) -> Vec<(FillingRow, bool)> {
    let mut crossings = Vec::new();
    let mut filling = Fillings::new();
    for level in levels {
        let (key, percent, warn_at) = (subject(&level), level.percent, level.warn_at);
        let before = known.get(&key);
        let up = percent >= warn_at || (before.is_some() && percent > 0 && percent >= relief(warn_at));
        let since = before.map_or_else(|| Some(rfc3339(now)), |before| before.since.clone());
        let row = FillingRow { since, ..level };
        if up != before.is_some() {
            crossings.push((row.clone(), up));
        }
        if up {
            filling.insert(key, row);
        }
    }
    *known = filling;
    crossings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(percent: u8, warn_at: u8) -> Vec<FillingRow> {
        let (pool, family) = (Some("lan".to_owned()), Some("v4".to_owned()));
        vec![FillingRow { pool, family, subnet: None, space: None, percent, warn_at, since: None }]
    }

    #[test]
    fn a_crossing_is_reported_once_and_ends_only_well_below_the_threshold() {
        let mut known = Fillings::new();
        let mut look = |percent| {
            let crossings = judge(&mut known, at(percent, 80), 7);
            crossings.iter().map(|(row, up)| (*up, row.percent)).collect::<Vec<_>>()
        };
        assert_eq!(look(79), []);
        assert_eq!(look(80), [(true, 80)]);
        for percent in [90, 75, 81, 70] {
            assert_eq!(look(percent), [], "{percent}");
        }
        assert_eq!(look(69), [(false, 69)]);
        assert_eq!(look(75), []);
        assert_eq!(look(100), [(true, 100)]);
    }

    #[test]
    fn a_subject_with_a_small_threshold_can_fall_below_it_again() {
        let mut known = Fillings::new();
        assert_eq!(judge(&mut known, at(1, 1), 0).len(), 1);
        assert_eq!(judge(&mut known, at(0, 1), 0).len(), 1);
        assert_eq!(judge(&mut known, at(25, 20), 0).len(), 1);
        assert_eq!(judge(&mut known, at(10, 20), 0).len(), 0);
        assert_eq!(judge(&mut known, at(9, 20), 0).len(), 1);
    }

    #[test]
    fn a_subject_that_is_no_longer_counted_is_forgotten_without_a_report() {
        let mut known = Fillings::new();
        assert_eq!(judge(&mut known, at(100, 80), 3).len(), 1);
        assert_eq!(known.values().next().map(|it| it.since.clone()), Some(Some(rfc3339(3))));
        assert_eq!(judge(&mut known, Vec::new(), 5), []);
        assert!(known.is_empty());
    }
}
