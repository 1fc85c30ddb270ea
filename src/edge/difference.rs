//! What must change so that the kernel has exactly the wanted objects of one kind.
//!
//! Promises: pure; an object that is already as wanted stays, and of several equal ones exactly one. Objects of others do not get
//! here: the function that reads the kernel leaves them out.

use std::collections::BTreeSet;

/// An object in the kernel that belongs to gipam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelObject<W> {
    /// The wanted object that it is; `None` if gipam never makes one exactly like it.
    pub is: Option<W>,
    /// The kernel's own description of it, by which it can be removed.
    pub raw: Vec<u8>,
}

/// The steps that make the kernel's set equal to the wanted one.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference<W> {
    /// The descriptions of the objects to remove, which is to be done first.
    pub surplus: Vec<Vec<u8>>,
    /// The objects to add.
    pub lacking: Vec<W>,
}

/// Compares the wanted objects with those in the kernel.
pub fn difference<W: Ord + Clone>(
    wanted: impl IntoIterator<Item = W>,
    found: Vec<KernelObject<W>>,
) -> Difference<W> {
    let mut lacking: BTreeSet<W> = wanted.into_iter().collect();
    let mut surplus = Vec::new();
    for object in found {
        if !object.is.is_some_and(|is| lacking.remove(&is)) {
            surplus.push(object.raw);
        }
    }
    Difference { surplus, lacking: lacking.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(is: Option<u8>, raw: u8) -> KernelObject<u8> {
        KernelObject { is, raw: vec![raw] }
    }

    #[test]
    fn what_is_as_wanted_stays_once_and_everything_else_goes() {
        let found = vec![object(Some(1), 10), object(Some(2), 20), object(Some(2), 21), object(None, 30)];
        let steps = difference([2, 3], found);
        assert_eq!(steps, Difference { surplus: vec![vec![10], vec![21], vec![30]], lacking: vec![3] });
    }

    #[test]
    fn equal_sets_need_no_step() {
        let steps = difference([1, 2], vec![object(Some(2), 20), object(Some(1), 10)]);
        assert_eq!(steps, Difference { surplus: vec![], lacking: vec![] });
    }

    #[test]
    fn an_empty_wanted_set_removes_everything() {
        let steps = difference([], vec![object(Some(1), 10), object(None, 20)]);
        assert_eq!(steps, Difference { surplus: vec![vec![10], vec![20]], lacking: vec![] });
    }
}
