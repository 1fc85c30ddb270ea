//! Every refusal: its well-known phrase, its class, its status, and the complete text that a person reads.
//!
//! The phrases are those of libnetwork's ipamapi; the classes decide HTTP status and exit code.

use gipam::plan::error::{ErrorKind, PlanError};
use gipam::plan::request::Space;

use crate::desk::{ip, prefix};

/// Error, text, class, status.
fn all() -> Vec<(PlanError, &'static str, ErrorKind, u16)> {
    use ErrorKind::{Exhausted, Failed, Invalid, Missing, Taken, TooEarly};
    let text = || "TEXT".to_owned();
    vec![
        (PlanError::Internal(text()), "IPAM internal error: TEXT", Failed, 500),
        (PlanError::InvalidAddressSpace(text()), "invalid address space: TEXT", Invalid, 400),
        (PlanError::InvalidPool(text()), "invalid address pool: TEXT", Invalid, 400),
        (PlanError::InvalidSubPool(text()), "invalid address sub-pool: TEXT", Invalid, 400),
        (PlanError::InvalidRequest(text()), "invalid request: TEXT", Invalid, 400),
        (
            PlanError::PoolNotFound("a\"b".into()),
            "address pool not found: no subnet is granted under PoolID \"a\\\"b\"; if its network still exists, gipam gc shows how to adopt it, or recreate the network",
            Missing,
            400,
        ),
        (PlanError::NotFound(text()), "address pool not found: TEXT", Missing, 400),
        (PlanError::OutOfDate(text()), "not now: TEXT", TooEarly, 503),
        (
            PlanError::OutOfRange { address: ip("192.0.2.1"), why: "is outside".into() },
            "requested address is out of range: 192.0.2.1 is outside",
            Invalid,
            400,
        ),
        (
            PlanError::PoolOverlap {
                asked: prefix("192.0.2.0/25"),
                existing: prefix("192.0.2.0/24"),
                space: Space::Global,
                since: "2027-01-15T08:00:00Z".into(),
                holder: "to network web".into(),
                remedy: "use another subnet, or free it with: docker network rm web".into(),
            },
            "pool overlaps with other one on this address space: 192.0.2.0/25 overlaps 192.0.2.0/24, granted to network web in space global since 2027-01-15T08:00:00Z; use another subnet, or free it with: docker network rm web",
            Taken,
            403,
        ),
        (
            PlanError::OverlapPool(text()),
            "address pool overlaps with existing pool on this address space: TEXT",
            Taken,
            403,
        ),
        (
            PlanError::AddressInUse {
                address: ip("10.9.0.7"),
                holder: "web".into(),
                remedy: "free it with: docker rm -f web".into(),
            },
            "address already in use: 10.9.0.7 is held by web; free it with: docker rm -f web",
            Taken,
            403,
        ),
        (
            PlanError::Pinned { address: ip("10.9.0.7"), holder: "web".into() },
            "address already in use: 10.9.0.7 is pinned to web; remove the pin with: gipam unpin 10.9.0.7",
            Taken,
            403,
        ),
        (PlanError::NoAvailablePool(text()), "no available pool: TEXT", Exhausted, 503),
        (
            PlanError::NoAvailableAddresses(text()),
            "no available addresses on this pool: TEXT",
            Exhausted,
            503,
        ),
    ]
}

#[test]
fn every_refusal_word_by_word_with_its_class_and_status() {
    for (error, text, kind, status) in all() {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.kind().status(), status, "{error}");
    }
}

#[test]
fn no_refusal_is_left_out_here() {
    let source = include_str!("../../src/plan/error.rs");
    let body = source.split("pub enum PlanError {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let variants =
        body.lines().filter(|line| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase));
    assert_eq!(variants.count(), all().len());
}
