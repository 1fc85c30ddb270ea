//! Facts of the protocol, one after another, against the real daemon. The numbers are those of
//! docs/docker-facts.md: P.. for facts, duty_.. for the duties that follow from them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::daemon::{House, POOLS, until};
use crate::http::Wire;

/// A RequestPool as dockerd writes it.
pub fn asked(space: &str, pool: &str, range: &str, options: Value, v6: bool) -> Value {
    json!({"AddressSpace": space, "Pool": pool, "SubPool": range, "Options": options, "V6": v6})
}

pub fn gateway() -> Value {
    json!({"RequestAddressType": "com.docker.network.gateway"})
}

#[test]
fn p6_requests_that_web_frameworks_reject_are_accepted() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    for host in ["", "plugin.moby.localhost", "%2Frun%2Fdocker%2Fplugins%2Fgipam.sock"] {
        wire.host = host;
        assert_eq!(wire.call("Plugin.Activate", "").ok(), json!({"Implements": ["IpamDriver"]}));
        let body =
            r#"{"AddressSpace":"local","Pool":"","SubPool":"","Options":null,"V6":false,"Later":[{}]}"#;
        let granted = wire.call("IpamDriver.RequestPool", format!("{body}\n")).ok();
        wire.release_pool(granted["PoolID"].as_str().unwrap());
    }
    let (id, _) = wire.pool(&json!({"AddressSpace": "local"}));
    assert!(wire.address(&id, "", Value::Null).ends_with("/24"));
    wire.address(&id, "", json!({}));
    // All of this on one connection.
    let head = "POST /IpamDriver.ReleasePool HTTP/1.1\r\nHost: \r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = json!({ "PoolID": id }).to_string();
    wire.send(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes()).unwrap();
    assert_eq!(wire.answer().unwrap().ok(), json!({}));
    daemon.assert_empty("p6");
}

#[test]
fn p7_answers_are_exactly_200_and_json_and_data_holds_strings_only() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let pool = wire.call("IpamDriver.RequestPool", asked("local", "", "", json!({}), false).to_string());
    assert!(pool.head.starts_with("HTTP/1.1 200 "), "{}", pool.head);
    let pool = pool.ok();
    let strings = |data: &Value| data.as_object().is_none_or(|data| data.values().all(Value::is_string));
    assert!(strings(&pool["Data"]));
    let id = pool["PoolID"].as_str().unwrap();
    let address = wire.ok("RequestAddress", &json!({"PoolID": id, "Address": "", "Options": null}));
    assert!(strings(&address["Data"]));
    wire.release(id, address["Address"].as_str().unwrap());
    wire.release_pool(id);
}

#[test]
fn p8_duty_1_an_empty_body_is_a_broken_retry_and_changes_nothing() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let (id, _) = wire.subnet(false);
    wire.address(&id, "", Value::Null);
    let before = daemon.books();
    for method in ["RequestPool", "RequestAddress", "ReleaseAddress", "ReleasePool"] {
        for body in ["", "\n", "  \r\n\t"] {
            let text = wire.call(&format!("IpamDriver.{method}"), body).refused();
            assert!(text.contains("empty request") && text.contains("try again"), "{text}");
        }
        let text = wire.refused(method, &json!({}));
        assert!(text.contains("is missing"), "{text}");
    }
    assert_eq!(daemon.books(), before);
    assert_eq!(daemon.view("/v1/status")["empty_bodies"], 12);
}

#[test]
fn p9_duty_13_constants_are_always_answered_and_never_change() {
    let house = House::new(&["-v4", "198.18.0.0/24", "-v4ab", "24"]);
    let daemon = house.start();
    let mut wire = daemon.wire();
    wire.subnet(false);
    assert!(
        wire.refused("RequestPool", &asked("local", "", "", json!({}), false))
            .starts_with("no available pool: ")
    );
    let spaces = json!({"LocalDefaultAddressSpace": "local", "GlobalDefaultAddressSpace": "global"});
    for body in ["", "{}", "nonsense"] {
        assert_eq!(wire.call("IpamDriver.GetDefaultAddressSpaces", body).ok(), spaces);
        let capabilities = wire.call("IpamDriver.GetCapabilities", body).ok();
        assert_eq!(capabilities, json!({"RequiresMACAddress": true, "RequiresRequestReplay": false}));
    }
    let house = House::with_toml(
        "requires_mac_address = false\n[[pool]]\nname = \"a\"\nv4.base = \"198.18.0.0/16\"\n",
    );
    let capabilities = house.start().wire().call("IpamDriver.GetCapabilities", "").ok();
    assert_eq!(capabilities, json!({"RequiresMACAddress": false, "RequiresRequestReplay": false}));
}

#[test]
fn p29_a_driver_name_without_macs_lets_ipvlan_start() {
    let house = House::with_toml(
        "[[pool]]\nname = \"a\"\nv4.base = \"198.18.0.0/16\"\n[driver.ipvlan]\nrequires_mac_address = false\n",
    );
    let daemon = house.start();
    for (mut wire, asks) in [(daemon.wire(), true), (Wire::unix(&house.path("ipvlan.sock")), false)] {
        let capabilities = wire.call("IpamDriver.GetCapabilities", "").ok();
        assert_eq!(capabilities, json!({"RequiresMACAddress": asks, "RequiresRequestReplay": false}));
    }
}

#[test]
fn p11_p16_duty_10_every_address_has_the_length_of_its_subnet_and_lies_in_it() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let body = asked("local", "203.0.113.128/26", "203.0.113.160/27", json!({}), false);
    let (id, prefix) = wire.pool(&body);
    assert_eq!(prefix, "203.0.113.128/26");
    assert_eq!(wire.address(&id, "", gateway()), "203.0.113.160/26");
    assert_eq!(wire.address(&id, "", gateway()), "203.0.113.160/26", "Docker requests the gateway twice");
    assert_eq!(wire.address(&id, "203.0.113.190", Value::Null), "203.0.113.190/26");
    let mut seen = BTreeSet::new();
    for _ in 0..29 {
        let address = wire.address(&id, "", Value::Null);
        let last = address.strip_prefix("203.0.113.").unwrap().strip_suffix("/26").unwrap();
        let last: u8 = last.parse().unwrap();
        assert!((161..190).contains(&last) && seen.insert(last), "{address}");
    }
    let full = json!({"PoolID": id, "Address": "", "Options": null});
    let text = wire.refused("RequestAddress", &full);
    assert!(text.starts_with("no available addresses on this pool: "), "{text}");
    for (address, phrase) in [
        ("203.0.113.128", "requested address is out of range: 203.0.113.128 is the network address"),
        ("203.0.113.191", "requested address is out of range: 203.0.113.191 is the broadcast address"),
        ("203.0.113.1", "requested address is out of range: 203.0.113.1 is outside"),
        ("2001:db8::1", "requested address is out of range: 2001:db8::1 is outside"),
        (
            "203.0.113.160",
            "address already in use: 203.0.113.160 is held by the gateway; choose another address",
        ),
    ] {
        let text = wire.refused("RequestAddress", &json!({"PoolID": id, "Address": address, "Options": {}}));
        assert!(text.starts_with(phrase), "{text}");
    }
    // A gateway that was never requested can also be released (Engines do that for one named in Data).
    wire.release(&id, "203.0.113.150");
}

#[test]
fn p12_duty_6_an_empty_pool_never_gets_the_same_answer_twice_and_rejected_subnets_are_released() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let granted: Vec<(String, String)> = (0..5).map(|_| wire.subnet(false)).collect();
    let prefixes: BTreeSet<&String> = granted.iter().map(|(_, prefix)| prefix).collect();
    assert_eq!(prefixes.len(), 5);
    for (id, _) in &granted[..4] {
        wire.release_pool(id);
    }
    assert!(wire.address(&granted[4].0, "", gateway()).ends_with(".1/24"));
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 1);
}

#[test]
fn p12_duty_6_a_storm_is_refused_and_leaves_free_subnets() {
    let house = House::with_toml(
        "storm_limit = 5\n[[pool]]\nname = \"a\"\nv4 = { base = \"198.18.0.0/21\", size = 24 }\n",
    );
    let daemon = house.start();
    let mut wire = daemon.wire();
    let granted: Vec<(String, String)> = (0..5).map(|_| wire.subnet(false)).collect();
    let body = asked("local", "", "", json!({}), false);
    let text = wire.refused("RequestPool", &body);
    assert!(text.contains("Docker"), "{text}");
    for (id, _) in &granted {
        wire.release_pool(id);
    }
    // The subnets of a storm do not cool: eight fit into the pool, and five were just given.
    for _ in 0..3 {
        let (id, _) = wire.subnet(false);
        wire.address(&id, "", gateway());
    }
    let free = &daemon.view("/v1/pools")[0];
    assert_eq!((&free["subnets"], &free["cooling"], &free["free"]), (&json!(3), &json!(0), &json!(5)));
}

#[test]
fn p12_networks_made_by_a_script_are_not_a_storm_one_by_one_or_in_parallel() {
    let house = House::with_toml("[[pool]]\nname = \"a\"\nv4 = { base = \"198.18.0.0/15\", size = 28 }\n");
    let daemon = house.start();
    // As Engine 29 makes a macvlan network: it does not request a gateway.
    let network = |wire: &mut crate::http::Wire| {
        wire.ok("GetDefaultAddressSpaces", &json!({}));
        wire.subnet(false)
    };
    let mut wire = daemon.wire();
    (0..200).for_each(|_| drop(network(&mut wire)));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut wire = daemon.wire();
                (0..25).for_each(|_| drop(network(&mut wire)));
            });
        }
    });
    // Docker's loop keeps the subnets that it got and requests another one, after one GetDefaultAddressSpaces
    // (recorded from Engine 29).
    wire.ok("GetDefaultAddressSpaces", &json!({}));
    let body = asked("local", "", "", json!({}), false);
    let answers = (0..1_000).map(|_| wire.call("IpamDriver.RequestPool", body.to_string()));
    let granted = answers.take_while(|answer| answer.status == 200).count();
    assert!((64..1_000).contains(&granted), "the storm was stopped after {granted}");
}

#[test]
fn p14_p15_an_auxiliary_address_may_lie_outside_the_range() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let (id, _) = wire.pool(&asked("local", "203.0.113.0/24", "203.0.113.128/25", json!({}), false));
    assert_eq!(wire.address(&id, "203.0.113.5", Value::Null), "203.0.113.5/24");
    assert_eq!(wire.address(&id, "203.0.113.254", gateway()), "203.0.113.254/24");
    // An auxiliary address may equal the gateway, which is then requested twice and released twice.
    assert_eq!(wire.address(&id, "203.0.113.254", Value::Null), "203.0.113.254/24");
    let again = json!({"PoolID": id, "Address": "203.0.113.254", "Options": null});
    assert!(wire.refused("RequestAddress", &again).starts_with("address already in use: "));
    let rows = daemon.view("/v1/leases");
    let kinds: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row["kind"]).collect();
    assert_eq!(
        kinds,
        [&json!("endpoint"), &json!("gateway")],
        "the Engine's list shows its kind; gipam does not guess"
    );
    for address in ["203.0.113.254", "203.0.113.254", "203.0.113.5"] {
        wire.release(&id, address);
    }
    wire.release_pool(&id);
    daemon.assert_empty("p15");
}

#[test]
fn p17_p20_duty_7_release_pool_drops_all_its_leases_and_releases_always_succeed() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let (id, prefix) = wire.subnet(false);
    for options in [gateway(), Value::Null, json!({"com.docker.network.endpoint.name": "web"})] {
        wire.address(&id, "", options);
    }
    wire.release(&id, "198.51.100.1");
    wire.release(&id, "2001:db8::1");
    wire.release("no such id", "198.51.100.1");
    wire.release_pool("no such id");
    let held = daemon.books();
    assert_eq!(held[1].as_array().unwrap().len(), 3);
    wire.release_pool(&id);
    daemon.assert_empty("released");
    wire.release_pool(&id);
    wire.release(&id, "198.51.100.1");
    let (_, next) = wire.subnet(false);
    assert_ne!(next, prefix, "the bridge of the released subnet may still exist");
}

#[test]
fn p19_a_pool_id_names_one_grant_and_an_old_one_does_not_free_anything() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let body = asked("local", "203.0.113.0/24", "", json!({}), false);
    let (old, _) = wire.pool(&body);
    wire.address(&old, "", gateway());
    wire.release_pool(&old);
    let (new, _) = wire.pool(&body);
    assert_ne!(new, old);
    assert!(new.starts_with("local/203.0.113.0/24#"), "{new}");
    wire.address(&new, "", gateway());
    wire.release(&old, "203.0.113.1");
    wire.release_pool(&old);
    let leases = daemon.view("/v1/leases");
    assert_eq!((leases.as_array().unwrap().len(), &leases[0]["id"]), (1, &json!(new)));
    let text = wire.refused("RequestAddress", &json!({"PoolID": old, "Address": "", "Options": null}));
    assert!(text.starts_with("address pool not found: "), "{text}");
}

#[test]
fn p20_4_duty_11_a_refused_v6_leaves_its_v4_which_is_freed_with_the_network() {
    let house = House::new(&["-v4", "198.18.0.0/16", "-v6", "2001:db8:77::/64", "-v6ab", "127"]);
    let daemon = house.start();
    let mut wire = daemon.wire();
    let ((v4, _), (v6, _)) = (wire.subnet(false), wire.subnet(true));
    for id in [&v4, &v6, &v4, &v6] {
        wire.address(id, "", Value::Null);
    }
    let granted = wire.address(&v4, "", json!({"com.docker.network.endpoint.name": "web"}));
    let text = wire.refused("RequestAddress", &json!({"PoolID": v6, "Address": "", "Options": null}));
    assert!(text.starts_with("no available addresses on this pool: all of 2001:db8:77::"), "{text}");
    let leases = daemon.view("/v1/leases");
    let leak = leases.as_array().unwrap().iter().find(|row| row["holder"] == "web").unwrap();
    assert!(granted.starts_with(leak["address"].as_str().unwrap()));
    for id in [v4, v6] {
        wire.release_pool(&id);
    }
    daemon.assert_empty("after both networks were removed");
}

#[test]
fn p21_duty_4_a_replay_or_a_second_network_of_a_held_subnet_is_refused_and_the_first_one_named() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let (id, prefix) = wire.subnet(false);
    wire.address(&id, "", gateway());
    let before = daemon.books();
    let address = prefix.split('/').next().unwrap();
    for pool in [prefix.clone(), "198.18.0.0/16".to_owned(), format!("{address}/28")] {
        let text = wire.refused("RequestPool", &asked("local", &pool, "", json!({}), false));
        assert!(text.starts_with("pool overlaps with other one on this address space: "), "{text}");
        assert!(text.contains(&format!("gipam release {prefix} --force")), "{text}");
    }
    assert_eq!(daemon.books(), before);
    // With `overlap`, a second network may have the same prefix.
    let (copy, _) = wire.pool(&asked("local", &prefix, "", json!({"overlap": "true"}), false));
    assert_ne!(copy, id);
    let text = wire.refused("RequestPool", &asked("local", &prefix, "", json!({}), false));
    assert!(text.contains("#"), "a prefix that several subnets have is not enough: {text}");
}

#[test]
fn p24_duty_5_spaces_are_separate_tables() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let serial = json!({"com.docker.network.ipam.serial": "true"});
    let (global, prefix) = wire.pool(&asked("global", "", "", json!({}), false));
    let address = wire.address(&global, "", serial.clone());
    let (local, again) = wire.pool(&asked("local", &prefix, "", serial.clone(), false));
    assert_eq!(again, prefix);
    assert_eq!(wire.address(&local, address.split('/').next().unwrap(), Value::Null), address);
    // A dynamically chosen subnet avoids both; an empty space name means local.
    let (unnamed, other) = wire.pool(&asked("", "", "", json!({}), false));
    assert!(unnamed.starts_with("local/") && other != prefix, "{unnamed}");
    wire.release_pool(&local);
    assert_eq!(daemon.view("/v1/leases")[0]["space"], "global");
    let text = wire.refused("RequestPool", &asked("elsewhere", "", "", json!({}), false));
    assert!(text.starts_with("invalid address space: "), "{text}");
}

#[test]
fn p27_managers_replay_in_the_global_space_and_get_the_same_answers() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let (id, prefix) = wire.pool(&asked("global", "", "", json!({}), false));
    let mut answers = vec![wire.address(&id, "", gateway())];
    answers.extend((0..3).map(|_| wire.address(&id, "", Value::Null)));
    let before = daemon.books();
    let (again, same) = wire.pool(&asked("global", &prefix, "", json!({}), false));
    assert_eq!((&again, &same), (&id, &prefix));
    for (at, answer) in answers.iter().enumerate() {
        let options = if at == 0 { gateway() } else { Value::Null };
        assert_eq!(wire.address(&id, answer.split('/').next().unwrap(), options), *answer);
    }
    assert_eq!(daemon.books(), before);
    wire.release_pool(&id);
    daemon.assert_empty("one grant, one release");
}

#[test]
fn duty_9_the_gateway_s_place_stays_free_until_it_is_requested() {
    let daemon =
        House::new(&["-v4", "198.18.0.0/24", "-v4ab", "30", "-v6", "2001:db8:77::/64", "-v6ab", "126"])
            .start();
    let mut wire = daemon.wire();
    for (v6, first) in [(false, ".2/30"), (true, "::2/126")] {
        let (id, _) = wire.subnet(v6);
        assert!(wire.address(&id, "", Value::Null).ends_with(first));
    }
}

#[test]
fn duty_16_many_connections_at_once_never_get_the_same_address() {
    let daemon = House::new(&POOLS).start();
    let (id, _) = daemon.wire().subnet(false);
    let threads: Vec<_> = (0..20)
        .map(|_| {
            let (socket, id) = (daemon.socket.clone(), id.clone());
            std::thread::spawn(move || {
                let mut wire = Wire::unix(&socket);
                let (own, _) = wire.subnet(false);
                wire.address(&own, "", gateway());
                (0..10).map(|_| wire.address(&id, "", Value::Null)).collect::<Vec<_>>()
            })
        })
        .collect();
    let given: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 200);
    let subnets = daemon.view("/v1/subnets");
    let prefixes: BTreeSet<String> =
        subnets.as_array().unwrap().iter().map(|row| row["prefix"].to_string()).collect();
    assert_eq!(prefixes.len(), 21);
}

#[test]
fn p17_a_request_that_only_a_fresh_release_can_satisfy_waits_and_others_continue() {
    let daemon = House::new(&["-v4", "198.18.0.0/24", "-v4ab", "24"]).start();
    let mut wire = daemon.wire();
    let (id, prefix) = wire.subnet(false);
    wire.release_pool(&id);
    let mut waiting = daemon.wire();
    let body = asked("local", "", "", json!({}), false).to_string();
    waiting.send(&Wire::request("", "IpamDriver.RequestPool", body.as_bytes())).unwrap();
    until("the waiting request is seen", || {
        (daemon.view("/v1/status")["requests"].as_u64().unwrap() >= 4).then_some(())
    });
    let (other, _) = wire.pool(&asked("local", "203.0.113.0/24", "", json!({}), false));
    wire.address(&other, "", Value::Null);
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 1);
    let granted = waiting.answer().unwrap().ok();
    assert_eq!(granted["Pool"].as_str(), Some(prefix.as_str()));
    assert_ne!(granted["PoolID"].as_str(), Some(id.as_str()));
}
