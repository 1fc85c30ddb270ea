//! `gipam reload`: it prints what changes; neither a dry run nor a mistake changes anything.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use daemon::House;
use serde_json::{Value, json};

const BEFORE: &str = r#"
[gc]
engine = ""
[[pool]]
name = "lan"
v4 = { base = "198.18.0.0/16", size = 24 }
cooling = "10m"
[[pool]]
name = "old"
v4 = { base = "198.51.100.0/24", size = 28 }
[[pool]]
name = "unused"
v4 = { base = "203.0.113.0/24", size = 28 }
"#;

const AFTER: &str = r#"
[gc]
engine = ""
[[pool]]
name = "lan"
v4 = { base = "198.18.0.0/16", size = 26 }
cooling = "1m"
reserved = ["198.18.0.0/24"]
[[pool]]
name = "new"
v6 = { base = "2001:db8:77::/48", size = 64 }
"#;

fn pools(house: &House) -> Vec<(String, u64, bool)> {
    let rows: Vec<Value> = house.json(&["pools"]).as_array().unwrap().clone();
    let row = |row: &Value| {
        (row["pool"].as_str().unwrap().to_owned(), row["size"].as_u64().unwrap(), row["closed"] == true)
    };
    rows.iter().map(row).collect()
}

#[test]
fn a_reload_says_what_changes_and_a_dry_run_changes_nothing() {
    let house = House::with_toml(BEFORE);
    let daemon = house.start();
    let body = json!({"AddressSpace": "local", "Options": {"pool": "old"}}).to_string();
    assert_eq!(daemon.wire().call("IpamDriver.RequestPool", &body).status, 200);
    assert_eq!(house.json(&["reload", "--dry-run"]), json!([]), "the file has not changed");
    let before = pools(&house);
    house.configure(AFTER);
    let expected = json!([
        "pool old was removed from the configuration but still has subnets; it stays closed until they are released",
        "pool lan: 198.18.0.0/16 in /24 becomes 198.18.0.0/16 in /26",
        "pool lan: cooling of addresses: 600 s becomes 60 s",
        "pool new is added: 2001:db8:77::/48 in /64",
        "pool old is closed: it gives no new subnets",
        "pool unused is removed: 203.0.113.0/24 in /28",
        "198.18.0.0-198.18.0.255 is reserved from now on",
    ]);
    assert_eq!(house.json(&["reload", "--dry-run"]), expected);
    assert_eq!(pools(&house), before, "a dry run must not change anything");
    assert_eq!(house.json(&["reload"]), expected);
    let after = [("lan", 26, false), ("new", 64, false), ("old", 28, true)];
    assert_eq!(pools(&house), after.map(|(name, size, closed)| (name.to_owned(), size, closed)));
    let again = house.gipam(&["reload"]);
    let text = String::from_utf8(again.stdout).unwrap();
    assert!(text.contains("pool old was removed from the configuration"), "{text}");
    daemon.stop();
}

/// Settings that take effect only at the next start: until then, each reload lists them as changes.
#[test]
fn settings_that_wait_for_the_next_start_are_listed_at_every_reload() {
    let house = House::with_toml(BEFORE);
    let daemon = house.start();
    let file = "log = \"debug\"\nsocket_mode = \"0660\"\nhistory = 9000\nmax_connections = 99\nrequires_mac_address = false\n";
    let gc = "[gc]\ngrace = \"1h\"\nunknown_subnets = \"free\"\n";
    house.configure(&(file.to_owned() + &BEFORE.replace("[gc]\n", gc)));
    let socket = house.socket();
    let expected = json!([
        "log: info becomes debug at the next start",
        "history: 10000 becomes 9000 at the next start",
        "max_connections: 512 becomes 99 at the next start",
        "requires_mac_address: true becomes false at the next start",
        "socket_mode: 0600 becomes 0660 at the next start",
        "gc.grace: 10m becomes 1h at the next start",
        "gc.unknown_subnets: report becomes free at the next start",
        format!(
            "driver.gipam: all pools at unix://{0} becomes all pools at unix://{0}, without MACs at the next start",
            socket.display()
        ),
    ]);
    for arguments in [&["reload", "--dry-run"][..], &["reload"], &["reload"]] {
        assert_eq!(house.json(arguments), expected);
    }
    daemon.stop();
    let daemon = house.start();
    assert_eq!(house.json(&["reload"]), json!([]));
    daemon.stop();
}

#[test]
fn the_restart_window_is_as_configured_after_a_reload_and_after_restarts() {
    let window = |text: &str| format!("restart_window = \"{text}\"\n{BEFORE}");
    let house = House::with_toml(&window("0"));
    let daemon = house.start();
    let (id, prefix) = daemon.wire().subnet(false);
    let would = || house.json(&["explain", "--pool", &prefix, "--address", "any"])[0]["given"].clone();
    let first = daemon.wire().address(&id, "", Value::Null);
    daemon.wire().release(&id, &first);
    let explained = would();
    let next = daemon.wire().address(&id, "", Value::Null);
    assert!(next != first && explained == next.as_str(), "the restart window is off: {explained}");
    house.configure(&window("1h"));
    assert_eq!(house.json(&["reload"]), json!(["restart window: 0 s becomes 3600 s"]));
    assert_eq!(would(), first.as_str());
    daemon.kill();
    let daemon = house.start();
    assert_eq!(would(), first.as_str());
    assert_eq!(daemon.wire().address(&id, "", Value::Null), first);
    daemon.stop();
}

#[test]
fn a_mistake_is_reported_and_changes_nothing() {
    let house = House::with_toml(BEFORE);
    let daemon = house.start();
    let before = pools(&house);
    house.configure(&AFTER.replace("size = 26", "size = 15"));
    for arguments in [&["reload", "--dry-run"][..], &["reload"]] {
        let said = house.gipam(arguments);
        let text = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(2), "{text}");
        assert!(text.contains("nothing was changed") && text.contains("/15"), "{text}");
    }
    assert_eq!(pools(&house), before);
    daemon.stop();
}

/// This many pools, each with a reserved range and its own cooling time.
fn many(pools: u32, cooling: u32) -> String {
    let pool = |n: u32| {
        let (high, low) = (n >> 8, n & 255);
        format!(
            "[[pool]]\nname = \"pool-{n}\"\nv4 = {{ base = \"10.{high}.{low}.0/24\", size = 28 }}\ncooling = \"{cooling}m\"\n\
             reserved = [\"10.{high}.{low}.0/28\"]\n"
        )
    };
    "[gc]\nengine = \"\"\n".to_owned() + &(0..pools).map(pool).collect::<String>()
}

/// How long `config check` and a reload that changes every pool take: the fastest of three runs.
fn took(pools: u32) -> [std::time::Duration; 2] {
    let house = House::with_toml(&many(pools, 1));
    let file = house.path("gipam.toml").display().to_string();
    let daemon = house.start();
    let time = |arguments: &[&str]| {
        let begun = std::time::Instant::now();
        let output = house.gipam(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        begun.elapsed()
    };
    let best = |round: &dyn Fn(u32) -> std::time::Duration| (2..5).map(round).min().unwrap();
    let check = best(&|_| time(&["config", "check", &file]));
    let reload = best(&|cooling| {
        house.configure(&many(pools, cooling));
        time(&["reload"])
    });
    daemon.stop();
    [check, reload]
}

#[test]
fn check_and_reload_take_time_in_proportion_to_the_pools() {
    let (few, many) = (took(1_000), took(8_000));
    // Eight times as many pools: quadratic time would be 64 times as long.
    for (what, few, many) in [("config check", few[0], many[0]), ("reload", few[1], many[1])] {
        println!("{what}: {few:?} with 1,000 pools, {many:?} with 8,000");
        assert!(many < 24 * few, "{what}: {few:?} with 1,000 pools, {many:?} with 8,000");
    }
}
