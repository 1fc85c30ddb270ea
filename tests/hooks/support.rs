//! A daemon with hooks that record what they receive.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use super::daemon::{Daemon, House, until};
use super::http::Wire;

/// The pools of these tests.
pub const POOLS: &str = "[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\n\
    v4 = { base = \"198.51.100.0/24\", size = 28 }\nv6 = { base = \"2001:db8:77::/48\", size = 64 }\n";

/// A house with these pools, followed by `toml`.
pub fn house(toml: &str) -> House {
    House::with_toml(&(POOLS.to_owned() + toml))
}

/// Writes a program.
pub fn script(house: &House, name: &str, text: &str) -> PathBuf {
    let path = house.path(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A `[[hook]]` that runs `./hook.sh`.
pub const HOOK: &str = "[[hook]]\nname = \"test\"\ncommand = [\"./hook.sh\"]\n";

/// A program that appends each event to the file `delivered` in its own directory.
pub const WRITES: &str = "cat >>\"${0%/*}/delivered\"";

/// The events delivered so far, without a line that is still being written.
pub fn delivered(house: &House) -> Vec<Value> {
    let text = fs::read_to_string(house.path("delivered")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The kind of each event.
pub fn events(delivered: &[Value]) -> Vec<&str> {
    delivered.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

/// The number of each event.
pub fn ids(delivered: &[Value]) -> Vec<u64> {
    delivered.iter().map(|event| event["id"].as_u64().unwrap()).collect()
}

/// Waits until this many events were delivered.
pub fn until_delivered(house: &House, count: usize) -> Vec<Value> {
    until(&format!("{count} events; the log says: {}", house.log()), || {
        Some(delivered(house)).filter(|delivered| delivered.len() >= count)
    })
}

/// A subnet with this many leases.
pub fn leases(wire: &mut Wire, count: usize) -> (String, Vec<String>) {
    let (id, _) = wire.subnet(false);
    let addresses = (0..count).map(|_| wire.address(&id, "", Value::Null)).collect();
    (id, addresses)
}

/// What `gipam status` shows for the only hook.
pub fn hook(daemon: &Daemon) -> Value {
    daemon.view("/v1/status")["hooks"][0].clone()
}
