//! `gipam pool add`, `close` and `resize`.

use serde_json::{Value, json};

use super::daemon::{House, until};
use super::http::Wire;
use super::{SMALL, change, lease, refused};

/// Every base: pool, prefix, length, closed.
fn pools(house: &House) -> Vec<String> {
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let closed = if row["closed"] == true { " closed" } else { "" };
        format!("{} {} /{}{closed}", text("pool"), text("base"), row["size"])
    };
    house.json(&["pools"]).as_array().unwrap().iter().map(row).collect()
}

/// Requests a subnet from this pool; returns PoolID and prefix.
fn subnet_of(wire: &mut Wire, pool: &str, v6: bool) -> (String, String) {
    wire.pool(&json!({"AddressSpace": "local", "Options": {"pool": pool}, "V6": v6}))
}

const ADD: [&str; 11] = [
    "pool",
    "add",
    "lan",
    "--v4",
    "203.0.113.0/25",
    "--v4-size",
    "28",
    "--v6",
    "2001:db8:99::/48",
    "--v6-size",
    "56",
];

#[test]
fn pools_changed_by_hand_stay_changed_at_the_next_start_with_the_same_flags() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    let dry_run = change(&house, &[&ADD[..], &["--dry-run"]].concat());
    assert_eq!(
        dry_run["changes"],
        json!(["pool lan is added: 203.0.113.0/25 in /28, 2001:db8:99::/48 in /56"])
    );
    assert_eq!(pools(&house).len(), 2, "a dry run must not change anything");
    assert_eq!(change(&house, &ADD)["changes"], dry_run["changes"]);
    assert_eq!(change(&house, &ADD)["changed"], false);
    assert_eq!(subnet_of(&mut daemon.wire(), "lan", false).1, "203.0.113.0/28");
    let (v6, prefix) = subnet_of(&mut daemon.wire(), "lan", true);
    assert_eq!(prefix, "2001:db8:99::/56");
    let resized = change(
        &house,
        &["pool", "resize", "lan", "--v4", "203.0.113.0/24", "--v4-size", "29", "--v6-size", "64"],
    );
    assert_eq!(
        resized["changes"],
        json!([
            "pool lan: 203.0.113.0/25 in /28, 2001:db8:99::/48 in /56 becomes 203.0.113.0/24 in /29, 2001:db8:99::/48 in /64"
        ])
    );
    assert!(resized["notes"].to_string().contains("2 subnets are held now; held subnets keep their length"));
    // Best fit: the subnet fills the gap after the first one.
    assert_eq!(subnet_of(&mut daemon.wire(), "lan", false).1, "203.0.113.16/29");
    let notes = change(&house, &["pool", "resize", "default", "--v4-size", "27"])["notes"].to_string();
    assert!(
        notes.contains("at each start with the same flags: -v4 198.51.100.0/24 (size /28) differs"),
        "{notes}"
    );
    let expected = [
        "default 198.51.100.0/24 /27",
        "default 2001:db8:77::/48 /64",
        "lan 203.0.113.0/24 /29",
        "lan 2001:db8:99::/48 /64",
    ];
    assert_eq!(pools(&house), expected);
    daemon.stop();
    let daemon = house.start();
    assert_eq!(pools(&house), expected, "after a restart");
    assert!(house.log().contains("which stays in force"), "the start warns: {}", house.log());
    assert!(house.json(&["reload"])[0].as_str().unwrap().contains("which stays in force"));
    assert_eq!(pools(&house), expected, "after a reload");
    change(&house, &["pool", "close", "lan"]);
    assert_eq!(change(&house, &["pool", "close", "lan"])["changed"], false);
    let closed = daemon
        .wire()
        .refused("RequestPool", &json!({"AddressSpace": "local", "Options": {"pool": "lan"}, "V6": false}));
    assert!(closed.contains("pool lan is closed"), "{closed}");
    daemon.kill();
    let daemon = house.start();
    assert!(pools(&house)[2].ends_with("closed"), "after a kill -9: {:?}", pools(&house));
    assert_eq!(lease(&mut daemon.wire(), &v6, "web"), "2001:db8:99::2", "a closed pool keeps its subnets");
    change(
        &house,
        &[&["pool", "add", "lan"][..], &["--v4", "203.0.113.0/24", "--v6", "2001:db8:99::/48"]].concat(),
    );
    assert_eq!(pools(&house), expected, "the pool is open again");
}

#[test]
fn a_closed_pool_is_removed_with_its_last_subnet_and_does_not_come_back() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    let (id, _) = daemon.wire().subnet(false);
    refused(&house, &["pool", "close", "default"], 2, &["is the only open one", "gipam pool add"]);
    change(&house, &["pool", "add", "lan", "--v4", "203.0.113.0/24", "--v4-size", "28"]);
    let closed = change(&house, &["pool", "close", "default"]);
    assert!(closed["notes"].to_string().contains("1 subnet is held now"), "{closed}");
    assert!(closed["notes"].to_string().contains("no open pool has IPv6"), "{closed}");
    assert_eq!(daemon.wire().subnet(false).1, "203.0.113.0/28");
    daemon.wire().release_pool(&id);
    until("the empty closed pool is removed", || (pools(&house) == ["lan 203.0.113.0/24 /28"]).then_some(()));
    daemon.stop();
    let daemon = house.start();
    assert_eq!(pools(&house), ["lan 203.0.113.0/24 /28"], "the flags do not bring it back");
    daemon.stop();
}

#[test]
fn where_a_configuration_file_declares_the_pools_a_refusal_shows_the_lines_to_write() {
    let toml =
        "[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\nv4 = { base = \"198.51.100.0/24\", size = 28 }\n";
    let house = House::with_toml(toml);
    let daemon = house.start();
    let line = "v4 = { base = \"203.0.113.0/24\", size = 26 }";
    let add = ["pool", "add", "dmz", "--v4", "203.0.113.0/24", "--v4-size", "26"];
    for arguments in [&add[..], &[&add[..], &["--dry-run"]].concat()] {
        refused(&house, arguments, 2, &["gipam.toml", "gipam reload", "[[pool]]\nname = \"dmz\"\n", line]);
    }
    let resize = ["pool", "resize", "lan", "--v4-size", "26"];
    refused(&house, &resize, 2, &["v4 = { base = \"198.51.100.0/24\", size = 26 }"]);
    // The lines that the refusal prints have the effect that was requested.
    house.configure(&format!("{toml}[[pool]]\nname = \"dmz\"\n{line}\n"));
    house.json(&["reload"]);
    assert_eq!(pools(&house), ["lan 198.51.100.0/24 /28", "dmz 203.0.113.0/24 /26"]);
    refused(&house, &["pool", "close", "dmz"], 2, &["name = \"dmz\"", "gipam reload"]);
    daemon.stop();
}

#[test]
fn unusable_pools_are_refused() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    let add = |more: &[&'static str]| [&["pool", "add", "lan"][..], more].concat();
    for (arguments, code, words) in [
        (add(&[]), 2, &["has neither v4 nor v6"][..]),
        (add(&["--v4", "198.51.100.128/25", "--v4-size", "28"]), 2, &["overlaps pool"]),
        (add(&["--v4", "203.0.113.0/26"]), 2, &["size /24 does not fit 203.0.113.0/26"]),
        (add(&["--v4", "203.0.113.9/24"]), 2, &["host bits set", "203.0.113.0/24"]),
        (add(&["--v4", "2001:db8:99::/48"]), 2, &["2001:db8:99::/48"]),
        (add(&["--v4", "nowhere"]), 2, &["nowhere"]),
        (add(&["--v4-size", "28"]), 2, &["also needs --v4 PREFIX"]),
        (add(&["--v6", "2001:db8:99::/48", "--v6-size", "129"]), 2, &["/129"]),
        (add(&["--v6", "2001:db8:99::/48", "--v6-size", "many"]), 2, &["many"]),
        (vec!["pool", "add", "a,b", "--v4", "203.0.113.0/24"], 2, &["a,b"]),
        (
            vec!["pool", "add", "default", "--v4", "203.0.113.0/24"],
            2,
            &["already cuts 198.51.100.0/24 into /28"],
        ),
        (vec!["pool", "close", "wan"], 3, &["pool \"wan\" does not exist", "default"]),
        (vec!["pool", "resize", "wan", "--v4-size", "28"], 3, &["pool \"wan\" does not exist"]),
        (vec!["pool", "resize", "default"], 2, &["nothing to resize"]),
        (vec!["pool", "resize", "default", "--v4-size", "20"], 2, &["size /20 does not fit"]),
        (vec!["pool", "resize", "default", "--v4", "198.51.100.0/25"], 2, &["only grows"]),
        (vec!["pool", "resize", "default", "--v4", "203.0.113.0/24"], 2, &["does not contain"]),
    ] {
        refused(&house, &arguments, code, words);
    }
    daemon.stop();
}
