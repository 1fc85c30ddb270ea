//! Discard routes: a packet to an address of the pool that no network has gets an ICMP error and does not loop.

use std::net::UdpSocket;

use serde_json::{Value, json};

use super::daemon::{Daemon, House, until};
use super::router::*;
use super::support::{inside, ip};

const POOL: &str = r#"
cooling = "0"
subnet_cooling = "0"
[gc]
engine = ""
[[pool]]
name = "routed"
v4 = { base = "10.8.0.0/16", size = 24 }
v6 = { base = "2001:db8:8::/56", size = 64 }
discard = true
"#;

/// What the status says about the discard routes.
fn state(daemon: &Daemon) -> Value {
    let rows = daemon.view("/v1/status")["kernel"].clone();
    let rows = rows.as_array().unwrap();
    rows.iter().find(|row| row["kind"] == "discards").cloned().unwrap_or_default()
}

/// gipam's discard routes: their type and prefix.
fn own() -> Vec<String> {
    let of_family = |family: &str| -> Vec<Value> {
        serde_json::from_str(&ip(&format!("-j {family} route show proto 171"))).unwrap()
    };
    let all = [of_family("-4"), of_family("-6")].concat();
    let is_own = |route: &&Value| route["metric"] == 65_536 && route["dst"] != "10.9.0.0/16";
    let text =
        |route: &Value| format!("{} {}", route["type"].as_str().unwrap(), route["dst"].as_str().unwrap());
    all.iter().filter(is_own).map(text).collect()
}

const ROUTES: [&str; 2] = ["unreachable 10.8.0.0/16", "unreachable 2001:db8:8::/56"];

/// The router routes the pools to this host, whose default route leads back to it.
fn routed() {
    provider();
    ip("netns exec router ip route add 10.8.0.0/16 via 198.51.100.2");
    ip("netns exec router ip -6 route add 2001:db8:8::/56 via 2001:db8:1::2");
    // After an ICMP redirect, the kernel sends the same host hardly any other ICMP error.
    sysctl("net/ipv4/icmp_ratelimit", "0");
    within("router", || {
        sysctl("net/ipv4/ip_forward", "1");
        sysctl("net/ipv6/conf/all/forwarding", "1");
        // The router itself sends the packets of this test, and gets them back.
        sysctl("net/ipv4/conf/all/accept_local", "1");
        sysctl("net/ipv4/conf/all/rp_filter", "0");
        sysctl("net/ipv4/conf/wan0/rp_filter", "0");
    });
}

/// The beginnings of addresses of the pools that no network has, and the router's counters of forwarded packets, of ICMP errors that say
/// unreachable, and of those that say that the hop limit was exceeded.
const FREE: [(&str, [&str; 3]); 2] = [
    ("10.8.200.", ["IpForwDatagrams", "IcmpInDestUnreachs", "IcmpOutTimeExcds"]),
    ("2001:db8:8:c8::", ["Ip6OutForwDatagrams", "Icmp6InDestUnreachs", "Icmp6OutTimeExcds"]),
];

/// Sends packets from the router until this counter grows; how much each counter grew.
fn sent_to((begin, counters): (&str, [&str; 3]), until_more: usize) -> [u64; 3] {
    // The kernel of the router learns from ICMP redirects, so each time is another address.
    let address = format!("{begin}{}", 1 + until_more);
    let before = counters.map(counter);
    let any = if address.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = within("router", || UdpSocket::bind(any).unwrap());
    until(&format!("{} grows", counters[until_more]), || {
        // The kernel limits the rate of ICMP errors, so the first packet may get none.
        let _ = socket.send_to(b"?", (address.as_str(), 9));
        (counter(counters[until_more]) > before[until_more]).then_some(())
    });
    let after = counters.map(counter);
    [0, 1, 2].map(|at| after[at] - before[at])
}

#[test]
fn a_packet_to_a_free_address_gets_an_icmp_error_and_does_not_loop() {
    inside(|| {
        routed();
        let house = House::with_toml(POOL);
        house.configure(&POOL.replace("discard = true", "discard = false"));
        let daemon = house.start();
        for free in FREE {
            let [forwarded, unreachable, exceeded] = sent_to(free, 0);
            assert!(forwarded > 20 && unreachable == 0, "{}: {forwarded} forwarded", free.0);
            println!("{}: forwarded {forwarded} times by the router, {exceeded} times exceeded", free.0);
        }
        house.configure(POOL);
        house.json(&["reload"]);
        until("the routes are made", || (own() == ROUTES).then_some(()));
        for free in FREE {
            let [forwarded, unreachable, exceeded] = sent_to(free, 1);
            assert!(unreachable > 0, "{}", free.0);
            assert_eq!((forwarded, exceeded), (0, 0), "{}", free.0);
        }
        // A container is reached as before.
        let networks = [network(&daemon, true), network(&daemon, false)];
        let _listener = listen();
        for Network { address, .. } in &networks {
            until(&format!("the router reaches {address}"), || reaches(address).ok());
        }
        daemon.stop();
        assert_eq!(own(), [""; 0]);
    });
}

#[test]
fn discard_routes_stay_equal_to_the_pools_and_no_other_route_is_touched() {
    inside(|| {
        provider();
        for words in [
            "route add unreachable 10.8.0.0/16 metric 65536 proto static",
            "-6 route add unreachable 2001:db8:8::/56 metric 65537 proto 171",
            "route add unreachable 10.9.0.0/16 metric 65536 proto 171",
            "route add unreachable 10.8.0.0/16 metric 65536 proto 171 table 1000",
        ] {
            ip(words);
        }
        let foreign = || {
            [
                "route show proto static",
                "route show 10.9.0.0/16",
                "route show table 1000",
                "-6 route show 2001:db8:8::/56 metric 65537",
            ]
            .map(ip)
        };
        let before = foreign();
        let house = House::with_toml(POOL);
        let daemon = house.start();
        let unmade = until("one place is taken", || {
            let state = state(&daemon);
            (state["kept"] == 1).then_some(state)
        });
        assert!(unmade["unmade"][0].to_string().contains("another program has a route to it"), "{unmade}");
        ip("route del unreachable 10.8.0.0/16 metric 65536 proto static");
        until("the place is free", || (state(&daemon)["kept"] == 2).then_some(()));
        let before = [String::new(), before[1].clone(), before[2].clone(), before[3].clone()];
        for words in [
            "route del unreachable 10.8.0.0/16 metric 65536",
            "-6 route del unreachable 2001:db8:8::/56 metric 65536",
            "route replace blackhole 10.8.0.0/16 metric 65536 proto 171",
        ] {
            ip(words);
            until(&format!("after {words}, {:?}", own()), || (own() == ROUTES).then_some(()));
        }
        daemon.kill();
        ip("-6 route del unreachable 2001:db8:8::/56 metric 65536");
        let daemon = house.start();
        until("after the next start", || (state(&daemon)["kept"] == 2).then_some(()));
        assert_eq!(foreign(), before);
        // Neither gipam nor a request of Docker counts them as prefixes in use (P12).
        for v6 in [false, true] {
            let (id, prefix) = daemon.wire().subnet(v6);
            assert!(prefix.starts_with(if v6 { "2001:db8:8::/64" } else { "10.8.0.0/24" }), "{prefix}");
            daemon.wire().release_pool(&id);
        }
        let doctor = house.gipam(&["doctor"]);
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.contains("2 discard routes in the kernel"), "{doctor}");
        house.configure(&POOL.replace("discard = true", ""));
        assert!(house.json(&["reload"]).to_string().contains("in the kernel, discard becomes nothing"));
        until("they are removed", || (state(&daemon) == json!(null)).then_some(()));
        daemon.stop();
        assert_eq!(foreign(), before);
    });
}
