//! `gipam reserve` and `unreserve`.

use serde_json::{Value, json};

use super::daemon::House;
use super::{SMALL, change, lease, refused};

/// First address and origin of every reservation.
fn reserved(house: &House) -> Vec<(String, String)> {
    let rows = house.json(&["reserve"]);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(|row| (text(row, "first"), text(row, "origin"))).collect()
}

fn by_hand(first: &str) -> (String, String) {
    (first.to_owned(), "by hand".to_owned())
}

#[test]
fn a_reservation_by_hand_applies_at_once_in_both_families_and_survives_restart_kill_and_reload() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    let (v4, _) = daemon.wire().subnet(false);
    let (v6, _) = daemon.wire().subnet(true);
    assert_eq!(lease(&mut daemon.wire(), &v4, "web"), "198.51.100.2");
    let row = change(&house, &["reserve", "198.51.100.2-198.51.100.5"]);
    assert_eq!(row["changed"], true);
    assert_eq!(row["changes"], json!(["198.51.100.2-198.51.100.5 is reserved by hand from now on"]));
    assert_eq!(row["leases"][0]["holder"], "web", "leases are reported, and stay: {row}");
    change(&house, &["reserve", "2001:db8:77::2-2001:db8:77::3"]);
    assert_eq!(lease(&mut daemon.wire(), &v4, "db"), "198.51.100.6");
    assert_eq!(lease(&mut daemon.wire(), &v6, "db"), "2001:db8:77::4");
    // Reserved addresses may be requested by number.
    assert_eq!(daemon.wire().address(&v4, "198.51.100.4", json!({})), "198.51.100.4/28");
    let expected = [by_hand("198.51.100.2"), by_hand("2001:db8:77::2")];
    assert_eq!(reserved(&house), expected);
    daemon.stop();
    let daemon = house.start();
    assert_eq!(reserved(&house), expected, "after a restart");
    assert_eq!(lease(&mut daemon.wire(), &v4, "cache"), "198.51.100.7");
    daemon.kill();
    let daemon = house.start();
    assert_eq!(reserved(&house), expected, "after a kill -9");
    assert_eq!(lease(&mut daemon.wire(), &v4, "queue"), "198.51.100.8");
    assert_eq!(house.json(&["reload"]), json!([]), "a reload must not change anything");
    assert_eq!(reserved(&house), expected, "after a reload");
    assert_eq!(lease(&mut daemon.wire(), &v4, "mail"), "198.51.100.9");
    assert_eq!(house.json(&["leases", "--holder", "web"])[0]["address"], "198.51.100.2", "the lease stays");
    let who = house.json(&["who", "198.51.100.5"])[0].clone();
    assert_eq!((&who["reserved"], &who["reserved_by"]), (&json!(true), &json!("by hand")));
    let steps = house.json(&["explain", "--address", "198.51.100.5"])[0]["steps"].to_string();
    assert!(steps.contains("reserved by hand"), "{steps}");
    let map = house.json(&["map", "198.51.100.0/28"])[0]["segments"].to_string();
    assert!(map.contains("reserved"), "{map}");
}

#[test]
fn repeats_and_dry_runs_change_nothing() {
    let house = House::new(&SMALL);
    let _daemon = house.start();
    let dry_run = change(&house, &["reserve", "198.51.100.64/28", "--dry-run"]);
    assert_eq!((&dry_run["changed"], &dry_run["dry_run"]), (&json!(true), &json!(true)));
    assert_eq!(reserved(&house), []);
    assert_eq!(change(&house, &["reserve", "198.51.100.64/28"])["changes"], dry_run["changes"]);
    assert_eq!(change(&house, &["reserve", "198.51.100.64/28"])["changed"], false);
    assert_eq!(change(&house, &["unreserve", "198.51.100.64/28", "--dry-run"])["changed"], true);
    assert_eq!(reserved(&house), [by_hand("198.51.100.64")]);
    refused(&house, &["unreserve", "198.51.100.66"], 2, &["gipam unreserve 198.51.100.64-198.51.100.79"]);
    assert_eq!(change(&house, &["unreserve", "198.51.100.64/28"])["changed"], true);
    assert_eq!(change(&house, &["unreserve", "198.51.100.64/28"])["changed"], false);
    assert_eq!(reserved(&house), []);
}

#[test]
fn a_reservation_over_whole_subnets_keeps_dynamic_ones_away_and_has_no_effect_in_one_that_is_held() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    let (held, prefix) = daemon.wire().subnet(false);
    assert_eq!(prefix, "198.51.100.0/28");
    let notes = change(&house, &["reserve", "198.51.100.0/27"])["notes"].to_string();
    assert!(notes.contains("198.51.100.0/28") && notes.contains("no effect"), "{notes}");
    assert_eq!(lease(&mut daemon.wire(), &held, "web"), "198.51.100.2");
    assert_eq!(daemon.wire().subnet(false).1, "198.51.100.32/28");
}

#[test]
fn reservations_of_the_configuration_are_removed_there_and_bad_input_is_refused() {
    let toml = "[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\nv4 = { base = \"198.51.100.0/24\", size = 28 }\n\
                reserved = [\"198.51.100.16/28\"]\n";
    let house = House::with_toml(toml);
    let daemon = house.start();
    refused(&house, &["unreserve", "198.51.100.16/28"], 2, &["gipam.toml", "gipam reload"]);
    refused(&house, &["unreserve", "198.51.100.20"], 2, &["gipam.toml"]);
    refused(&house, &["reserve", "198.51.100.300"], 2, &["is not an address, a prefix or a range"]);
    refused(
        &house,
        &["reserve", "198.51.100.9-198.51.100.3"],
        2,
        &["runs backwards", "write 198.51.100.3-198.51.100.9"],
    );
    refused(
        &house,
        &["reserve", "198.51.100.9", "--pool", "wan"],
        3,
        &["pool \"wan\" does not exist", "lan"],
    );
    refused(&house, &["reserve", "203.0.113.9", "--pool", "lan"], 2, &["outside pool lan (198.51.100.0/24)"]);
    refused(&house, &["reserve", "--dry-run"], 2, &["gipam reserve needs"]);
    let notes = change(&house, &["reserve", "198.51.100.16/28", "--pool", "lan"])["notes"].to_string();
    assert!(notes.contains("the configuration also reserves this range"), "{notes}");
    // A reservation by hand stays when the configuration changes.
    house.configure(&toml.replace("reserved", "# reserved"));
    house.json(&["reload"]);
    assert_eq!(reserved(&house), [by_hand("198.51.100.16")]);
    daemon.stop();
    let text = String::from_utf8(
        house.gipam(&["reserve", "--file", house.path("gipam.db").to_str().unwrap()]).stdout,
    );
    assert!(text.unwrap().contains("by hand"), "without a daemon the books show the reservation");
}

#[test]
fn all_of_both_families_can_be_reserved_and_unreserved() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    let (held, _) = daemon.wire().subnet(false);
    for (all, v6) in [("0.0.0.0/0", false), ("::/0", true)] {
        change(&house, &["reserve", all]);
        let body = json!({"AddressSpace": "local", "Pool": "", "Options": {}, "V6": v6});
        let text = daemon.wire().refused("RequestPool", &body);
        assert!(text.contains("no available pool"), "{text}");
    }
    let free: Vec<Value> =
        house.json(&["pools"]).as_array().unwrap().iter().map(|row| row["free"].clone()).collect();
    assert_eq!(free, [0, 0]);
    assert_eq!(
        lease(&mut daemon.wire(), &held, "web"),
        "198.51.100.2",
        "the reservation has no effect in a held subnet"
    );
    house.json(&["map"]);
    for all in ["0.0.0.0/0", "::/0"] {
        change(&house, &["unreserve", all]);
    }
    assert_eq!(daemon.wire().subnet(false).1, "198.51.100.16/28");
    assert_eq!(daemon.wire().subnet(true).1, "2001:db8:77::/64");
    daemon.stop();
}

#[test]
fn durable_the_history_shows_when_a_reservation_was_made_and_removed() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    let (v4, _) = daemon.wire().subnet(false);
    assert_eq!(lease(&mut daemon.wire(), &v4, "web"), "198.51.100.2");
    for arguments in [
        &["reserve", "198.51.100.2-198.51.100.5", "--dry-run"][..],
        &["reserve", "198.51.100.2-198.51.100.5"],
        &["reserve", "198.51.100.2-198.51.100.5"],
        &["reserve", "2001:db8:77::/64"],
    ] {
        change(&house, arguments);
    }
    daemon.kill();
    let daemon = house.start();
    change(&house, &["reload"]);
    change(&house, &["unreserve", "198.51.100.2-198.51.100.5"]);
    let row = |event: &str, subnet: &str| (event.to_owned(), subnet.to_owned());
    let history = |of: &[&str]| {
        let rows = house.json(&[&["history"], of].concat());
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| (text(row, "event"), text(row, "subnet"))).collect::<Vec<_>>()
    };
    let (range, subnet) = ("198.51.100.2-198.51.100.5", "198.51.100.0/28");
    // A dry run, a repeat, a restart and a reload do not add rows. `history` finds each row that concerns an
    // address or subnet.
    assert_eq!(history(&["198.51.100.3"]), [row("unreserved", range), row("reserved", range)]);
    let [unreserved, reserved] = ["unreserved", "reserved"].map(|event| row(event, range));
    let expected = [unreserved, reserved, row("leased", subnet), row("subnet granted", subnet)];
    assert_eq!(history(&[subnet]), expected);
    assert_eq!(history(&["2001:db8:77::9"])[0].0, "reserved");
    assert_eq!(history(&["web"]), [row("leased", subnet)]);
    assert_eq!(history(&["--limit", "1"]), [row("unreserved", range)]);
    let raw = &house.json(&["history", "--limit", "1"])[0];
    let cells = ["space", "address", "holder", "why"].map(|key| &raw[key]);
    assert_eq!(cells, [&Value::Null, &Value::Null, &Value::Null, &json!("by hand")]);
    let who = house.json(&["who", "198.51.100.4"]);
    assert_eq!(who[0]["history"][0]["event"], "unreserved", "{who}");
    daemon.stop();
    let books = house.path("gipam.db");
    assert_eq!(
        history(&["198.51.100.3", "--file", books.to_str().unwrap()]).len(),
        2,
        "the history is the same without a daemon"
    );
}
