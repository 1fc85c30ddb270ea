//! Each rule of the protocol is left out once, and the simulator must notice it.

use gipam::claims::machine::mutants::Mutant;

use crate::world::Script;
use crate::{ANNOUNCED, BOOKS_BACK, SILENT, histories, long};

/// How many seeds a mutant may survive.
const PATIENCE: u64 = 2_000;

/// How many of these seeds notice a mutant, in the kind of history that notices it best.
fn noticed(mutant: Mutant, seeds: std::ops::Range<u64>) -> (usize, u64, String) {
    let scripts = [BOOKS_BACK, ANNOUNCED];
    let runs = scripts.map(|script| histories(seeds.clone(), Script { mutant: Some(mutant), ..script }).1);
    let best = runs.into_iter().max_by_key(Vec::len).unwrap();
    let (seed, text) = best.first().cloned().unwrap_or_default();
    (best.len(), seed, text)
}

/// The mutants that are noticed in few seeds; all of them with `GIPAM_LONG` set.
#[test]
fn every_rule_is_needed() {
    let often = [Mutant::DeleteBeforeLeaving, Mutant::BlindPut, Mutant::UseBeforeBooks];
    let mutants = if long() { Mutant::ALL.to_vec() } else { often.to_vec() };
    let mut survivors = Vec::new();
    for mutant in mutants.into_iter().filter(|mutant| *mutant != Mutant::NoLookForRestored) {
        let few = if long() { 200 } else { 20 };
        let (mut count, mut seed, mut text) = noticed(mutant, 0..few);
        if count > 0 {
            println!("{mutant:?}: {count} of {few} seeds, {seed}: {text}");
            continue;
        }
        let more: Vec<u64> = (few..PATIENCE).step_by(500).collect();
        for from in more {
            (count, seed, text) = noticed(mutant, from..(from + 500).min(PATIENCE));
            if count > 0 {
                break;
            }
        }
        if count == 0 {
            println!("{mutant:?}: not noticed by {PATIENCE} seeds");
            survivors.push(mutant);
        } else {
            println!("{mutant:?}: first noticed by seed {seed} ({count} in its 500): {text}");
        }
    }
    assert!(survivors.is_empty(), "{survivors:?} survived {PATIENCE} seeds");
}

/// Histories with silent restores are sometimes bad anyway; without the check for a restored store, far more
/// of them are bad.
#[test]
fn hosts_must_check_for_a_restored_store() {
    let seeds = 0..if long() { 1_000 } else { 30 };
    let bad = |mutant| histories(seeds.clone(), Script { mutant, ..SILENT }).1.len();
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
