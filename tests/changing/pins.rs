//! `gipam pin` and `unpin`.

use serde_json::{Value, json};

use super::daemon::House;
use super::{SMALL, change, lease, refused};

/// Address, state and holder of every row that `leases --all` shows for a subnet.
fn all(house: &House, subnet: &str) -> Vec<(String, String, String)> {
    let rows = house.json(&["leases", subnet, "--all"]);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let row = |row: &Value| (text(row, "address"), text(row, "state"), text(row, "holder"));
    rows.as_array().unwrap().iter().map(row).collect()
}

fn row(address: &str, state: &str, holder: &str) -> (String, String, String) {
    (address.to_owned(), state.to_owned(), holder.to_owned())
}

#[test]
fn a_pinned_address_waits_for_its_holder_in_both_families_and_survives_restart_kill_and_the_network() {
    let house = House::new(&[&SMALL[..], &["--log", "debug"]].concat());
    let daemon = house.start();
    let (v4, _) = daemon.wire().subnet(false);
    let (v6, _) = daemon.wire().subnet(true);
    assert_eq!(lease(&mut daemon.wire(), &v4, "web"), "198.51.100.2");
    // The container is pinned while it runs with another address, and before the pinned address was ever
    // given.
    let row_of_pin = change(&house, &["pin", "web", "198.51.100.9"]);
    let notes = row_of_pin["notes"].to_string();
    assert!(notes.contains("web holds 198.51.100.2 now"), "{notes}");
    change(&house, &["pin", "db", "198.51.100.3"]);
    change(&house, &["pin", "db", "2001:db8:77::99"]);
    change(&house, &["pin", "02:00:00:00:00:07", "198.51.100.4"]);
    let expected = [
        row("198.51.100.2", "leased", "web"),
        row("198.51.100.3", "pinned", "db"),
        row("198.51.100.4", "pinned", "-"),
        row("198.51.100.9", "pinned", "web"),
    ];
    assert_eq!(all(&house, "198.51.100.0/28"), expected);
    assert_eq!(
        lease(&mut daemon.wire(), &v4, "cache"),
        "198.51.100.5",
        "dynamic choice skips pinned addresses"
    );
    daemon.stop();
    let daemon = house.start();
    daemon.wire().release(&v4, "198.51.100.2");
    assert_eq!(lease(&mut daemon.wire(), &v4, "web"), "198.51.100.9", "after a restart");
    assert_eq!(lease(&mut daemon.wire(), &v6, "db"), "2001:db8:77::99");
    daemon.kill();
    let daemon = house.start();
    assert_eq!(lease(&mut daemon.wire(), &v4, "db"), "198.51.100.3", "after a kill -9");
    let mac = json!({"com.docker.network.endpoint.macaddress": "02:00:00:00:00:07"});
    assert_eq!(daemon.wire().address(&v4, "", mac), "198.51.100.4/28", "Engines before 29 send only the MAC");
    // The network is recreated, and another container is started first.
    daemon.wire().release_pool(&v4);
    let pool = json!({"AddressSpace": "local", "Pool": "198.51.100.0/28"});
    let (v4, _) = daemon.wire().pool(&pool);
    for expected in ["198.51.100.6", "198.51.100.7"] {
        assert_eq!(lease(&mut daemon.wire(), &v4, &format!("new-{expected}")), expected);
    }
    assert_eq!(lease(&mut daemon.wire(), &v4, "web"), "198.51.100.9");
    let shown = house.json(&["leases", "--holder", "web"])[0].clone();
    assert_eq!((&shown["state"], &shown["pinned_to"]), (&json!("leased"), &json!("web")));
    let history = house.json(&["history", "198.51.100.9"]);
    let pinned = history.as_array().unwrap().iter().find(|row| row["event"] == "pinned").unwrap();
    let cells = ["address", "holder", "why"].map(|key| pinned[key].as_str().unwrap());
    assert_eq!(cells, ["198.51.100.9", "web", "by hand"]);
}

#[test]
fn a_pin_stays_until_it_is_removed_and_repeats_and_dry_runs_change_nothing() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    let (v4, _) = daemon.wire().subnet(false);
    let dry_run = change(&house, &["pin", "web", "198.51.100.9", "--dry-run"]);
    assert_eq!(dry_run["changes"], json!(["198.51.100.9 of 198.51.100.0/28 is pinned to web from now on"]));
    assert_eq!(all(&house, "198.51.100.0/28"), []);
    assert_eq!(change(&house, &["pin", "web", "198.51.100.9"])["changes"], dry_run["changes"]);
    assert_eq!(change(&house, &["pin", "web", "198.51.100.9"])["changed"], false);
    // Another container requests the pinned address by number, which is allowed, and releases it: the pin
    // still waits for its holder.
    let other = json!({"com.docker.network.endpoint.name": "other"});
    assert_eq!(daemon.wire().address(&v4, "198.51.100.9", other), "198.51.100.9/28");
    assert_eq!(all(&house, "198.51.100.0/28"), [row("198.51.100.9", "leased", "other")]);
    assert_eq!(
        lease(&mut daemon.wire(), &v4, "web"),
        "198.51.100.2",
        "web gets another address while its pinned one is leased"
    );
    daemon.wire().release(&v4, "198.51.100.9");
    daemon.wire().release(&v4, "198.51.100.2");
    assert_eq!(lease(&mut daemon.wire(), &v4, "web"), "198.51.100.9");
    // A holder has at most one pin in a subnet: the next one moves it.
    let moved = change(&house, &["pin", "web", "198.51.100.8"])["changes"].to_string();
    assert!(moved.contains("198.51.100.9 is no longer pinned to web"), "{moved}");
    assert_eq!(change(&house, &["unpin", "198.51.100.8"])["changed"], true);
    assert_eq!(change(&house, &["unpin", "198.51.100.8"])["changed"], false);
    assert_eq!(all(&house, "198.51.100.0/28").len(), 2, "the memory of .2 cools, .9 is leased");
}

#[test]
fn a_pinned_address_is_given_to_others_last_of_all_and_the_log_says_so() {
    let house = House::new(&["-v4", "198.51.100.0/24", "-v4ab", "29"]);
    let daemon = house.start();
    let (v4, _) = daemon.wire().subnet(false);
    assert_eq!(lease(&mut daemon.wire(), &v4, "one"), "198.51.100.2");
    change(&house, &["pin", "web", "198.51.100.3"]);
    daemon.wire().release(&v4, "198.51.100.2");
    for expected in ["198.51.100.4", "198.51.100.5", "198.51.100.6", "198.51.100.2", "198.51.100.3"] {
        let explained = house.json(&["explain", "--pool", "198.51.100.0/29", "--holder", expected]);
        assert_eq!(explained[0]["given"], format!("{expected}/29"), "{explained}");
        assert_eq!(lease(&mut daemon.wire(), &v4, expected), expected);
    }
    assert!(house.log().contains("although it is pinned to web by hand"), "{}", house.log());
}

#[test]
fn an_impossible_pin_is_refused_with_the_reason() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    let (v4, _) = daemon.wire().pool(&json!({
        "AddressSpace": "local", "Pool": "198.51.100.0/28", "SubPool": "198.51.100.0/29"
    }));
    daemon.wire().address(&v4, "", json!({"RequestAddressType": "com.docker.network.gateway"}));
    assert_eq!(lease(&mut daemon.wire(), &v4, "web"), "198.51.100.2");
    change(&house, &["pin", "db", "198.51.100.3"]);
    change(&house, &["reserve", "198.51.100.4"]);
    refused(
        &house,
        &["pin", "db", "198.51.100.2"],
        4,
        &["held by container web", "gipam release 198.51.100.0/28"],
    );
    refused(&house, &["pin", "web", "198.51.100.3"], 4, &["pinned to db", "gipam unpin 198.51.100.3"]);
    let mac = json!({"com.docker.network.endpoint.macaddress": "02:00:00:00:00:07"});
    assert_eq!(daemon.wire().address(&v4, "198.51.100.6", mac), "198.51.100.6/28");
    // Docker may have generated the MAC for this start only.
    refused(
        &house,
        &["pin", "old", "198.51.100.6"],
        2,
        &["fixed --mac-address", "gipam pin MAC 198.51.100.6"],
    );
    refused(&house, &["pin", "db", "198.51.100.0"], 2, &["is the network address"]);
    refused(&house, &["pin", "db", "198.51.100.15"], 2, &["is the broadcast address"]);
    refused(&house, &["pin", "db", "198.51.100.1"], 2, &["is the gateway's address"]);
    refused(&house, &["pin", "db", "198.51.100.4"], 2, &["is reserved"]);
    refused(&house, &["pin", "db", "198.51.100.9"], 2, &["outside the range 198.51.100.0/29"]);
    refused(&house, &["pin", "db", "198.51.100.99"], 3, &["no network has a subnet with 198.51.100.99"]);
    refused(&house, &["pin", "db", "203.0.113.5", "--subnet", "198.51.100.0/28"], 2, &["is outside"]);
    refused(&house, &["pin", "db", "198.51.100.5", "--subnet", "198.51.100.32/28"], 3, &["gipam subnets"]);
    refused(&house, &["pin", "db", "nowhere"], 2, &["\"nowhere\" is not an IP address"]);
    refused(&house, &["pin", "", "198.51.100.5"], 2, &["gipam pin needs"]);
    refused(&house, &["unpin", "nowhere"], 2, &["\"nowhere\" is not an IP address"]);
    assert_eq!(change(&house, &["unpin", "203.0.113.5"])["changed"], false);
    let global = json!({"AddressSpace": "global", "Pool": "198.51.100.0/28"});
    let (id, _) = daemon.wire().pool(&global);
    refused(&house, &["pin", "mail", "198.51.100.5"], 2, &["lies in several subnets", &id]);
    assert_eq!(change(&house, &["pin", "mail", "198.51.100.5", "--subnet", &id])["changed"], true);
}
