//! The storm guard: Docker endlessly repeats requests for subnets that it will never accept (P12).
//!
//! Rule R21.

use gipam::plan::request::InUseKind::{Nameserver, OnLinkV4Route};
use gipam::plan::settings::Settings;

use crate::desk::*;

fn desk(limit: u32) -> Desk {
    Desk::new(Settings { storm_limit: limit, ..lan() })
}

#[test]
fn p12_the_storm_ends_with_an_error_that_says_what_was_seen() {
    let mut desk = Desk::new(lan());
    for _ in 0..64 {
        desk.subnet(any(V4));
    }
    let seen = any(V4).seeing(OnLinkV4Route, &["10.9.0.0/22"]).seeing(Nameserver, &["10.0.0.53/32"]);
    assert_eq!(
        desk.said(seen),
        "no available pool: Docker keeps refusing what is offered: 64 IPv4 subnets were granted within a minute and no \
         address was ever requested from them; look for a pool that overlaps an on-link route or a nameserver of the Docker host: \
         10.9.0.0/22 dev eth0, 10.0.0.53/32 dev eth0"
    );
    assert!(desk.said(any(V4)).ends_with(": none seen"));
}

#[test]
fn a_storm_counts_one_family_space_and_set_of_options() {
    let mut desk = desk(2);
    desk.subnet(any(V4));
    desk.subnet(any(V4));
    for other in [any(V6), any(V4).global(), any(V4).option("com.docker.x", "1"), exact("192.0.2.0/24")] {
        desk.subnet(other);
    }
    assert!(desk.said(any(V4)).contains("Docker keeps refusing"));
}

#[test]
fn subnets_are_not_a_storm_if_one_was_used_or_released_or_is_old() {
    for calm in 0..3 {
        let mut desk = desk(2);
        let first = desk.subnet(any(V4));
        desk.subnet(any(V4));
        match calm {
            0 => drop(desk.gave(gateway(&first))),
            1 => desk.release(&first),
            _ => desk.pass(MINUTE + 1),
        }
        desk.subnet(any(V4));
    }
}

#[test]
fn a_limit_of_0_turns_the_guard_off() {
    let mut desk = desk(0);
    for _ in 0..200 {
        desk.subnet(any(V4));
    }
}

#[test]
fn subnets_of_a_storm_do_not_cool() {
    let mut desk = desk(2);
    let ids = [desk.subnet(any(V4)), desk.subnet(any(V4))];
    desk.said(any(V4));
    for id in &ids {
        desk.release(id);
    }
    assert_eq!(desk.said(any(V4)), "10.0.0.0/24");
}

#[test]
fn a_subnet_that_is_used_after_all_cools_again() {
    let mut desk = desk(2);
    let ids = [desk.subnet(any(V4)), desk.subnet(any(V4))];
    desk.said(any(V4));
    desk.gave(named(&ids[0], "web"));
    desk.release(&ids[0]);
    assert_eq!(desk.said(any(V4)), "10.0.2.0/24");
}

#[test]
fn a_continuing_storm_writes_its_marks_once() {
    let mut desk = desk(2);
    desk.subnet(any(V4));
    desk.subnet(any(V4));
    let request = gipam::plan::request::Request::Subnet(any(V4));
    assert_eq!(desk.decide(&request).changes.len(), 2);
    desk.said(any(V4));
    assert_eq!(desk.decide(&request).changes.len(), 0);
}

/// A request as a script or a person makes it, a while after the previous one.
fn unhurried() -> gipam::plan::request::SubnetRequest {
    gipam::plan::request::SubnetRequest { in_a_row: 0, ..any(V4) }
}

#[test]
fn networks_without_a_gateway_are_not_a_storm_if_they_come_one_by_one() {
    // Engine 29 does not request a gateway for macvlan, ipvlan and isolated bridges (P30).
    let mut desk = Desk::new(pools(&[pool("lan", "10.0.0.0/8:24", "")]));
    for _ in 0..500 {
        desk.subnet(unhurried());
        desk.pass(100);
    }
    assert!(desk.said(any(V4)).contains("Docker keeps refusing"), "a loop among them is recognized");
    desk.subnet(unhurried());
}

#[test]
fn a_storm_that_looks_like_a_script_ends_too() {
    let mut desk = Desk::new(Settings { storm_limit: 4, ..pools(&[pool("lan", "10.0.0.0/8:24", "")]) });
    for _ in 0..64 {
        desk.subnet(unhurried());
    }
    assert!(desk.said(unhurried()).contains("Docker keeps refusing"));
    desk.pass(MINUTE + 1);
    desk.subnet(unhurried());
}

#[test]
fn the_marks_of_a_storm_are_on_its_own_subnets() {
    let mut desk = desk(2);
    let own = desk.subnet(unhurried());
    desk.pass(1_000);
    let row = |in_a_row| gipam::plan::request::SubnetRequest { in_a_row, ..any(V4) };
    let loops = [desk.subnet(row(0)), desk.subnet(row(1))];
    assert!(desk.said(row(2)).contains("Docker keeps refusing"));
    let stormed = |id: &str| desk.plan.held(id).unwrap().state.marks.stormed;
    assert_eq!([stormed(&own), stormed(&loops[0]), stormed(&loops[1])], [false, true, true]);
}
