//! Replays what Engines 20.10 and 28.5 sent.
//!
//! The fixtures have a line for each call: method, body as dockerd wrote it, ` = ` and the answer of the
//! recorder: for RequestPool its PoolID, for RequestAddress the address, `refused` if the recorder itself
//! refused the call, and `skipped` if the recording marks it so: dockerd then continued as after a refusal,
//! and we omit the call. PoolIDs and addresses are mapped to those that gipam gave. `holds ID=N` and `empty`
//! say what must be in the books at that point; `$` marks a command that was typed. A section begins with `==
//! NAME`.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::daemon::{Daemon, House, POOLS};
use crate::http::Wire;

const E20: &str = include_str!("fixtures/e20.txt");
const E28: &str = include_str!("fixtures/e28.txt");

/// The lines of one scenario.
pub fn section(fixture: &'static str, name: &str) -> Vec<&'static str> {
    let begin = format!("== {name}");
    let lines = fixture.lines().skip_while(|line| *line != begin).skip(1);
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("== ")).collect();
    assert!(!lines.is_empty(), "the fixture does not have a scenario {name}");
    lines
}

/// A map from recorded values to those that gipam gave.
#[derive(Default)]
pub struct Mapping {
    /// Recorded PoolID to ours.
    ids: HashMap<String, String>,
    /// Recorded prefix, if the driver chose it, to ours.
    prefixes: HashMap<String, String>,
    /// Recorded prefix and address to ours.
    addresses: HashMap<(String, String), String>,
}

fn prefix_of(id: &str) -> String {
    let id = id.strip_prefix("global/").unwrap_or(id);
    id.split('/').take(2).collect::<Vec<_>>().join("/")
}

fn number(address: &str) -> u128 {
    match address.parse().unwrap_or_else(|_| panic!("{address}")) {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Mapping {
    fn prefix(&self, recorded: &str) -> String {
        self.prefixes.get(recorded).cloned().unwrap_or_else(|| recorded.to_owned())
    }

    /// The address at the same offset in our prefix, unless gipam chose another one.
    fn address(&self, prefix: &str, recorded: &str) -> String {
        if let Some(ours) = self.addresses.get(&(prefix.to_owned(), recorded.to_owned())) {
            return ours.clone();
        }
        let base = |prefix: &str| number(prefix.split('/').next().unwrap());
        let ours = base(&self.prefix(prefix)) + (number(recorded) - base(prefix));
        match recorded.parse().unwrap() {
            IpAddr::V4(_) => std::net::Ipv4Addr::from_bits(ours as u32).to_string(),
            IpAddr::V6(_) => std::net::Ipv6Addr::from_bits(ours).to_string(),
        }
    }

    /// Plays one line of a fixture.
    pub fn play(&mut self, line: &str, wire: &mut Wire, daemon: &Daemon) {
        if line.is_empty() || line.starts_with('$') {
            return;
        }
        if line == "empty" {
            return daemon.assert_empty(line);
        }
        if let Some(held) = line.strip_prefix("holds ") {
            return self.compare(held, daemon);
        }
        let Some((call, recorded)) = line.split_once(" = ") else {
            let method =
                if line == "Activate" { "Plugin.Activate".to_owned() } else { format!("IpamDriver.{line}") };
            wire.call(&method, "").ok();
            return;
        };
        let (method, body) = call.split_once(' ').unwrap();
        let mut body: Value = serde_json::from_str(body).unwrap();
        if recorded == "skipped" {
            return;
        }
        let id = body["PoolID"].as_str().unwrap_or_default().to_owned();
        let prefix = prefix_of(&id);
        if !id.is_empty() {
            body["PoolID"] =
                self.ids.get(&id).unwrap_or_else(|| panic!("{line}: unknown PoolID")).as_str().into();
        }
        let asked = body["Address"].as_str().unwrap_or_default().to_owned();
        if !asked.is_empty() {
            body["Address"] = self.address(&prefix, &asked).into();
        }
        let pool = body["Pool"].as_str().unwrap_or_default().to_owned();
        if !pool.is_empty() {
            body["Pool"] = self.prefix(&pool).into();
        }
        if recorded == "refused" {
            wire.refused(method, &body);
            return;
        }
        let answer = wire.ok(method, &body);
        match method {
            "RequestPool" => self.granted(line, recorded, &pool, &body, &answer),
            "RequestAddress" => {
                let got = answer["Address"].as_str().unwrap();
                let (address, length) = got.split_once('/').unwrap();
                assert_eq!(Some(length), recorded.split('/').nth(1), "{line}: {got}");
                assert!(asked.is_empty() || body["Address"] == address, "{line}: {got}");
                let recorded = recorded.split('/').next().unwrap().to_owned();
                self.addresses.insert((prefix, recorded), address.to_owned());
            }
            _ => assert_eq!(answer, json!({}), "{line}"),
        }
    }

    fn granted(&mut self, line: &str, recorded: &str, pool: &str, body: &Value, answer: &Value) {
        let (id, got) = (answer["PoolID"].as_str().unwrap(), answer["Pool"].as_str().unwrap());
        let prefix = prefix_of(recorded);
        assert_eq!(got.split('/').nth(1), prefix.split('/').nth(1), "{line}: {got}");
        if pool.is_empty() {
            self.prefixes.insert(prefix.clone(), got.to_owned());
            self.addresses.retain(|(of, _), _| *of != prefix);
        } else {
            // Engine 20.10 passes host bits on (duty 10); they are masked.
            assert_eq!(got, masked(body["Pool"].as_str().unwrap()), "{line}");
        }
        assert!(
            !id.is_empty() && self.ids.values().all(|other| other != id),
            "{line}: {id} was given before"
        );
        self.ids.insert(recorded.to_owned(), id.to_owned());
    }

    /// Compares the recorder's table of pools and their address counts with our books.
    fn compare(&self, held: &str, daemon: &Daemon) {
        let mut expected: Vec<(String, u64)> = held
            .split(' ')
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(id, count)| (self.ids[id].clone(), count.parse().unwrap()))
            .collect();
        let subnets = daemon.view("/v1/subnets");
        let mut found: Vec<(String, u64)> = subnets
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["id"].as_str().unwrap().to_owned(), row["leases"].as_u64().unwrap()))
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{held}");
    }
}

fn masked(prefix: &str) -> String {
    let net: ipnet::IpNet = prefix.parse().unwrap();
    net.trunc().to_string()
}

/// Prints the line at which a test failed.
#[allow(clippy::print_stderr, reason = "shown only when the test fails")]
fn say(name: &str, line: &str) {
    eprintln!("{name}: {line}");
}

/// Plays a scenario against a separate daemon; returns the books at its end.
fn play_one(house: &House, fixture: &'static str, host: &'static str, name: &str) -> [Value; 2] {
    let daemon = house.start();
    let mut mapping = Mapping::default();
    let mut wire = daemon.wire();
    wire.host = host;
    for line in section(fixture, name) {
        say(name, line);
        mapping.play(line, &mut wire, &daemon);
    }
    let books = ["/v1/subnets", "/v1/leases"].map(|path| daemon.view(path));
    drop(wire);
    assert!(daemon.stop().success());
    books
}

/// Plays scenarios that leave the books empty, one after another with the same books.
fn play(fixture: &'static str, host: &'static str, names: &[&str]) {
    let house = House::new(&POOLS);
    for name in names {
        assert_eq!(play_one(&house, fixture, host, name), [json!([]), json!([])], "{name}");
    }
}

macro_rules! scenarios {
    ($($test:ident $names:expr;)*) => {
        mod e20 {
            $(#[test] fn $test() { super::play(super::E20, "", &$names); })*
        }
        mod e28 {
            $(#[test] fn $test() { super::play(super::E28, "plugin.moby.localhost", &$names); })*
        }
    };
}

scenarios! {
    p10_create ["create-v4", "create-v6", "v6only", "create-opts", "config-from"];
    p13_run ["run", "connect", "lifecycle", "mac", "concurrency"];
    p11_macvlan_and_networks_without_gateway ["macvlan", "ipvlan", "gwless"];
    duty_3_restarts_of_dockerd_without_replay [
        "restart-kill9-lr-noreplay", "restart-kill9-nolr-noreplay", "restart-term-lr-noreplay",
        "restart-term-nolr-noreplay", "crash-noreplay"
    ];
    p24_swarm ["swarm", "swarm-managed"];
    duty_11_refused_half_way ["partial"];
}

#[test]
fn e28_compose() {
    play(E28, "plugin.moby.localhost", &["compose"]);
}

/// When a Swarm's only daemon stops, it releases its own networks; those of the cluster stay.
#[test]
fn p24_the_end_of_a_node_leaves_the_global_space() {
    for (fixture, host) in [(E20, ""), (E28, "plugin.moby.localhost")] {
        let [subnets, leases] = play_one(&House::new(&POOLS), fixture, host, "swarm-managed-sigterm");
        assert_eq!(subnets.as_array().unwrap().len(), 3);
        let rows = [subnets, leases].map(|rows| rows.as_array().unwrap().clone()).concat();
        assert!(rows.iter().all(|row| row["space"] == "global"), "{rows:?}");
    }
}

/// The books are written before an answer is sent, so a kill or stop at any moment does not break the
/// conversation.
fn play_with_restarts(fixture: &'static str, names: &[&str], kill: bool) {
    let house = House::new(&POOLS);
    let mut mapping = Mapping::default();
    let mut daemon = house.start();
    for line in names.iter().flat_map(|name| section(fixture, name)).filter(|line| line.contains(" = ")) {
        mapping.play(line, &mut daemon.wire(), &daemon);
        let before = daemon.books();
        if kill {
            daemon.kill();
        } else {
            assert!(daemon.stop().success());
        }
        daemon = house.start();
        assert_eq!(daemon.books(), before, "after {line}");
    }
    daemon.assert_empty("at the end");
}

#[test]
fn durable_killed_between_all_calls() {
    play_with_restarts(E28, &["create-opts", "lifecycle"], true);
}

#[test]
fn durable_stopped_between_all_calls() {
    play_with_restarts(E20, &["create-v6"], false);
}
