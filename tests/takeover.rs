//! The real daemon takes over the old gipam's lease files: the networks keep working, the file stays
//! unchanged, and gipam never guesses.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use daemon::{Daemon, House, until};
use http::Wire;

const FIRST: &str = include_str!("../src/store/old_gipam/fixtures/first.json");
const SECOND: &str = include_str!("../src/store/old_gipam/fixtures/second.json");
const V4_ONLY: &str = include_str!("../src/store/old_gipam/fixtures/second-v4-only.json");

/// A house whose `--file` is this lease file.
fn with_file(name: &str, content: &str, pools: &[&str]) -> House {
    let mut house = House::new(pools);
    fs::write(house.path(name), content).unwrap();
    house.set("--file", &house.path(name));
    house
}

fn pools_of(daemon: &Daemon) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| (text(&row["pool"]), text(&row["base"]), row["size"].as_u64().unwrap());
    daemon.view("/v1/pools").as_array().unwrap().iter().map(row).collect()
}

fn pool(name: &str, base: &str, size: u64) -> (String, String, u64) {
    (name.to_owned(), base.to_owned(), size)
}

#[test]
fn networks_of_the_second_generation_keep_working() {
    let house = with_file("leases.json", SECOND, &[]);
    let daemon = house.start();
    assert!(house.path("leases.db").exists());
    assert_eq!(fs::read_to_string(house.path("leases.json")).unwrap(), SECOND, "the lease file is unchanged");
    assert_eq!(
        pools_of(&daemon),
        [pool("default", "198.51.100.0/24", 28), pool("default", "2001:db8::/56", 64)]
    );
    let subnets = daemon.view("/v1/subnets");
    let ids: Vec<&str> = subnets.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["78Tnh7puU4QdVPG4", "d6KqMpuhH6jbJwQg", "CuSeY5LeUOftq5wF", "gM3RjwBWzIhb2M3c"]);
    let leases = daemon.view("/v1/leases");
    assert_eq!(leases.as_array().unwrap().len(), 17);
    assert!(leases.as_array().unwrap().iter().all(|row| row["kind"].is_null() && row["state"] == "leased"));
    let mut wire = daemon.wire();
    // The broadcast address that the old gipam had given out is released like any other, and never given
    // again.
    wire.release("78Tnh7puU4QdVPG4", "198.51.100.15");
    assert_eq!(
        wire.address("78Tnh7puU4QdVPG4", "", Value::Null),
        "198.51.100.4/28",
        "the released address can be given again"
    );
    let full = json!({"PoolID": "78Tnh7puU4QdVPG4", "Address": "", "Options": null});
    assert!(wire.refused("RequestAddress", &full).starts_with("no available addresses on this pool: "));
    // The old gipam saves every 30 s: addresses granted since then may be beyond its counter.
    assert_eq!(wire.address("gM3RjwBWzIhb2M3c", "", Value::Null), "2001:db8::45/64");
    let text = wire.refused(
        "RequestAddress",
        &json!({"PoolID": "gM3RjwBWzIhb2M3c", "Address": "2001:db8::3", "Options": null}),
    );
    assert!(text.contains("held by a lease from an old lease file"), "{text}");
    // Networks can be removed as before, and new ones get PoolIDs in our format.
    wire.release_pool("d6KqMpuhH6jbJwQg");
    let (id, prefix) = wire.subnet(false);
    assert!(id.starts_with("local/198.51.100."), "{id} {prefix}");
    daemon.kill();
    let daemon = house.start();
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 4);
    assert_eq!(fs::read_to_string(house.path("leases.json")).unwrap(), SECOND, "the lease file is unchanged");
}

#[test]
fn networks_of_the_first_generation_keep_working() {
    let house = with_file("lease.json", FIRST, &[]);
    let daemon = house.start();
    assert_eq!(pools_of(&daemon), [pool("default", "192.168.0.0/16", 24), pool("default", "fe80::/56", 64)]);
    let mut wire = daemon.wire();
    assert!(wire.address("9bFmZGOlMXoXGyZP", "", Value::Null).ends_with("/24"));
    wire.address("KOn1NhXCMzlfcHax", "", Value::Null);
    // The addresses that the old gipam had released are free.
    wire.pool(&json!({"AddressSpace": "local", "Pool": "192.168.1.0/24"}));
}

#[test]
fn settings_of_the_file_override_flags_and_a_family_that_it_lacks_is_added() {
    let house = with_file("leases.json", V4_ONLY, &["-v4", "198.18.0.0/16", "-v6", "2001:db8:77::/48"]);
    let daemon = house.start();
    let both = [pool("default", "10.0.0.0/16", 24), pool("default", "2001:db8:77::/48", 64)];
    assert_eq!(pools_of(&daemon), both);
    let log = house.log();
    assert!(
        log.contains("198.18.0.0/16") && log.contains("10.0.0.0/16"),
        "a warning names both prefixes: {log}"
    );
    drop(daemon);
    // From then on the books override flags.
    let mut later = House::new(&["-v4", "203.0.113.0/24"]);
    later.set("--file", &house.path("leases.json"));
    let daemon = later.start();
    assert_eq!(pools_of(&daemon), both);
    assert!(later.log().contains("203.0.113.0/24"), "{}", later.log());
}

#[test]
fn a_configuration_file_overrides_the_lease_file() {
    let mut house =
        House::with_toml("[[pool]]\nname = \"lan\"\nv4 = { base = \"198.51.100.0/23\", size = 27 }\n");
    fs::write(house.path("leases.json"), SECOND).unwrap();
    house.set("--file", &house.path("leases.json"));
    let daemon = house.start();
    assert_eq!(pools_of(&daemon), [pool("lan", "198.51.100.0/23", 27)]);
    let subnets = daemon.view("/v1/subnets");
    let rows: Vec<(&Value, &Value)> =
        subnets.as_array().unwrap().iter().map(|row| (&row["id"], &row["pool"])).collect();
    assert_eq!(rows[0], (&json!("78Tnh7puU4QdVPG4"), &json!("lan")));
    assert_eq!(rows[3], (&json!("gM3RjwBWzIhb2M3c"), &Value::Null), "outside all pools, and still served");
    daemon.wire().address("gM3RjwBWzIhb2M3c", "", Value::Null);
}

#[test]
fn a_file_that_changed_after_its_takeover_is_refused_until_it_is_imported() {
    let house = with_file("leases.json", SECOND, &[]);
    let daemon = house.start();
    daemon.wire().release_pool("d6KqMpuhH6jbJwQg");
    assert!(daemon.stop().success());
    let changed = SECOND.replace("198.51.100.17", "198.51.100.18").replace(
        "\"198.51.100.18\"\n      ]\n    },\n    {\n      \"id\": \"Cu",
        "\"198.51.100.19\"\n      ]\n    },\n    {\n      \"id\": \"Cu",
    );
    assert_ne!(changed, SECOND);
    fs::write(house.path("leases.json"), &changed).unwrap();
    let before = fs::read(house.path("leases.db")).unwrap();
    let (code, text) = house.refuse();
    assert_eq!(code, 1);
    let file = house.path("leases.json").display().to_string();
    assert!(text.contains(&format!("gipam import {file} --replace")), "{text}");
    assert_eq!(fs::read(house.path("leases.db")).unwrap(), before, "the books are untouched");
    // Without --replace the books are kept; with it, the file takes effect again.
    let import = |arguments: &[&str]| {
        let output = house.gipam(&[&["import", &file, "--file", &file], arguments].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = import(&[]);
    assert_eq!((code, text.contains("repeat with --replace")), (Some(4), true), "{text}");
    assert_eq!(import(&["--replace"]).0, Some(0));
    let daemon = house.start();
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 4);
    let leases = daemon.view("/v1/leases");
    assert!(leases.as_array().unwrap().iter().any(|row| row["address"] == "198.51.100.18"));
    // The import works the same through the running daemon.
    daemon.wire().release_pool("d6KqMpuhH6jbJwQg");
    assert_eq!(import(&["--replace"]).0, Some(0));
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 4);
    daemon.wire().address("gM3RjwBWzIhb2M3c", "", Value::Null);
}

#[test]
fn a_truncated_or_foreign_file_is_refused_and_no_books_are_created() {
    let cut = &SECOND[..SECOND.len() / 2];
    for content in [cut, "[]", "{}", "{\"v4\":\"nonsense\",\"allocated\":[]}", "# not JSON", "\u{0}\u{0}"] {
        let house = with_file("leases.json", content, &["-v4", "198.18.0.0/16"]);
        let (code, text) = house.refuse();
        assert_eq!(code, 1, "{content}: {text}");
        assert!(text.contains("leases.json") && text.contains("untouched"), "{content}: {text}");
        assert_eq!(fs::read_to_string(house.path("leases.json")).unwrap(), content);
        assert!(!house.path("leases.db").exists(), "{content}");
        assert!(!house.socket().exists());
    }
    // A file that is neither JSON nor a database, under its own name.
    let house = with_file("precious", "my diary", &["-v4", "198.18.0.0/16"]);
    let (code, text) = house.refuse();
    assert_eq!((code, text.contains("precious")), (1, true), "{text}");
    assert_eq!(fs::read_to_string(house.path("precious")).unwrap(), "my diary");
    // Importing such a file does not change anything either.
    let house = with_file("leases.json", SECOND, &[]);
    let daemon = house.start();
    let before = daemon.books();
    fs::write(house.path("cut.json"), cut).unwrap();
    let output = house.gipam(&["import", "cut.json", "--replace"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(daemon.books(), before);
}

#[test]
fn an_export_in_the_place_of_the_file_is_recognized() {
    let house = with_file("leases.json", SECOND, &[]);
    let daemon = house.start();
    let mut wire = daemon.wire();
    wire.release_pool("d6KqMpuhH6jbJwQg");
    let (id, _) = wire.subnet(true);
    wire.address(&id, "", Value::Null);
    let held = daemon.view("/v1/leases");
    let output = house.gipam(&["export"]);
    assert!(output.status.success());
    let exported: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids: Vec<&str> = exported["allocated"]
        .as_array()
        .unwrap()
        .iter()
        .map(|subnet| subnet["id"].as_str().unwrap())
        .collect();
    assert!(
        ids.contains(&"gM3RjwBWzIhb2M3c") && ids.contains(&id.as_str()) && !ids.contains(&"d6KqMpuhH6jbJwQg")
    );
    assert!(daemon.stop().success());
    fs::write(house.path("leases.json"), &output.stdout).unwrap();
    let daemon = house.start();
    assert_eq!(daemon.view("/v1/leases"), held);
    // Without a daemon the result is the same, and is also remembered.
    assert!(daemon.stop().success());
    let file = house.path("leases.json").display().to_string();
    let again = house.gipam(&["export", "--file", &file]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), exported);
    fs::write(house.path("leases.json"), &again.stdout).unwrap();
    house.start();
    // A fresh house recognizes the export.
    let moved = with_file("lease.json", &String::from_utf8(output.stdout).unwrap(), &[]);
    let leases = |rows: &Value| -> Vec<Value> {
        rows.as_array().unwrap().iter().map(|row| row["address"].clone()).collect()
    };
    assert_eq!(leases(&moved.start().view("/v1/leases")), leases(&held));
}

/// `WorkingDirectory=`, `EnvironmentFile=` with the old variables, no `-file`: only the binary is new.
#[test]
fn the_old_unit_keeps_working() {
    for name in ["leases.json", "lease.json"] {
        let mut house = House::new(&[]);
        house.arguments.clear();
        fs::write(house.path(name), FIRST).unwrap();
        for (variable, value) in [("GIPAM_V6", "fe80::/56"), ("GIPAM_V4", ""), ("GIPAM_ADDRESS", "")] {
            house.variables.push((variable.to_owned(), value.to_owned()));
        }
        let socket = house.socket().display().to_string();
        house.variables.push(("GIPAM_SOCKET".to_owned(), socket));
        let daemon = house.start();
        let mut wire = daemon.wire();
        let (_, prefix) = wire.subnet(true);
        assert!(prefix.starts_with("fe80:") && prefix.ends_with("/64"), "{prefix}");
        assert!(wire.address("9bFmZGOlMXoXGyZP", "", Value::Null).starts_with("192.168.0."));
        assert_eq!(fs::read_to_string(house.path(name)).unwrap(), FIRST);
        daemon.kill();
        // The old file may be deleted one day; the books made from it are found without it.
        fs::remove_file(house.path(name)).unwrap();
        let daemon = house.start();
        assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 3);
    }
}

#[test]
fn a_new_installation_with_the_old_unit_works_without_a_lease_file() {
    let mut house = House::new(&[]);
    house.arguments.clear();
    for (variable, value) in
        [("GIPAM_V6", "fe80::/56".to_owned()), ("GIPAM_SOCKET", house.socket().display().to_string())]
    {
        house.variables.push((variable.to_owned(), value));
    }
    house.variables.push(("STATE_DIRECTORY".to_owned(), house.path("state").display().to_string()));
    let daemon = house.start();
    let (id, _) = daemon.wire().subnet(true);
    assert!(id.starts_with("local/fe80:"), "{id}");
    assert!(house.path("state/gipam.db").exists());
}

/// A lease file without `.json`: the books are next to it, and are found even after it was deleted.
#[test]
fn books_are_found_again_without_their_lease_file() {
    let house = with_file("state", SECOND, &["-v4", "198.18.0.0/16"]);
    let daemon = house.start();
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 4);
    assert!(daemon.stop().success());
    assert!(house.path("state.db").exists());
    for gone in [true, false] {
        if gone {
            fs::remove_file(house.path("state")).unwrap();
        } else {
            fs::write(house.path("state"), "").unwrap();
        }
        let daemon = house.start();
        assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 4, "gone: {gone}");
        assert!(daemon.stop().success());
    }
}

#[test]
fn no_pools_from_any_source_is_a_usage_error() {
    let house = House::new(&[]);
    let (code, text) = house.refuse();
    assert_eq!(code, 2);
    assert!(text.contains("no pools are configured: give -v4 PREFIX"), "{text}");
    assert!(!house.path("gipam.db").exists() && !house.socket().exists());
    let empty: PathBuf = house.path("leases.json");
    fs::write(&empty, r#"{"v6":"","v4":"","allocated":null,"free":null}"#).unwrap();
    let mut house = house;
    house.set("--file", &empty);
    assert_eq!(house.refuse().0, 2);
    until("the daemon no longer listens", || Wire::try_unix(&house.socket()).is_none().then_some(()));
}

/// SIGHUP rereads the configuration; an import afterwards must not revert to the earlier one.
#[test]
fn an_import_after_a_reload_keeps_the_reloaded_settings() {
    let toml = |size: u8| {
        format!("[[pool]]\nname = \"lan\"\nv4 = {{ base = \"198.51.100.0/23\", size = {size} }}\n")
    };
    let house = House::with_toml(&toml(27));
    let daemon = house.start();
    house.configure(&toml(26));
    daemon.signal(rustix::process::Signal::HUP);
    let reloaded = [pool("lan", "198.51.100.0/23", 26)];
    until("the reload is applied", || (pools_of(&daemon) == reloaded).then_some(()));
    fs::write(house.path("old.json"), SECOND).unwrap();
    let output = house.gipam(&["import", "old.json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(pools_of(&daemon), reloaded);
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 4);
    // A mistake in the configuration changes nothing.
    house.configure("[[pool]]\nname = \"lan\"\nbase = 7\n");
    daemon.signal(rustix::process::Signal::HUP);
    until("the mistake is logged", || house.log().contains("was not reloaded").then_some(()));
    assert_eq!(pools_of(&daemon), reloaded);
}
