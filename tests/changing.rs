//! Changes that a person makes to a running daemon, through the command line and the real sockets:
//! reservations, pins and pools.
//!
//! Checks: *durable* (a restart, a `kill -9` or a reload does not lose any change), *repeatable*, and that a
//! refusal changes nothing and says what to do.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "changing/disk.rs"]
mod disk;
#[path = "support/http.rs"]
mod http;
#[path = "changing/pins.rs"]
mod pins;
#[path = "changing/pools.rs"]
mod pools;
#[path = "changing/reservations.rs"]
mod reservations;

use daemon::House;
use serde_json::{Value, json};

/// Small pools of both families as flags.
pub const SMALL: [&str; 8] =
    ["-v4", "198.51.100.0/24", "-v4ab", "28", "-v6", "2001:db8:77::/48", "-v6ab", "64"];

/// Makes a change that must succeed; returns its output.
pub fn change(house: &House, arguments: &[&str]) -> Value {
    house.json(arguments)
}

/// Runs a command that must be refused with this exit code and these words, and must not change anything.
pub fn refused(house: &House, arguments: &[&str], code: i32, words: &[&str]) {
    let views = || ["reserve", "pools", "leases"].map(|view| house.json(&[view]));
    let before = views();
    let output = house.gipam(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{arguments:?} does not say {word:?}: {text}");
    }
    assert_eq!(views(), before, "{arguments:?} was refused and changed something");
}

/// Requests an address for an endpoint of this name.
pub fn lease(wire: &mut http::Wire, id: &str, name: &str) -> String {
    let options = json!({"com.docker.network.endpoint.name": name});
    let address = wire.address(id, "", options);
    address.split('/').next().unwrap().to_owned()
}
