//! What Engine 29 sends differently from earlier Engines, from recorded sessions: endpoint names, size
//! requests, no gateway request for macvlan, MACs, retries without a body.

use serde_json::{Value, json};

use crate::daemon::{House, POOLS};
use crate::facts::{asked, gateway};

fn endpoint(name: &str) -> Value {
    json!({"com.docker.network.endpoint.name": name})
}

/// A whole session, including headers: create with options, run, remove; then a range, a gateway outside it,
/// an auxiliary address and `--ip`.
#[test]
fn e29_session_as_it_was_recorded() {
    const SESSION: &str = include_str!("fixtures/e29.txt");
    let house = House::new(&POOLS);
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (mut id, mut given) = (String::new(), Vec::<String>::new());
    for request in SESSION.split("----\n").map(|request| request.trim_end_matches('\n')) {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let head: Vec<&str> = head.lines().filter(|line| !line.starts_with('#')).collect();
        let path = head[0].split(' ').nth(1).unwrap();
        let mut body = body.replace("nulllocal", "local").replace("$ID", &id);
        for (at, address) in given.iter().enumerate() {
            body = body.replace(&format!("${at}"), address);
        }
        let lines: Vec<String> = head
            .iter()
            .map(|line| {
                if line.starts_with("Content-Length") {
                    format!("Content-Length: {}", body.len())
                } else {
                    (*line).to_owned()
                }
            })
            .collect();
        wire.send(format!("{}\r\n\r\n{body}", lines.join("\r\n")).as_bytes()).unwrap();
        let answer = wire.answer().unwrap().ok();
        match path {
            "/IpamDriver.RequestPool" => {
                id = answer["PoolID"].as_str().unwrap().to_owned();
                given.clear();
            }
            "/IpamDriver.RequestAddress" => {
                given.push(answer["Address"].as_str().unwrap().split('/').next().unwrap().to_owned());
            }
            "/IpamDriver.ReleasePool" => daemon.assert_empty("network rm"),
            _ => {}
        }
    }
    let history = daemon.view("/v1/history");
    let holders: Vec<&Value> = history.as_array().unwrap().iter().map(|row| &row["holder"]).collect();
    assert!(holders.contains(&&json!("musing_sanderson")) && holders.contains(&&json!("elegant_yalow")));
}

#[test]
fn e29_p13_a_name_gets_its_address_back_in_both_families() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    for v6 in [false, true] {
        let (id, _) = wire.subnet(v6);
        wire.address(&id, "", gateway());
        let web = wire.address(&id, "", endpoint("web"));
        let db = wire.address(&id, "", endpoint("db"));
        wire.release(&id, &web);
        wire.release(&id, &db);
        let other = wire.address(&id, "", endpoint("other"));
        assert!(other != web && other != db);
        assert_eq!(wire.address(&id, "", endpoint("db")), db);
        assert_eq!(wire.address(&id, "", endpoint("web")), web);
        // `docker rename` leaves a live lease under the old name.
        assert_ne!(wire.address(&id, "", endpoint("web")), web);
    }
}

#[test]
fn e29_size_requests_name_only_a_size() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    for (pool, v6, start) in [
        ("0.0.0.0/26", false, "198.18."),
        ("0.0.0.0/22", false, "198.18."),
        ("::/80", true, "2001:db8:77:"),
        ("::/56", true, "2001:db8:77:"),
    ] {
        let (id, prefix) = wire.pool(&asked("local", pool, "", json!({}), v6));
        assert_eq!(prefix.split('/').nth(1), pool.split('/').nth(1), "{prefix}");
        assert!(prefix.starts_with(start), "{prefix}");
        assert!(wire.address(&id, "", gateway()).ends_with(&format!("/{}", pool.split('/').nth(1).unwrap())));
    }
    // Unknown options are refused here too, and the message lists the known ones.
    for pool in ["", "0.0.0.0/26"] {
        let text = wire.refused("RequestPool", &asked("local", pool, "", json!({"opt1": "val1"}), false));
        assert!(text.contains("unknown option opt1=val1; known options are pool="), "{text}");
    }
    let text = wire.refused("RequestPool", &asked("local", "0.0.0.0/15", "", json!({}), false));
    assert!(text.starts_with("no available pool: "), "{text}");
    wire.pool(&asked("local", "203.0.113.0/24", "", json!({"opt1": "val1"}), false));
}

#[test]
fn e29_p11_macvlan_does_not_request_a_gateway_and_its_place_stays_free() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let (id, prefix) = wire.subnet(false);
    let web = wire.address(&id, "", endpoint("web"));
    assert_eq!(web, prefix.replace(".0/", ".2/"));
    wire.release(&id, &web);
    wire.release_pool(&id);
    daemon.assert_empty("macvlan");
}

/// The answer to RequestPool has the configured gateway, so that Engine 29, which requests none, uses it.
#[test]
fn e29_p11_the_gateway_of_the_pool_is_in_the_answer_with_its_length() {
    let pool = "[[pool]]\nname = \"lan\"\n\
        v4 = { base = \"192.0.2.0/24\", gateway = \"192.0.2.1\" }\n\
        v6 = { base = \"2001:db8::/64\", gateway = \"2001:db8::1\" }\n";
    let daemon = House::with_toml(pool).start();
    let mut wire = daemon.wire();
    for (pool, router, next) in [
        ("192.0.2.0/24", "192.0.2.1/24", "192.0.2.2/24"),
        ("2001:db8::/64", "2001:db8::1/64", "2001:db8::2/64"),
    ] {
        let answer = wire.ok("RequestPool", &asked("local", pool, "", json!({}), pool.contains(':')));
        assert_eq!(answer["Data"], json!({"com.docker.network.gateway": router}));
        let id = answer["PoolID"].as_str().unwrap();
        assert_eq!(wire.address(id, "", endpoint("web")), next);
        let bare = router.split('/').next().unwrap();
        let body = json!({"PoolID": id, "Address": bare, "Options": endpoint("db")});
        let text = wire.refused("RequestAddress", &body);
        assert!(text.contains("is held by the gateway of pool lan; choose another address"), "{text}");
        assert_eq!(daemon.view(&format!("/v1/who?address={bare}"))[0]["lease"]["kind"], "gateway");
        wire.release(id, next.split('/').next().unwrap());
        wire.release(id, bare);
        wire.release_pool(id);
    }
    daemon.assert_empty("a pool with a gateway");
}

#[test]
fn e29_v6_only_with_a_mac() {
    let daemon = House::new(&["-v6", "2001:db8:77::/48"]).start();
    let mut wire = daemon.wire();
    let (id, _) = wire.subnet(true);
    wire.address(&id, "", gateway());
    let options = json!({"com.docker.network.endpoint.macaddress": "be:76:a4:55:ba:72", "com.docker.network.endpoint.name": "web"});
    let address = wire.address(&id, "", options);
    assert!(address.ends_with("::2/64"), "{address}");
    let leases = daemon.view("/v1/leases");
    let web = leases.as_array().unwrap().iter().find(|row| row["kind"] == "endpoint").unwrap();
    assert_eq!((&web["holder"], &web["mac"]), (&json!("web"), &json!("be:76:a4:55:ba:72")));
    // Neither family is mandatory.
    let text = wire.refused("RequestPool", &asked("local", "", "", json!({}), false));
    assert!(text.starts_with("no available pool: no pool open to this driver has"), "{text}");
}

/// The request succeeded, its answer was lost, and the retry has no body: the retry fails, and no change is
/// made twice.
#[test]
fn e29_p8_a_retry_after_a_drop() {
    let house = House::new(&POOLS);
    let daemon = house.start();
    let (id, _) = daemon.wire().subnet(false);
    let web = daemon.wire().address(&id, "", endpoint("web"));
    daemon.wire().release(&id, &web);
    let released = daemon.books();
    daemon.kill();
    let daemon = house.start();
    let text = daemon.wire().call("IpamDriver.ReleaseAddress", "").refused();
    assert!(text.contains("moby#39331"), "{text}");
    assert_eq!(daemon.books(), released);
    // The answer was lost, but the container gets the same address when it is started again.
    assert_eq!(daemon.wire().address(&id, "", endpoint("web")), web);
}

/// A range, then a gateway and an auxiliary address outside it: recorded with a driver that refused them
/// (probe E).
#[test]
fn e29_p15_auxiliary_address_and_gateway_outside_the_range() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let (id, _) = wire.pool(&asked("local", "10.9.7.0/24", "10.9.7.128/25", json!({"opt1": "val1"}), false));
    assert_eq!(wire.address(&id, "10.9.7.1", gateway()), "10.9.7.1/24");
    assert_eq!(wire.address(&id, "10.9.7.5", Value::Null), "10.9.7.5/24");
    let web = wire.address(&id, "", endpoint("web"));
    let last: u8 = web.strip_prefix("10.9.7.").unwrap().strip_suffix("/24").unwrap().parse().unwrap();
    assert!(last >= 128, "{web}");
    wire.release_pool(&id);
    daemon.assert_empty("everything is released with the pool");
}

/// P20: Docker asks for IPv4 first; if IPv6 is refused, it abandons the endpoint and never releases the IPv4
/// address.
#[test]
fn e29_p20_a_retry_after_a_refused_ipv6_half_does_not_leak() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let (four, _) = wire.subnet(false);
    let (six, _) = wire.pool(&asked("local", "2001:db8:99::/126", "", json!({}), true));
    let mut tries = 0..;
    let mut asks = |name: &str| {
        let mac = format!("02:42:00:00:00:{:02x}", tries.next().unwrap());
        json!({"com.docker.network.endpoint.name": name, "com.docker.network.endpoint.macaddress": mac})
    };
    for name in ["a", "b"] {
        let options = asks(name);
        wire.address(&four, "", options.clone());
        wire.address(&six, "", options);
    }
    let first = asks("c");
    wire.address(&four, "", first.clone());
    wire.address(&six, "", first);
    let mut given = Vec::new();
    for _ in 0..5 {
        let options = asks("web");
        given.push(wire.address(&four, "", options.clone()));
        let body = json!({"PoolID": six, "Address": "", "Options": options});
        let text = wire.refused("RequestAddress", &body);
        assert!(text.starts_with("no available addresses"), "{text}");
    }
    given.dedup();
    assert_eq!(given.len(), 1, "{given:?}");
    // A live lease under the same name is different: its container was renamed, and none of its requests was
    // refused.
    let db = wire.address(&four, "", asks("db"));
    assert_ne!(wire.address(&four, "", asks("db")), db);
    let held =
        daemon.view("/v1/leases").as_array().unwrap().iter().filter(|row| row["holder"] == "web").count();
    assert_eq!(held, 1);
}
