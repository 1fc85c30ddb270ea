//! Two address spaces (P24, P27): separate tables, repeated requests in `global`, dynamic choice that avoids
//! both.
//!
//! Rules R19 and R27.

use crate::desk::*;

#[test]
fn p24_the_same_subnet_and_addresses_may_be_held_in_both_spaces() {
    let mut desk = Desk::new(lan());
    let global = desk.subnet(any(V4).global());
    let local = desk.subnet(exact("10.0.0.0/24"));
    assert_ne!(global, local);
    for id in [&global, &local] {
        assert_eq!(desk.gave(number(id, "10.0.0.9")), "10.0.0.9/24");
    }
    desk.release(&global);
    assert!(desk.plan.held(&local).is_some());
}

#[test]
fn dynamic_choice_avoids_subnets_held_or_cooling_in_the_other_space() {
    let mut desk = Desk::new(lan());
    let global = desk.subnet(any(V4).global());
    assert_eq!(desk.said(any(V4)), "10.0.1.0/24");
    desk.release(&global);
    assert_eq!(desk.said(any(V4)), "10.0.2.0/24", "the released subnet is still cooling");
    desk.pass(MINUTE);
    assert_eq!(desk.said(any(V4)), "10.0.0.0/24");
}

#[test]
fn p27_explicit_repeats_in_global_succeed_with_the_same_answer() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact("10.0.0.0/24").global());
    assert_eq!(desk.subnet(exact("10.0.0.0/24").global()), id);
    assert!(desk.warnings.is_empty());
    assert_eq!(desk.gave(gateway(&id)), "10.0.0.1/24");
    for request in [number(&id, "10.0.0.1"), number(&id, "10.0.0.9"), number(&id, "10.0.0.9")] {
        let expected = format!("{}/24", request.address.unwrap());
        assert_eq!(desk.gave(request), expected);
    }
    desk.free(&id, "10.0.0.9");
    assert!(!desk.record(&id, "10.0.0.9").unwrap().leased, "the repeated request did not add a lease");
}

#[test]
fn repeats_with_other_options_get_the_same_subnet_and_a_warning() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact("10.0.0.0/24").global());
    assert_eq!(desk.subnet(exact("10.0.0.0/24").global().option("site", "paris")), id);
    assert_eq!(desk.warnings.len(), 1);
    assert_eq!(desk.subnet(exact("10.0.0.0/24").global().range("10.0.0.128/25")), id);
    assert_eq!(desk.warnings.len(), 1);
}

#[test]
fn an_overlap_that_is_not_a_repeat_is_refused_in_global_too() {
    let mut desk = Desk::new(lan());
    desk.subnet(exact("10.0.0.0/24").global());
    assert!(
        desk.said(exact("10.0.0.0/25").global())
            .starts_with("pool overlaps with other one on this address space")
    );
}
