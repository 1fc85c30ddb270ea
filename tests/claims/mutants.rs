//! Each rule of the protocol and of the host around it is left out once, and the simulator must notice it.

use gipam::claims::machine::mutants::Mutant;

use crate::world::Script;
use crate::{ANNOUNCED, BOOKS_BACK, SILENT, histories, long};

/// A rule of the host around the machine that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Docker and the machine get their answers before the books are committed.
    AnswersBeforeCommit,
    /// The plan gives up a slice in which something is.
    GivesBackInUse,
    /// The machine does not hear of a want.
    ForgetsWants,
}

/// What is wrong with the hosts of a history.
#[derive(Clone, Copy, Debug)]
pub struct Faulty {
    pub mutant: Option<Mutant>,
    pub broken: Option<Broken>,
}

impl Broken {
    const ALL: [Self; 3] = [Self::AnswersBeforeCommit, Self::GivesBackInUse, Self::ForgetsWants];
}

pub const NONE: Faulty = Faulty { mutant: None, broken: None };

/// How many seeds a mutant may survive.
const PATIENCE: u64 = 2_000;

/// How many of these seeds notice that a rule is left out, in the kind of history that notices it best.
fn noticed(faulty: Faulty, seeds: std::ops::Range<u64>) -> (usize, u64, String) {
    let scripts = [BOOKS_BACK, ANNOUNCED];
    let runs = scripts.map(|script| histories(seeds.clone(), Script { faulty, ..script }).1);
    let best = runs.into_iter().max_by_key(Vec::len).unwrap();
    let (seed, text) = best.first().cloned().unwrap_or_default();
    (best.len(), seed, text)
}

/// Whether the histories notice that a rule is left out.
fn is_noticed(name: &str, faulty: Faulty) -> bool {
    let few = if long() { 200 } else { 20 };
    let (count, seed, text) = noticed(faulty, 0..few);
    if count > 0 {
        println!("{name}: {count} of {few} seeds, {seed}: {text}");
        return true;
    }
    for from in (few..PATIENCE).step_by(500) {
        let (count, seed, text) = noticed(faulty, from..(from + 500).min(PATIENCE));
        if count > 0 {
            println!("{name}: first noticed by seed {seed} ({count} in its 500): {text}");
            return true;
        }
    }
    println!("{name}: not noticed by {PATIENCE} seeds");
    false
}

/// The rules whose absence is noticed in few seeds; all of them with `GIPAM_LONG` set.
#[test]
fn every_rule_is_needed() {
    let often = [Mutant::DeleteBeforeLeaving, Mutant::BlindPut, Mutant::BooksBeforeStore];
    let mutants = if long() { Mutant::ALL.to_vec() } else { often.to_vec() };
    // Histories with silent restores notice that one; see below.
    let mutants = mutants.into_iter().filter(|mutant| *mutant != Mutant::NoLookForRestored);
    let mut all: Vec<(String, Faulty)> =
        mutants.map(|it| (format!("{it:?}"), Faulty { mutant: Some(it), ..NONE })).collect();
    all.extend(Broken::ALL.map(|it| (format!("{it:?}"), Faulty { broken: Some(it), ..NONE })));
    let survivors: Vec<_> = all.iter().filter(|(name, faulty)| !is_noticed(name, *faulty)).collect();
    assert!(survivors.is_empty(), "{survivors:?} survived {PATIENCE} seeds");
}

/// Histories with silent restores are sometimes bad anyway; without the check for a restored store, far more
/// of them are bad.
#[test]
fn hosts_must_check_for_a_restored_store() {
    let seeds = 0..if long() { 1_000 } else { 30 };
    let bad =
        |mutant| histories(seeds.clone(), Script { faulty: Faulty { mutant, ..NONE }, ..SILENT }).1.len();
    let (with, without) = (bad(None), bad(Some(Mutant::NoLookForRestored)));
    println!("NoLookForRestored: {without} of {} seeds; {with} without it", seeds.end);
    assert!(without > 3 * with && without > 2);
}

/// `gipam` itself must not leave out a rule.
#[test]
fn mutants_are_set_only_in_tests() {
    fn sources(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = Vec::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.iter().any(|text| text.contains("fn mutate(")));
    assert!(!found.iter().any(|text| text.contains(".mutate(")));
}
