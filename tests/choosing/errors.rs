//! Every refusal: its well-known phrase, its class, its status, and its complete text.
//!
//! The phrases are those of libnetwork's ipamapi; the classes decide HTTP status and exit code.

use std::collections::BTreeMap;

use gipam::plan::change::{Marks, SubnetState};
use gipam::plan::error::{ErrorKind, Refusal};
use gipam::plan::request::Space;

use crate::desk::{ip, prefix};

/// Refusal, text, class, status.
fn all() -> Vec<(Refusal, &'static str, ErrorKind, u16)> {
    use ErrorKind::{Exhausted, Invalid, Missing, Taken, TooEarly};
    let text = "TEXT";
    vec![
        (Refusal::invalid_space(text), "invalid address space: TEXT", Invalid, 400),
        (Refusal::invalid_pool(text), "invalid address pool: TEXT", Invalid, 400),
        (Refusal::invalid_sub_pool(text), "invalid address sub-pool: TEXT", Invalid, 400),
        (Refusal::invalid_request(text), "invalid request: TEXT", Invalid, 400),
        (
            Refusal::out_of_range(ip("192.0.2.1"), "is outside"),
            "requested address is out of range: 192.0.2.1 is outside",
            Invalid,
            400,
        ),
        (
            Refusal::outside(ip("192.0.2.1"), prefix("192.0.2.4/30")),
            "requested address is out of range: 192.0.2.1 is outside 192.0.2.4/30; choose an address of that subnet",
            Invalid,
            400,
        ),
        (
            Refusal::pool_not_found("a\"b"),
            "address pool not found: no subnet is granted under PoolID \"a\\\"b\"; if its network still exists, gipam gc shows how to adopt it, or recreate the network",
            Missing,
            400,
        ),
        (Refusal::not_found(text), "address pool not found: TEXT", Missing, 400),
        (Refusal::out_of_date(text), "not now: TEXT", TooEarly, 503),
        (
            Refusal::pool_overlap(
                prefix("192.0.2.0/25"),
                &held(),
                "to network web",
                "use another subnet, or free it with: docker network rm web",
            ),
            "pool overlaps with other one on this address space: 192.0.2.0/25 overlaps 192.0.2.0/24, granted to network web in space global since 2027-01-15T08:00:00Z; use another subnet, or free it with: docker network rm web",
            Taken,
            403,
        ),
        (
            Refusal::overlap_pool(text),
            "address pool overlaps with existing pool on this address space: TEXT",
            Taken,
            403,
        ),
        (
            Refusal::in_use(ip("10.9.0.7"), "web", "free it with: docker rm -f web"),
            "address already in use: 10.9.0.7 is held by web; free it with: docker rm -f web",
            Taken,
            403,
        ),
        (
            Refusal::pinned(ip("10.9.0.7"), "web"),
            "address already in use: 10.9.0.7 is pinned to web; remove the pin with: gipam unpin 10.9.0.7",
            Taken,
            403,
        ),
        (Refusal::no_available_pool(text), "no available pool: TEXT", Exhausted, 503),
        (Refusal::no_available_addresses(text), "no available addresses on this pool: TEXT", Exhausted, 503),
    ]
}

fn held() -> SubnetState {
    SubnetState {
        serial: 1,
        id: String::new(),
        space: Space::Global,
        prefix: prefix("192.0.2.0/24"),
        range: None,
        pool: None,
        options: BTreeMap::new(),
        dynamic: false,
        granted_at: 1_800_000_000_000,
        generation: 1,
        start_beyond: None,
        marks: Marks::default(),
        released_at: None,
        cool_until: 0,
    }
}

#[test]
fn every_refusal_word_by_word_with_its_class_and_status() {
    for (error, text, kind, status) in all() {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind, kind, "{error}");
        assert_eq!(error.kind.status(), status, "{error}");
    }
}

#[test]
fn every_refusal_is_in_this_table() {
    let source = include_str!("../../src/plan/error.rs");
    let refusals = source.matches("    pub fn ").count() - source.matches("    pub fn new(").count();
    let kinds = source.matches("    pub fn named(").count();
    assert_eq!(refusals - kinds, all().len());
}
