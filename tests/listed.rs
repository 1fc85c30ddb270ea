//! `gipam import` of tables and of `docker network inspect` output, into the real daemon's books.
//!
//! Checks: *unique*, *disjoint* (entries that would break them are refused), *faithful* and *durable*
//! (imported entries survive a kill), *repeatable* (importing a list a second time changes nothing).

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::io::Write;
use std::process::{Command, Stdio};

use daemon::House;
use gipam::plan::Plan;
use gipam::plan::change::{Change, Kind};
use gipam::plan::listed::ListedSubnet;
use gipam::plan::prefix::Prefix;
use gipam::plan::request::{Adoption, Fence, ShownLease};
use gipam::plan::settings::Settings;
use proptest::prelude::*;
use serde_json::{Value, json};

const TOML: &str = "[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\nv4 = { base = \"198.18.0.0/16\", size = 24 }\n\
    cooling = \"0s\"\nsubnet_cooling = \"0s\"\n";

const TABLE: &str = "\
address;subnet;Kind;holder;mac;pool_id
198.18.7.1;198.18.7.0/24;gateway;;;local/198.18.7.0/24#0123456789abcdef
198.18.7.2;198.18.7.0/24;endpoint;\"web; the first\";02:00:00:00:00:02;

2001:db8::5;2001:db8::/64;;db;;
;192.0.2.0/28;;;;
";

fn house() -> House {
    House::with_toml(TOML)
}

/// The text with a single space between a table's columns.
fn squeezed(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    text.lines().map(line).collect()
}

/// Runs an import of this text.
fn import(house: &House, name: &str, content: &str, more: &[&str]) -> (i32, String) {
    std::fs::write(house.path(name), content).unwrap();
    let output = house.gipam(&[&["import", name], more].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), squeezed(&String::from_utf8(text).unwrap()))
}

fn taken(house: &House, content: &str, more: &[&str]) -> Value {
    let (code, text) = import(house, "list", content, &[&["--json"], more].concat());
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_table_is_only_shown_until_it_is_applied_and_then_outlives_a_kill() {
    let house = house();
    let daemon = house.start();
    let (code, text) = import(&house, "list.csv", TABLE, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("line 2 198.18.7.0/24 2 0 would be adopted"), "{text}");
    assert!(
        text.ends_with("nothing was changed; --apply adds 3 subnets and 3 addresses to the books\n"),
        "{text}"
    );
    daemon.assert_empty("without --apply the import must not change the books");
    let (code, done) = import(&house, "list.csv", TABLE, &["--apply"]);
    assert_eq!(code, 0, "{done}");
    assert!(done.ends_with("3 subnets and 3 addresses were added to the books\n"), "{done}");
    let books = daemon.books();
    let rows = books[1].as_array().unwrap();
    let web = rows.iter().find(|row| row["address"] == "198.18.7.2").unwrap();
    assert_eq!((&web["holder"], &web["mac"]), (&json!("web; the first"), &json!("02:00:00:00:00:02")));
    assert_eq!(rows.iter().find(|row| row["address"] == "2001:db8::5").unwrap()["kind"], Value::Null);
    assert_eq!(
        books[0][0]["gateway"],
        Value::Null,
        "192.0.2.0/28 is listed without an address: {}",
        books[0]
    );
    daemon.kill();
    let daemon = house.start();
    assert_eq!(daemon.books(), books, "faithful and durable");
    let again = taken(&house, TABLE, &["--apply"]);
    assert_eq!((&again["subnets"], &again["leases"]), (&json!(0), &json!(0)), "{again}");
    assert_eq!(daemon.books(), books, "repeatable");
}

#[test]
fn docker_continues_with_the_pool_id_of_a_table_and_holders_get_their_addresses_back() {
    let house = house();
    let daemon = house.start();
    taken(&house, TABLE, &["--apply"]);
    let mut wire = daemon.wire();
    let id = "local/198.18.7.0/24#0123456789abcdef";
    let named = |name: &str| json!({"com.docker.network.endpoint.name": name});
    assert_eq!(wire.address(id, "", named("new")), "198.18.7.3/24", "unique: a leased address is not given");
    wire.release(id, "198.18.7.2");
    assert_eq!(wire.address(id, "", named("other")), "198.18.7.4/24");
    assert_eq!(wire.address(id, "", named("web; the first")), "198.18.7.2/24");
    let (_, prefix) = wire.subnet(false);
    assert_ne!(prefix, "198.18.7.0/24", "disjoint: the new subnet lies elsewhere");
    // Without a PoolID in the table, the subnet gets it from the first request.
    let later = "local/2001:db8::/64#00112233445566ff";
    assert_eq!(wire.address(later, "", named("db2")), "2001:db8::2/64");
    wire.release_pool(id);
    wire.release_pool(later);
    let left = house.json(&["subnets"]);
    assert_eq!(left.as_array().unwrap().len(), 2, "{left}");
}

#[test]
fn mistakes_in_a_table_are_named_by_line_and_column_and_change_nothing() {
    let house = house();
    let daemon = house.start();
    let head = "subnet,address,kind,mac,range,pool_id\n192.0.2.0/24,192.0.2.9,,,,\n";
    for (table, said) in [
        ("", "line 1: the file is empty"),
        (
            "what is this",
            "line 1, column 1: unknown column \"what is this\"; the columns are subnet, pool_id",
        ),
        ("subnet,Subnet\n", "line 1, column 2: duplicate column subnet"),
        ("address\n192.0.2.1\n", "line 1: column subnet is missing"),
        ("subnet,address\n192.0.2.0/24\n", "line 2: 1 field, but the first line names 2 columns"),
        ("subnet,address\n192.0.2.0/24,\"192.0.2.1\n\n", "line 2, column 2: unclosed quote"),
        ("HEAD\n192.0.2.0/99,,,,,\n", "line 4, column 1 (subnet): \"192.0.2.0/99\" is not a prefix"),
        (
            "HEAD192.0.2.1/24,,,,,\n",
            "line 3, column 1 (subnet): 192.0.2.1/24 has host bits set; write 192.0.2.0/24",
        ),
        ("HEAD,192.0.2.1,,,,\n", "line 3, column 1 (subnet): subnet is empty"),
        (
            "HEAD192.0.2.0/24,192.0.3.1,,,,\n",
            "line 3, column 2 (address): 192.0.3.1 does not lie in 192.0.2.0/24",
        ),
        ("HEAD192.0.2.0/24,web,,,,\n", "line 3, column 2 (address): \"web\" is not an IP address"),
        (
            "HEAD192.0.2.0/24,192.0.2.9,,,,\n",
            "line 3, column 2 (address): duplicate address 192.0.2.9, already on line 2",
        ),
        (
            "HEAD192.0.2.0/24,192.0.2.1,router,,,\n",
            "line 3, column 3 (kind): the kind must be gateway, auxiliary",
        ),
        ("HEAD192.0.2.0/24,192.0.2.1,,0200,,\n", "line 3, column 4 (mac): \"0200\" is not a MAC address"),
        (
            "HEAD192.0.2.0/24,,gateway,,,\n",
            "line 3, column 3 (kind): this column needs an address on the same line",
        ),
        ("HEAD192.0.2.0/24,,,,192.0.3.0/26,\n", "line 3, column 5 (range): 192.0.3.0/26 does not lie in"),
        (
            "HEAD192.0.2.0/24,,,,,a\n192.0.2.0/24,,,,,b\n",
            "line 4, column 6 (pool_id): line 2 has a different PoolID",
        ),
        (
            "HEAD192.0.2.128/25,,,,,\n",
            "line 3: address pool overlaps with existing pool on this address space: 192.0.2.128/25 overlaps 192.0.2.0/24 of line 2",
        ),
        (
            "HEAD192.0.2.0/24,192.0.2.255,endpoint,,,\n",
            "line 3: requested address is out of range: 192.0.2.255 is the broadcast address",
        ),
        (
            "HEAD192.0.2.0/24,,,,,local/192.0.2.0/25#0123456789abcdef\n",
            "line 2: invalid request: the PoolID names local/192.0.2.0/25",
        ),
    ] {
        let (code, text) = import(&house, "list.csv", &table.replace("HEAD", head), &["--apply"]);
        assert!(text.contains(said), "{table:?}: {text}");
        assert!([2, 4].contains(&code), "{table:?}: {code}");
        daemon.assert_empty(table);
    }
}

#[test]
fn a_table_that_overlaps_held_subnets_is_imported_completely_or_not_at_all() {
    let house = house();
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (id, prefix) = wire.subnet(false);
    let web = wire.address(&id, "", json!({"com.docker.network.endpoint.name": "web"}));
    assert_eq!((prefix.as_str(), web.as_str()), ("198.18.0.0/24", "198.18.0.2/24"));
    let before = daemon.books();
    for (line, said) in [
        ("198.18.0.0/24,198.18.0.2,db,", "line 3: address already in use: 198.18.0.2 is held by web"),
        (
            "198.18.0.0/25,,,",
            "line 3: pool overlaps with other one on this address space: 198.18.0.0/25 overlaps",
        ),
        ("198.18.0.0/24,,,local/198.18.0.0/24#0123456789abcdef", "line 3: address pool overlaps"),
    ] {
        let table = format!("subnet,address,holder,pool_id\n203.0.113.0/24,203.0.113.1,new,\n{line}\n");
        for more in [&[][..], &["--apply"]] {
            let (code, text) = import(&house, "list.csv", &table, more);
            assert_eq!(code, 4, "{text}");
            assert!(text.contains("nothing was changed: ") && text.contains(said), "{line}: {text}");
            assert_eq!(daemon.books(), before, "{line}");
        }
    }
    // Entries that agree with the books are completed.
    let table = "subnet,address,holder\n198.18.0.0/24,198.18.0.2,web\n198.18.0.0/24,198.18.0.9,cache\n";
    let done = taken(&house, table, &["--apply"]);
    assert_eq!((&done["leases"], &done["rows"][0]["known"]), (&json!(1), &json!(1)), "{done}");
    assert_eq!(house.json(&["who", "198.18.0.9"])[0]["lease"]["holder"], "cache");
    // An address that was released a moment ago may be listed because the list is old.
    daemon.wire().release(&id, "198.18.0.9");
    let (code, text) = import(&house, "list.csv", table, &["--apply"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("198.18.0.9 was released at"), "{text}");
}

/// The address as a number, the index of its kind, and a name.
type Lease = (u128, usize, Option<String>);

/// A random list: few prefixes, which often overlap, and few addresses.
fn lists() -> impl Strategy<Value = Vec<ListedSubnet>> {
    let lease = (1..6u128, 0..4usize, prop::option::of("[ab]"));
    let subnet = (24..28u8, 0..4u32, prop::bool::ANY, prop::collection::vec(lease, 0..4));
    let listed = |(length, n, named, leases): (u8, u32, bool, Vec<Lease>)| {
        let first = std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(198, 18, 0, 0)) + n * 64);
        let prefix = Prefix::parse(&format!("{first}/{length}")).unwrap();
        let mut once = std::collections::BTreeSet::new();
        let leases = leases.into_iter().filter(|(address, ..)| once.insert(*address));
        let kinds = [Kind::Gateway, Kind::Auxiliary, Kind::Endpoint, Kind::Unknown];
        let lease = |(address, kind, name): Lease| ShownLease {
            address: prefix.first() + address,
            kind: kinds[kind],
            name: name.map(Into::into),
            mac: None,
            evidence: "a list".into(),
        };
        let network = Adoption {
            prefix,
            range: None,
            id: named.then(|| format!("local/{prefix}#00000000000000{length}")),
            options: Default::default(),
            leases: leases.map(lease).collect(),
            read: Fence { generation: 0, at: 0 },
            evidence: "a list".into(),
        };
        ListedSubnet { place: String::new(), places: Default::default(), shown: false, network }
    };
    prop::collection::vec(subnet.prop_map(listed), 0..6)
}

proptest! {
    #[test]
    fn disjoint_unique_and_repeatable_whatever_is_listed(first in lists(), second in lists()) {
        let mut plan = Plan::new(Settings::default());
        let mut now = 1_800_000_000_000;
        for list in [&first, &second] {
            plan.advance(now);
            let taken: Vec<_> = plan.take_listed(list).into_iter().collect();
            let changes: Vec<Change> =
                taken.iter().flatten().flat_map(|taken| taken.changes.clone()).collect();
            for change in &changes {
                plan.apply(change);
            }
            let held: Vec<_> = plan.subnets().filter(|subnet| subnet.is_held()).collect();
            for (n, one) in held.iter().enumerate() {
                for other in &held[n + 1..] {
                    prop_assert!(!one.state.prefix.overlaps(other.state.prefix), "disjoint");
                    prop_assert_ne!(one.state.serial, other.state.serial);
                }
                for (address, record) in one.addresses.records() {
                    prop_assert!(one.state.prefix.contains_number(address), "inside");
                    prop_assert!(record.generation < plan.counters().0, "generations are never used twice");
                }
            }
            let generations: Vec<u64> = held.iter().flat_map(|subnet| {
                let leases = subnet.addresses.records().map(|(_, record)| record.generation);
                leases.chain([subnet.state.generation]).collect::<Vec<_>>()
            }).collect();
            let once: std::collections::BTreeSet<&u64> = generations.iter().collect();
            prop_assert_eq!(once.len(), generations.len(), "a generation names one thing");
            // A second import finds the entries in the books.
            for (listed, outcome) in list.iter().zip(&taken) {
                if outcome.is_ok() {
                    let again = plan.take_listed(std::slice::from_ref(listed));
                    prop_assert!(again[0].as_ref().is_ok_and(|again| again.changes.is_empty()), "repeatable");
                }
            }
            now += 3_600_000;
        }
    }
}

/// Networks as Docker shows them.
fn networks() -> Value {
    let network = |name: &str, ipam: &str, config: Value, containers: Value| {
        json!({"Name": name, "Id": name, "Scope": "local", "Driver": "bridge", "EnableIPv6": false,
            "IPAM": {"Driver": ipam, "Options": null, "Config": config}, "Containers": containers,
            "Labels": {}, "Later": {"what": ["comes"]}})
    };
    json!([
        network(
            "web",
            "gipam",
            json!([{"Subnet": "198.18.3.0/24", "Gateway": "198.18.3.1", "IPRange": "198.18.3.128/25",
            "AuxiliaryAddresses": {"router": "198.18.3.9"}}]),
            json!({"c0ffee": {"Name": "front", "MacAddress": "02:42:c6:12:03:02", "IPv4Address": "198.18.3.130/24",
                "IPv6Address": ""}})
        ),
        network(
            "bridge",
            "default",
            json!([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]),
            json!({})
        ),
        network("held", "gipam", json!([{"Subnet": "198.18.0.0/25"}]), json!({})),
        network("nearby", "default", json!([{"Subnet": "198.18.200.0/24"}]), json!({})),
        network("none", "null", json!([]), json!({})),
    ])
}

#[test]
fn networks_of_this_driver_are_adopted_and_those_of_others_left_with_advice() {
    let house = house();
    let daemon = house.start();
    daemon.wire().subnet(false);
    let before = daemon.books();
    let inspected = networks().to_string();
    // Through standard input, as a person would type it.
    let piped = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gipam"));
        command.env_clear().args(["import", "--inspect", "-", "--admin"]).arg(house.admin()).args(more);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(inspected.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        squeezed(&String::from_utf8(output.stdout).unwrap())
    };
    let text = piped(&[]);
    assert!(text.contains("network web 198.18.3.0/24 3 0 would be adopted"), "{text}");
    assert!(text.contains("network bridge 172.17.0.0/16 0 0 left: its IPAM driver is \"default\""), "{text}");
    assert!(text.contains("network held 198.18.0.0/25 0 0 refused: pool overlaps"), "{text}");
    assert!(text.contains("gipam reserve 198.18.200.0/24"), "the subnet is in a pool: {text}");
    assert!(!text.contains("gipam reserve 172.17.0.0/16"), "the subnet is not in any pool: {text}");
    assert_eq!(daemon.books(), before);
    let done: Value = serde_json::from_str(&piped(&["--apply", "--json"])).unwrap();
    assert_eq!((&done["subnets"], &done["leases"]), (&json!(1), &json!(3)), "{done}");
    let [subnets, leases] = daemon.books();
    assert_eq!(
        (&subnets[1]["prefix"], &subnets[1]["range"]),
        (&json!("198.18.3.0/24"), &json!("198.18.3.128/25"))
    );
    assert_eq!(subnets[1]["gateway"], "198.18.3.1");
    let kinds: Vec<&str> =
        leases.as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["gateway", "auxiliary", "endpoint"]);
    assert_eq!(leases[2]["holder"], "front", "adoption keeps names");
    assert_eq!(piped(&["--apply"]), piped(&[]), "repeatable");
    // Docker sends its PoolID when the next container starts there.
    let id = "local/198.18.3.0/24#0123456789abcdef";
    assert_eq!(daemon.wire().address(id, "", Value::Null), "198.18.3.128/24");
    assert_eq!(house.json(&["subnets"])[1]["id"], id);
}

#[test]
fn networks_that_share_a_prefix_are_imported_separately_and_an_address_only_once() {
    let house = house();
    let daemon = house.start();
    let network = |name: &str, range: &str, address: &str| {
        let container = json!({"Name": name, "MacAddress": "", "IPv4Address": format!("{address}/24"), "IPv6Address": ""});
        json!({"Name": name, "Id": name, "Scope": "local", "Driver": "macvlan", "EnableIPv6": false,
            "IPAM": {"Driver": "gipam", "Options": null, "Config": [{"Subnet": "198.18.3.0/24", "IPRange": range}]},
            "Containers": {format!("id-{name}"): container}})
    };
    let shown = json!([
        network("one", "198.18.3.64/26", "198.18.3.65"),
        network("two", "198.18.3.128/26", "198.18.3.66")
    ]);
    let done = taken(&house, &shown.to_string(), &["--apply"]);
    assert_eq!((&done["subnets"], &done["leases"]), (&json!(2), &json!(2)), "{done}");
    assert_eq!(taken(&house, &shown.to_string(), &[])["leases"], 0, "repeatable");
    let doubled = json!([network("two", "198.18.3.128/26", "198.18.3.65")]);
    assert_eq!(taken(&house, &doubled.to_string(), &[])["rows"][0]["action"], "refused");
    let (id, other) = ("local/198.18.3.0/24#0123456789abcdef", "local/198.18.3.0/24#00112233445566ff");
    daemon.wire().release(id, "198.18.3.66");
    assert_eq!(daemon.wire().address(id, "", Value::Null), "198.18.3.129/24", "the gateway's place is last");
    assert_eq!(
        daemon.wire().address(other, "", Value::Null),
        "198.18.3.66/24",
        "the other network has released it"
    );
}

/// Output of podman network inspect.
const PODMAN: &str = r#"[{"name":"web","id":"06c4","driver":"bridge","network_interface":"podman1","subnets":
    [{"subnet":"198.18.90.0/24","gateway":"198.18.90.1"}],"ipam_options":{"driver":"host-local"},"containers":{}}]"#;
/// Output of docker inspect CONTAINER.
const CONTAINER: &str =
    r#"[{"Id":"19a4","Name":"/web","Config":{"Image":"x"},"NetworkSettings":{"Networks":{}}}]"#;

#[test]
fn an_input_of_another_kind_is_refused_by_the_kind_that_was_named() {
    let house = house();
    let _daemon = house.start();
    for (content, more, said) in [
        (TABLE, &["--inspect"][..], "is not the output of docker network inspect"),
        (TABLE, &["--replace"], "--replace works only with a lease file"),
        ("[{\"Name\": 7}]", &[], "line 1, column 11: not the output of docker network inspect"),
        ("[", &[], "line 1, column 1: not the output of docker network inspect"),
        (PODMAN, &["--inspect"], "web is a podman network; give the output of: docker network inspect"),
        (PODMAN, &[], "web is a podman network"),
        (CONTAINER, &["--inspect"], "it describes the container /web, not a network"),
        (
            "[{\"Name\":\"web\",\"Driver\":\"bridge\"}]",
            &["--inspect"],
            "the entry web does not have an IPAM section",
        ),
        ("{\"Name\":\"a\",\"IPAM\":{}}\n{\"Name\":\"b\",\"IPAM\":{}}\n", &["--inspect"], "line 2, column 1"),
        (
            "{\"Name\":\"a\"}\n{\"Name\":\"b\"}\n",
            &["--inspect"],
            "is not the output of docker network inspect",
        ),
        ("{\"Name\":\"a\"}\n{\"Name\":\"b\"}\n", &[], "lease file"),
        (
            "[7]",
            &["--inspect"],
            "line 1, column 2: not the output of docker network inspect: invalid type: integer `7`, expected a network\n",
        ),
        (
            "[{\"Name\":\"a\",\"IPAM\":{\"Driver\":\"gipam\",\"Config\":[{\"Subnet\":\"198.18.3.0/33\"}]}}]",
            &[],
            "its Subnet \"198.18.3.0/33\" is not a prefix",
        ),
    ] {
        let (code, text) = import(&house, "list", content, more);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(said), "{content}: {text}");
    }
}

#[test]
fn unique_a_list_that_shows_one_address_at_two_containers_names_both() {
    let house = house();
    let _daemon = house.start();
    let container = |name: &str| json!({"Name": name, "IPv4Address": "198.18.3.9/24"});
    let list = json!([{"Name": "web", "Id": "web", "Scope": "local", "IPAM": {"Driver": "gipam",
        "Config": [{"Subnet": "198.18.3.0/24"}]}, "Containers": {"a": container("one"), "b": container("two")}}]);
    let expected = "198.18.3.9 is in use twice: container one and container two";
    for (more, action) in
        [(&[][..], "would be adopted"), (&["--apply"], "adopted"), (&[], "unchanged: already in the books")]
    {
        let (code, text) = import(&house, "list", &list.to_string(), more);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains(action) && text.contains(expected), "{text}");
        assert!(text.contains("docker network disconnect web two"), "{text}");
    }
    let row = &taken(&house, &list.to_string(), &[])["rows"][0];
    assert_eq!((&row["why"], &row["known"]), (&json!(expected), &json!(1)), "{row}");
}
