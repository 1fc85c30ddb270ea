//! Pools whose base comes from a file: what a running daemon does when the prefix appears, changes, is unusable, goes away
//! and comes back, and when the daemon is killed in between.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::fs;

use daemon::{Daemon, House, until};
use serde_json::{Value, json};

const A: &str = "2001:db8:a:100::/56\n";
const B: &str = "2001:db8:b:200::/56\n";

/// A daemon with one pool that follows a file, and others that do not change.
struct Home {
    house: House,
    daemon: Daemon,
}

impl Home {
    fn new() -> Self {
        let house = House::with_toml("");
        let source = house.path("run/prefix");
        house.configure(&format!(
            "[gc]\nengine = \"\"\n[[pool]]\nname = \"home\"\nv4 = \"198.18.0.0/16\"\nv6 = \"file:{}\"\n\
             [[pool]]\nname = \"fixed\"\nv6 = \"2001:db8:f:300::/56\"\n",
            source.display()
        ));
        let daemon = house.start();
        Self { house, daemon }
    }

    /// Writes the file as a hook does: under another name, then renamed.
    fn write(&self, text: &str) {
        let path = self.house.path("run/prefix");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    fn base(&self) -> Option<String> {
        let pools = self.daemon.view("/v1/pools");
        let row =
            pools.as_array().unwrap().iter().find(|row| row["pool"] == "home" && row["family"] == "v6")?;
        Some(row["base"].as_str()?.to_owned())
    }

    fn becomes(&self, text: &str) {
        self.write(text);
        until("the pool has the new prefix", || (self.base().as_deref() == Some(text.trim())).then_some(()));
    }

    /// A new network of the pool; returns PoolID and prefix.
    fn network(&self, options: Value) -> (String, String) {
        let mut options = options;
        options["pool"] = json!("home");
        let body =
            json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": options, "V6": true});
        self.daemon.wire().pool(&body)
    }

    /// The prefixes of stale subnets, each with the one that has the same number.
    fn stale(&self) -> Vec<(String, Value)> {
        let subnets = self.daemon.view("/v1/subnets");
        let stale = subnets.as_array().unwrap().iter().filter(|row| !row["stale"].is_null());
        stale
            .map(|row| (row["prefix"].as_str().unwrap().to_owned(), row["stale"]["same_number"].clone()))
            .collect()
    }

    fn logs(&self, text: &str) {
        until(&format!("the log contains {text:?}"), || self.house.log().contains(text).then_some(()));
    }

    fn kill_and_start(self) -> Self {
        let Self { house, daemon } = self;
        daemon.kill();
        let daemon = house.start();
        Self { house, daemon }
    }
}

fn container(name: &str) -> Value {
    json!({"com.docker.network.endpoint.name": name})
}

#[test]
fn without_a_prefix_the_daemon_runs_and_only_requests_for_it_fail() {
    let home = Home::new();
    let wanted = |options: Value| json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": options, "V6": true});
    let text = home.daemon.wire().refused("RequestPool", &wanted(json!({"pool": "home"})));
    assert!(text.contains("pool home has no IPv6 prefix yet: file:/"), "{text}");
    let (_, prefix) = home.daemon.wire().pool(&wanted(json!({})));
    assert_eq!(prefix, "2001:db8:f:300::/64", "the other pool gives subnets");
    assert_eq!(home.daemon.wire().subnet(false).1, "198.18.0.0/24", "so does the pool's IPv4 part");
    home.becomes(A);
    assert_eq!(home.network(json!({})).1, "2001:db8:a:100::/64");
}

#[test]
fn a_new_prefix_gives_the_same_numbers_and_host_parts_and_old_networks_stay_and_are_stale() {
    let home = Home::new();
    home.becomes(A);
    let (old, first) = home.network(json!({}));
    let (web, second) = home.network(json!({"key": "web"}));
    assert_eq!((&*first, &*second), ("2001:db8:a:100::/64", "2001:db8:a:101::/64"));
    let wire = || home.daemon.wire();
    let _ = wire().address(&web, "", container("one"));
    let two = wire().address(&web, "", container("two"));
    assert!(two.starts_with("2001:db8:a:101::3/"), "{two}");
    home.becomes(B);
    assert_eq!(
        home.stale(),
        [(first.clone(), json!("2001:db8:b:200::/64")), (second.clone(), json!("2001:db8:b:201::/64"))]
    );
    let three = wire().address(&old, "", container("three"));
    assert!(three.starts_with("2001:db8:a:100::"), "a stale network gives addresses: {three}");
    assert_eq!(home.network(json!({})).1, "2001:db8:b:202::/64", "the numbers of stale networks are kept");
    wire().release_pool(&web);
    let (web, again) = home.network(json!({"key": "web"}));
    assert_eq!(again, "2001:db8:b:201::/64", "a network that is made again keeps its number");
    let two = wire().address(&web, "", container("two"));
    assert!(two.starts_with("2001:db8:b:201::3/"), "a container keeps its host part: {two}");
    let new = wire().address(&web, "", container("new"));
    assert!(new.starts_with("2001:db8:b:201::4/"), "a new container gets no other's host part: {new}");
    let events = home.house.json(&["history"]);
    let events: Vec<&str> =
        events.as_array().unwrap().iter().map(|row| row["event"].as_str().unwrap()).collect();
    assert_eq!(events.iter().filter(|event| **event == "subnet stale").count(), 2, "{events:?}");
    home.becomes(A);
    let stale: Vec<String> = home.stale().into_iter().map(|(prefix, _)| prefix).collect();
    assert_eq!(stale, ["2001:db8:b:201::/64", "2001:db8:b:202::/64"], "the first network is current again");
    assert_eq!(home.network(json!({})).1, "2001:db8:a:103::/64", "0 is held, 1 and 2 are kept");
}

#[test]
fn a_prefix_survives_kill_and_a_file_that_is_gone_or_not_complete_changes_nothing() {
    let home = Home::new();
    home.becomes(A);
    let (_, first) = home.network(json!({}));
    home.becomes(B);
    let home = home.kill_and_start();
    assert_eq!(home.base().as_deref(), Some(B.trim()));
    assert_eq!(home.stale(), [(first, json!("2001:db8:b:200::/64"))]);
    for text in ["2001:db8:a:1", "2001:db8:a:100::1/56\n", "nothing\n"] {
        home.write(text);
        home.logs(if text.ends_with('\n') { "line 1" } else { "newline" });
        assert_eq!(home.base().as_deref(), Some(B.trim()), "{text:?}");
    }
    fs::remove_file(home.house.path("run/prefix")).unwrap();
    let home = home.kill_and_start();
    assert_eq!(home.base().as_deref(), Some(B.trim()), "the last prefix counts");
    assert_eq!(home.network(json!({})).1, "2001:db8:b:201::/64");
    home.write("");
    home.becomes(A);
}

#[test]
fn a_prefix_that_overlaps_another_pool_is_refused_and_nothing_changes() {
    let home = Home::new();
    home.becomes(A);
    home.write("2001:db8:f:300::/56\n");
    home.logs("pool home does not get 2001:db8:f:300::/56 from file:");
    home.logs("2001:db8:a:100::/56 stays");
    assert_eq!(home.base().as_deref(), Some(A.trim()));
    let home = home.kill_and_start();
    assert_eq!(home.base().as_deref(), Some(A.trim()), "it is refused at a start, too, and the daemon runs");
    home.becomes(B);
}
