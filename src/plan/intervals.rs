//! A set of numbers, stored as disjoint, coalesced intervals: used for addresses that are taken.
//!
//! Promises: O(log n) in the number of intervals; neighbours merge; no overflow at `u128::MAX`. Does not interpret the numbers.

use std::collections::BTreeMap;

/// Disjoint inclusive intervals, never adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals {
    by_first: BTreeMap<u128, u128>,
}

/// A set that no longer changes, without spare capacity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed(Box<[(u128, u128)]>);

impl Fixed {
    pub fn contains(&self, number: u128) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| number <= *last)
    }
}

impl From<Intervals> for Fixed {
    fn from(set: Intervals) -> Self {
        Self(set.by_first.into_iter().collect())
    }
}

impl From<&Fixed> for Intervals {
    fn from(set: &Fixed) -> Self {
        Self { by_first: set.0.iter().copied().collect() }
    }
}

impl Intervals {
    /// The interval that contains the number, if any.
    pub fn around(&self, number: u128) -> Option<(u128, u128)> {
        let (&first, &last) = self.by_first.range(..=number).next_back()?;
        (number <= last).then_some((first, last))
    }

    pub fn contains(&self, number: u128) -> bool {
        self.around(number).is_some()
    }

    /// Whether one interval contains all of `first..=last`.
    pub fn covers(&self, first: u128, last: u128) -> bool {
        self.around(first).is_some_and(|(_, end)| last <= end)
    }

    /// Adds all of `first..=last`.
    pub fn insert(&mut self, first: u128, mut last: u128) {
        let reach = last.saturating_add(1);
        // Find the last interval that begins before the end or directly after it. One that begins after `first` is absorbed.
        while let Some((&start, end)) = self.by_first.range_mut(..=reach).next_back() {
            if start <= first {
                if end.saturating_add(1) < first {
                    break;
                }
                // One that reaches `first` is extended: with dynamic choice, this is usually the first step.
                *end = last.max(*end);
                return;
            }
            last = last.max(*end);
            self.by_first.remove(&start);
        }
        self.by_first.insert(first, last);
    }

    /// Removes one number.
    pub fn remove(&mut self, number: u128) {
        let Some((first, last)) = self.around(number) else { return };
        self.by_first.remove(&first);
        if first < number {
            self.by_first.insert(first, number - 1);
        }
        if number < last {
            self.by_first.insert(number + 1, last);
        }
    }

    /// Removes all of `first..=last`.
    pub fn cut(&mut self, first: u128, last: u128) {
        loop {
            let Some((start, end)) = self.overlapping(first, last).next() else { return };
            self.by_first.remove(&start);
            if start < first {
                self.by_first.insert(start, first - 1);
            }
            if last < end {
                self.by_first.insert(last + 1, end);
            }
        }
    }

    /// The lowest number in `first..=last` that is not in the set.
    pub fn first_absent(&self, first: u128, last: u128) -> Option<u128> {
        if first > last {
            return None;
        }
        match self.around(first) {
            None => Some(first),
            Some((_, end)) => end.checked_add(1).filter(|next| *next <= last),
        }
    }

    /// All intervals that share a number with `first..=last`, in order.
    pub fn overlapping(&self, first: u128, last: u128) -> impl Iterator<Item = (u128, u128)> + '_ {
        let start = self.around(first).map_or(first, |(start, _)| start);
        self.by_first.range(start..=last.max(start)).map(|(&a, &b)| (a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_merge_and_split_again() {
        let mut set = Intervals::default();
        set.insert(1, 1);
        set.insert(3, 3);
        set.insert(2, 2);
        assert_eq!(set.around(1), Some((1, 3)));
        set.remove(2);
        assert_eq!((set.around(1), set.around(2), set.around(3)), (Some((1, 1)), None, Some((3, 3))));
    }

    #[test]
    fn the_last_number_behaves_like_any_other() {
        let mut set = Intervals::default();
        set.insert(u128::MAX - 1, u128::MAX);
        set.insert(u128::MAX, u128::MAX);
        assert_eq!(set.first_absent(u128::MAX - 1, u128::MAX), None);
        set.remove(u128::MAX);
        assert_eq!(set.first_absent(u128::MAX - 1, u128::MAX), Some(u128::MAX));
    }

    proptest! {
        #[test]
        fn intervals_behave_as_a_plain_set(ops in prop::collection::vec((any::<bool>(), 0u128..40, 0u128..6), 1..80)) {
            let (mut set, mut model) = (Intervals::default(), BTreeSet::new());
            for (add, first, more) in ops {
                if add {
                    set.insert(first, first + more);
                    model.extend(first..=first + more);
                } else {
                    match more {
                        0 => set.remove(first),
                        _ => set.cut(first, first + more),
                    }
                    model.retain(|number| *number < first || first + more < *number);
                }
                for number in 0..50 {
                    prop_assert_eq!(set.contains(number), model.contains(&number));
                    prop_assert_eq!(Fixed::from(set.clone()).contains(number), model.contains(&number));
                }
                prop_assert_eq!(&Intervals::from(&Fixed::from(set.clone())), &set);
                prop_assert_eq!(set.first_absent(5, 45), (5..=45).find(|n| !model.contains(n)));
                let covered: BTreeSet<u128> = set.overlapping(0, 60).flat_map(|(a, b)| a..=b).collect();
                prop_assert_eq!(&covered, &model);
            }
        }
    }
}
