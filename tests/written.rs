//! WHAT A PERSON WRITES is taken literally or refused, by `config check`, by commands and at the start alike;
//! and what Docker prints is accepted as input.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::fs;

use daemon::House;
use serde_json::Value;

/// The exit code of a command, and its whole output.
fn run(house: &House, arguments: &[&str]) -> (i32, String) {
    let output = house.gipam(arguments);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn refused(house: &House, arguments: &[&str], words: &str) {
    let (code, said) = run(house, arguments);
    assert!(code == 2 && said.contains(words), "{arguments:?}: {code} {said}");
}

/// Exit code and output of `gipam config check` for this file.
fn checked(text: &str) -> (i32, String) {
    let house = House::with_toml("");
    fs::write(house.path("gipam.toml"), text).unwrap();
    run(&house, &["config", "check", "gipam.toml"])
}

/// Pools that can never be used, and the message for each.
const NEVER: [(&str, &str); 10] = [
    ("0.0.0.0/8", "this network"),
    ("0.0.0.0/0", "this network"),
    ("127.0.0.0/16", "loopback"),
    ("224.0.0.0/8", "multicast"),
    ("240.0.0.0/8", "reserved and broadcast"),
    ("::/48", "unspecified"),
    ("::1/128", "loopback"),
    ("::/0", "unspecified"),
    ("::ffff:10.0.0.0/104", "IPv4 written as IPv6"),
    ("ff05::/48", "multicast"),
];

#[test]
fn a_pool_that_can_never_serve_a_container_is_refused_by_check_command_and_start_alike() {
    let house = House::new(&daemon::POOLS);
    let _daemon = house.start();
    for (base, words) in NEVER {
        let family = if base.contains(':') { "v6" } else { "v4" };
        let size = if base.ends_with("/128") { ", size = 128" } else { ", size = 120" };
        let size = if family == "v6" { size } else { "" };
        let (code, said) =
            checked(&format!("[[pool]]\nname = \"x\"\n{family} = {{ base = \"{base}\"{size} }}\n"));
        assert!(code == 2 && said.contains(words) && said.contains("line 3"), "{base}: {code} {said}");
        let flag = format!("--{family}");
        refused(
            &house,
            &[
                "pool",
                "add",
                "x",
                &flag,
                base,
                &format!("{flag}-size"),
                if family == "v6" { "128" } else { "24" },
            ],
            words,
        );
        let mut other = House::new(&[
            &format!("-{family}"),
            base,
            &format!("-{family}ab"),
            if family == "v6" { "128" } else { "24" },
        ]);
        other.set("--file", &other.path("other.db"));
        let (code, said) = other.refuse();
        assert!(code == 2 && said.contains(words), "{base}: {code} {said}");
        assert!(!other.path("other.db").exists());
    }
}

#[test]
fn an_old_lease_file_with_such_a_pool_is_neither_taken_over_nor_imported() {
    for (base, words) in [("127.0.0.0/16", "loopback"), ("224.0.0.0/8", "multicast")] {
        let mut house = House::with_toml("");
        let old = format!("{{\"v4\": \"{base}\", \"v4ab\": 24, \"allocated\": [], \"free\": []}}");
        fs::write(house.path("leases.json"), &old).unwrap();
        house.set("--file", &house.path("leases.json"));
        let (code, said) = house.refuse();
        assert!(code == 2 && said.contains(words), "{base}: {code} {said}");
        assert_eq!(fs::read_to_string(house.path("leases.json")).unwrap(), old);
        let house = House::new(&daemon::POOLS);
        let _daemon = house.start();
        fs::write(house.path("old.json"), &old).unwrap();
        let before = house.json(&["pools"]);
        refused(&house, &["import", "old.json"], words);
        assert_eq!(house.json(&["pools"]), before);
    }
}

#[test]
fn a_refused_prefix_or_range_names_the_mistake() {
    let pool =
        |base: &str, more: &str| format!("[[pool]]\nname = \"x\"\nv4 = {{ base = \"{base}\" }}\n{more}\n");
    for (text, words) in [
        (pool("10.0.0.0/33", ""), "length /33, and IPv4 has lengths from /0 to /32"),
        (pool("10.0.0.0", ""), "has no length; write it like 10.0.0.0/24"),
        (pool("10.0.0.0/255.255.0.0", ""), "netmask; write 10.0.0.0/16"),
        (pool("10.0.0.7/16", ""), "write 10.0.0.0/16"),
        (pool("10.0.0.0/26", ""), "size /24 does not fit 10.0.0.0/26"),
        (pool("10.0.0.0/16", "reserved = [\"10.0.0.9-10.0.0.1\"]"), "write 10.0.0.1-10.0.0.9"),
        (pool("10.0.0.0/16", "reserved = [\"10.0.0.1-2001:db8::1\"]"), "mixes IPv4 and IPv6"),
        (pool("10.0.0.0/16", "reserved = [\"10.0.0.7/24\"]"), "write 10.0.0.0/24 for all of it, or 10.0.0.7"),
        (pool("10.0.0.0/16", "reserved = [\"10.9.0.0/24\"]"), "lies outside pool x"),
        (pool("10.0.0.0/16", "reserved = [\"10.0.0.0/16\"]"), "all of 10.0.0.0/16 is reserved"),
        (
            pool("10.0.0.0/16", "reserved = [\"10.0.128.0/17\", \"10.0.0.0/17\"]"),
            "all of 10.0.0.0/16 is reserved",
        ),
        (
            format!("reserved = [\"10.0.0.0/8\"]\n{}", pool("10.0.0.0/16", "")),
            "all of 10.0.0.0/16 is reserved",
        ),
        (format!("cooling = 600\n{}", pool("10.0.0.0/16", "")), "write \"10m\" for 600 s"),
        (format!("socket_mode = 600\n{}", pool("10.0.0.0/16", "")), "write \"0600\""),
        (format!("http = 9468\n{}", pool("10.0.0.0/16", "")), "write \"9468\""),
        (format!("history = \"7\"\n{}", pool("10.0.0.0/16", "")), "write 7 without quotes"),
        (format!("unix = \"true\"\n{}", pool("10.0.0.0/16", "")), "write true without quotes"),
    ] {
        let (code, said) = checked(&text);
        assert!(code == 2 && said.contains(words), "{text}: {code} {said}");
    }
}

#[test]
fn a_base_alone_is_a_pool() {
    let (code, said) = checked("[[pool]]\nname = \"x\"\nv4 = \"10.0.0.0/16\"\nv6 = \"2001:db8::/48\"\n");
    assert!(code == 0 && said.contains("is valid"), "{said}");
    let house = House::with_toml("[[pool]]\nname = \"x\"\nv4 = \"198.18.0.0/16\"\n");
    let daemon = house.start();
    assert!(daemon.wire().subnet(false).1.ends_with("/24"));
    let (code, said) = checked("[[pool]]\nname = \"x\"\nv4 = \"10.0.0.0/33\"\n");
    assert!(code == 2 && said.contains("line 3, column 6, key pool[1].v4") && said.contains("/33"), "{said}");
    let (code, said) = checked("[[pool]]\nname = \"x\"\nv4 = { base = \"10.0.0.0/16\", sise = 24 }\n");
    assert!(code == 2 && said.contains("unknown key") && said.contains("line 3, column 30"), "{said}");
    let (code, said) = checked("[[pool]]\nname = \"x\"\nv4 = 10\n");
    assert!(code == 2 && said.contains("a prefix, or a table with base and size"), "{said}");
}

#[test]
fn a_setting_that_works_but_may_be_a_mistake_causes_a_warning() {
    for (text, words) in [
        ("[[pool]]\nname = \"x\"\nv6 = \"fe80::/56\"\n", "fe80::/56 is link-local"),
        ("[[pool]]\nname = \"x\"\nv4 = { base = \"10.0.0.0/24\", size = 32 }\n", "one address"),
        (
            "reserved = [\"192.0.2.0/24\"]\n[[pool]]\nname = \"x\"\nv4 = \"10.0.0.0/16\"\n",
            "outside all pools",
        ),
    ] {
        let (code, said) = checked(text);
        assert!(code == 0 && said.contains(words), "{text}: {code} {said}");
    }
}

#[test]
fn an_unknown_flag_is_refused_with_a_suggestion() {
    let house = House::with_toml("");
    for (arguments, words) in
        [(&["-v5", "10.0.0.0/8"][..], "--v4"), (&["-fiel", "x"], "--file"), (&["leases", "-jsn"], "--json")]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gipam"));
        let output =
            command.current_dir(house.directory.path()).env_clear().args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn commands_say_what_is_wrong_with_a_range_an_address_or_a_prefix() {
    let house = House::new(&daemon::POOLS);
    let daemon = house.start();
    let (_, prefix) = daemon.wire().subnet(false);
    refused(&house, &["reserve", "198.18.0.9-198.18.0.3"], "write 198.18.0.3-198.18.0.9");
    refused(&house, &["reserve", "198.18.0.9/24"], "write 198.18.0.0/24 for all of it, or 198.18.0.9");
    refused(&house, &["reserve", "198.18.0.0/33"], "length /33");
    refused(&house, &["unreserve", "198.18.0.9-2001:db8::1"], "mixes IPv4 and IPv6");
    refused(&house, &["pin", "web", "198.18.0.9/33"], "length /33");
    refused(&house, &["who", "198.18.0.9/33"], "length /33");
    refused(&house, &["release", "198.18.0.9/33", "--force"], "length /33");
    refused(&house, &["pool", "add", "x", "--v4", "198.51.100.7/24"], "write 198.51.100.0/24");
    refused(&house, &["pool", "add", "x", "--v4", "198.51.100.0/40"], "length /40");
    refused(&house, &["adopt", "198.18.9.7/24", "x"], "write 198.18.9.0/24");
    // Both families have pools here: a length that does not exist in IPv4 means IPv6.
    assert_eq!(house.json(&["explain", "--size", "40"]).as_array().unwrap().len(), 1);
    refused(&house, &["explain", "--size", "129"], "/129 is longer than an address");
    refused(&house, &["explain", "--pool", "198.18.0.0/33"], "length /33");
    refused(&house, &["explain", "--pool", "198.18.0.9/24"], "write 198.18.0.0/24");
    refused(&house, &["leases", "198.18.0.0/33"], "length /33");
    refused(&house, &["map", "198.18.0.0/33"], "length /33");
    refused(&house, &["history", "198.18.0.0/33"], "length /33");
    let (code, said) = run(&house, &["reserve", "198.18.0.0/16", "--dry-run"]);
    assert!(code == 0 && said.contains("gives no further subnet"), "{prefix}: {said}");
}

#[test]
fn an_address_with_its_length_as_docker_prints_it_is_an_address() {
    let house = House::new(&daemon::POOLS);
    let daemon = house.start();
    let (id, prefix) = daemon.wire().subnet(false);
    let given = daemon.wire().address(&id, "", Value::Null);
    let other = daemon.wire().address(&id, "", Value::Null);
    let bare = given.split('/').next().unwrap();
    assert!(given.ends_with("/24"), "{given}");
    assert_eq!(house.json(&["who", &given])[0]["address"], bare);
    assert_eq!(house.json(&["explain", "--address", &given])[0]["given"], Value::Null);
    let free = prefix.replace(".0/24", ".77/24");
    let (code, said) = run(&house, &["pin", "web", &free]);
    assert!(code == 0 && said.contains(".77"), "{said}");
    assert_eq!(run(&house, &["unpin", &free]).0, 0);
    // Only the address is released, never its whole subnet.
    let (code, said) = run(&house, &["release", &given, "--force", "--without-engine"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(house.json(&["leases"]).as_array().unwrap().len(), 1, "only the address was released");
    assert_eq!(run(&house, &["release", &prefix, &other, "--force", "--without-engine"]).0, 0);
    assert_eq!(house.json(&["subnets"]).as_array().unwrap().len(), 1);
    // An address without a subnet suffices, in IPv6 too.
    let (id, _) = daemon.wire().subnet(true);
    let given = daemon.wire().address(&id, "", Value::Null);
    let bare = given.split('/').next().unwrap();
    let (code, said) = run(&house, &["release", bare, "--force", "--without-engine"]);
    assert_eq!(code, 0, "{said}");
    assert!(house.json(&["leases"]).as_array().unwrap().is_empty());
    let (code, said) = run(&house, &["release", "192.0.2.7", "--force"]);
    assert!(code == 3 && said.contains("no held subnet contains 192.0.2.7"), "{said}");
}

#[test]
fn an_address_alone_is_released_in_the_one_subnet_that_is_meant() {
    let house = House::new(&daemon::POOLS);
    let daemon = house.start();
    let pool = |text: &str, copy: bool| {
        let options = if copy { serde_json::json!({"overlap": "true"}) } else { Value::Null };
        let asked = serde_json::json!({"AddressSpace": "local", "Pool": text, "Options": options});
        daemon.wire().pool(&asked).0
    };
    let release = |text: &str| run(&house, &["release", text, "--force", "--without-engine"]);
    let left = || {
        let rows = house.json(&["leases"]);
        let mut ids: Vec<Value> = rows.as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
        ids.sort_by_key(Value::to_string);
        ids
    };
    // Two subnets share the prefix: the one in which the address is leased is meant.
    let (first, copy) = (pool("203.0.113.0/24", false), pool("203.0.113.0/24", true));
    daemon.wire().address(&copy, "203.0.113.7", Value::Null);
    let (code, said) = release("203.0.113.7");
    assert!(code == 0 && left().is_empty(), "{said}");
    // If the address is leased in both, it is ambiguous.
    for id in [&first, &copy] {
        daemon.wire().address(id, "203.0.113.7", Value::Null);
    }
    let (code, said) = release("203.0.113.7");
    assert!(code == 2 && said.contains(&first) && said.contains(&copy) && left().len() == 2, "{code} {said}");
    // If several subnets contain the address, the length that was written selects one.
    let (wide, narrow) = (pool("192.0.2.0/24", false), pool("192.0.2.0/25", true));
    for id in [&wide, &narrow] {
        daemon.wire().address(id, "192.0.2.9", Value::Null);
    }
    let (code, said) = release("192.0.2.9/25");
    assert!(
        code == 0 && !left().contains(&Value::from(narrow)) && left().contains(&Value::from(wide)),
        "{said}"
    );
    let (code, said) = release("192.0.2.9/32");
    assert!(code == 0 && left().len() == 2, "as Docker prints an address of a /32: {said}");
}

#[test]
fn a_mac_with_dots_is_a_mac() {
    let house = House::new(&daemon::POOLS);
    let daemon = house.start();
    let (id, prefix) = daemon.wire().subnet(false);
    let address = prefix.replace(".0/24", ".77");
    let (code, said) = run(&house, &["pin", "0242.c612.0077", &address]);
    assert!(code == 0 && said.contains("02:42:c6:12:00:77"), "{said}");
    let options = serde_json::json!({"com.docker.network.endpoint.macaddress": "02:42:c6:12:00:77"});
    assert_eq!(daemon.wire().address(&id, "", options), format!("{address}/24"));
    let explained = house.json(&["explain", "--pool", &prefix, "--mac", "0242.C612.0077"]);
    assert!(explained[0]["question"].is_string(), "{explained}");
}
