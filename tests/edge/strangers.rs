//! Probes on a LAN with a machine that gipam does not know, which is a network namespace of its own: real ARP and NDP packets.
//!
//! Promises: a container never gets an address that the machine has, and gets it when the machine has left.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::daemon::{Daemon, House, until};
use super::http::Wire;
use super::support::{inside, ip};

/// The stranger has these addresses on its end of the LAN; the host has 192.0.2.11 and 2001:db8::11 on `eth7`.
fn stranger(addresses: &[&str]) -> String {
    ip("netns add beyond");
    ip("link set peer7 netns beyond");
    ip("-n beyond link set peer7 up");
    for address in addresses {
        ip(&format!("-n beyond addr add {address} dev peer7 nodad"));
    }
    let links: Value = serde_json::from_str(&ip("-n beyond -j link show peer7")).unwrap();
    links[0]["address"].as_str().unwrap().to_owned()
}

/// A house whose pool `lan` is probed.
fn house(probe: &str) -> House {
    House::with_toml(&configuration(probe))
}

fn configuration(probe: &str) -> String {
    format!(
        "quarantine = \"300ms\"\ncooling = \"0\"\n[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\nprobe = {probe}\n\
         v4 = {{ base = \"192.0.2.0/24\", gateway = \"192.0.2.1\" }}\nv6 = {{ base = \"2001:db8::/64\", gateway = \"2001:db8::1\" }}\n"
    )
}

fn network(wire: &mut Wire, subnet: &str) -> String {
    let v6 = subnet.contains(':');
    wire.pool(&json!({"AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": {}, "V6": v6})).0
}

fn container(number: u8) -> Value {
    json!({"com.docker.network.endpoint.macaddress": format!("02:42:00:00:00:{number:02x}")})
}

fn probes(daemon: &Daemon) -> Value {
    daemon.view("/v1/status")["probes"].clone()
}

/// The addresses in quarantine that this host does not have itself.
fn strangers(daemon: &Daemon) -> Vec<String> {
    let all = quarantined(daemon).into_iter().map(|(address, _)| address);
    all.filter(|address| !["192.0.2.11", "2001:db8::11"].contains(&address.as_str())).collect()
}

/// The addresses in quarantine, with their MACs.
fn quarantined(daemon: &Daemon) -> Vec<(String, String)> {
    let rows = daemon.view("/v1/leases?state=quarantined");
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(|row| (text(row, "address"), text(row, "mac"))).collect()
}

#[test]
fn an_address_that_a_stranger_has_is_quarantined_and_a_container_gets_another_one() {
    inside(|| {
        let mac = stranger(&["192.0.2.2/32", "192.0.2.3/32", "192.0.2.77/32", "2001:db8::2/64"]);
        let house = house("true");
        let daemon = house.start();
        let mut wire = daemon.wire();
        let (v4, v6) = (network(&mut wire, "192.0.2.0/24"), network(&mut wire, "2001:db8::/64"));
        assert_eq!(wire.address(&v4, "", container(1)), "192.0.2.4/24");
        assert_eq!(wire.address(&v6, "", container(1)), "2001:db8::3/64");
        let known =
            ["192.0.2.2", "192.0.2.3", "2001:db8::2"].map(|address| (address.to_owned(), mac.clone()));
        until("three strangers", || known.iter().all(|it| quarantined(&daemon).contains(it)).then_some(()));
        let body = json!({"PoolID": v4, "Address": "192.0.2.77", "Options": container(2)});
        let refusal = wire.refused("RequestAddress", &body);
        assert!(
            refusal.starts_with(&format!("address already in use: 192.0.2.77 is held by {mac}")),
            "{refusal}"
        );
        let who = &daemon.view("/v1/who?address=192.0.2.77")[0];
        assert_eq!((&who["state"], &who["lease"]["mac"]), (&json!("quarantined"), &json!(mac)));
        let row = probes(&daemon);
        assert_eq!(row["pools"], json!([{"pool": "lan", "interface": "eth7", "error": null}]));
        assert!(row["found"].as_u64() >= Some(4), "{row}");
        // This host's own address is a stranger's, too.
        let body = json!({"PoolID": v4, "Address": "192.0.2.11", "Options": container(3)});
        assert!(wire.refused("RequestAddress", &body).contains("192.0.2.11 is held by"), "{}", house.log());
        let history = daemon.view("/v1/history?of=192.0.2.77");
        assert_eq!(history[0]["event"], "quarantined", "{history}");
        // The quarantine survives a restart, and ends when the stranger has left.
        daemon.stop();
        let daemon = house.start();
        assert!(quarantined(&daemon).contains(&known[0]));
        ip("-n beyond addr del 192.0.2.2/32 dev peer7");
        ip("-n beyond addr del 2001:db8::2/64 dev peer7");
        let gone = |address: &str| quarantined(&daemon).iter().all(|(known, _)| known != address);
        until("the quarantine ends", || (gone("192.0.2.2") && gone("2001:db8::2")).then_some(()));
        assert!(!gone("192.0.2.3"), "that one is still there");
        let mut wire = daemon.wire();
        assert_eq!(wire.address(&v4, "192.0.2.2", container(4)), "192.0.2.2/24");
        assert_eq!(wire.address(&v6, "", container(4)), "2001:db8::2/64");
    });
}

#[test]
fn a_quarantine_ends_at_a_start_that_no_longer_probes_the_pool() {
    inside(|| {
        stranger(&["192.0.2.2/32"]);
        let house = house("true");
        let daemon = house.start();
        let id = network(&mut daemon.wire(), "192.0.2.0/24");
        until("a stranger is found", || strangers(&daemon).contains(&"192.0.2.2".to_owned()).then_some(()));
        daemon.stop();
        house.configure(&configuration("false"));
        let daemon = house.start();
        until("nothing is in quarantine", || quarantined(&daemon).is_empty().then_some(()));
        assert_eq!(daemon.wire().address(&id, "192.0.2.2", container(1)), "192.0.2.2/24");
    });
}

/// The value of a metric, if it is there.
fn metric(house: &House, name: &str) -> Option<usize> {
    let log = house.log();
    let address: SocketAddr = log.split("are at http://").nth(1)?.split('/').next()?.parse().ok()?;
    let mut wire = Wire::over(TcpStream::connect(address).unwrap());
    wire.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let text = wire.answer().unwrap().text();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok())
        .map(|it| it as usize)
}

#[test]
fn a_prefix_that_comes_from_a_file_is_probed_and_the_metric_counts_what_is_in_quarantine() {
    inside(|| {
        stranger(&["192.0.2.2/32", "192.0.2.77/32", "198.51.100.2/32"]);
        ip("address add 198.51.100.11/24 dev eth7");
        let house = House::with_toml("");
        let file = house.path("prefix");
        house.configure(&format!(
            "http = \"0\"\nquarantine = \"300ms\"\ncooling = \"0\"\n[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\nprobe = true\n\
             v4 = \"file:{}\"\n",
            file.display()
        ));
        let change = |prefix: &str| {
            std::fs::write(house.path("new"), format!("{prefix}\n")).unwrap();
            std::fs::rename(house.path("new"), &file).unwrap();
        };
        change("192.0.2.0/24");
        let daemon = house.start();
        let mut wire = daemon.wire();
        let counted = || metric(&house, "gipam_quarantined_addresses");
        let first = network(&mut wire, "192.0.2.0/24");
        assert_eq!(wire.address(&first, "", container(1)), "192.0.2.3/24");
        // The host's own address on the LAN may be probed in advance, and counts too.
        let is_exact = || counted().filter(|it| *it > 0 && *it == quarantined(&daemon).len());
        let before = until("the metric counts what is in quarantine", is_exact);
        change("198.51.100.0/24");
        let base = || daemon.view("/v1/pools")[0]["base"].clone();
        until(&format!("the base changes: {}", house.log()), || (base() == "198.51.100.0/24").then_some(()));
        let second = network(&mut wire, "198.51.100.0/24");
        // The stranger has the first address, and the host part of the other container is kept for it.
        assert_eq!(wire.address(&second, "", container(2)), "198.51.100.4/24");
        assert_eq!(wire.address(&second, "", container(1)), "198.51.100.3/24");
        until("the metric counts both", || (counted()? > before).then_some(()));
        let is_known = |address: &str| quarantined(&daemon).iter().any(|(known, _)| known == address);
        assert!(is_known("198.51.100.2"), "{:?}", quarantined(&daemon));
        // The network on the earlier prefix is on the LAN as before.
        let body = json!({"PoolID": first, "Address": "192.0.2.77", "Options": container(3)});
        assert!(wire.refused("RequestAddress", &body).contains("192.0.2.77 is held by"), "{}", house.log());
        // The gauge falls when the strangers have left.
        ip("-n beyond addr del 192.0.2.2/32 dev peer7");
        ip("-n beyond addr del 198.51.100.2/32 dev peer7");
        let is_there = || is_known("192.0.2.2") || is_known("198.51.100.2");
        until("the quarantine ends", || (!is_there()).then_some(()));
        until("the metric counts that", || (counted()? == quarantined(&daemon).len()).then_some(()));
    });
}

#[test]
fn an_address_of_a_container_is_never_taken_for_a_strangers() {
    inside(|| {
        stranger(&[]);
        let house = house("\"eth7\"");
        let daemon = house.start();
        let mut wire = daemon.wire();
        let id = network(&mut wire, "192.0.2.0/24");
        assert_eq!(wire.address(&id, "", container(1)), "192.0.2.2/24");
        // The container, with the MAC that Docker sent, on another host's end of the LAN.
        ip("-n beyond link set peer7 address 02:42:00:00:00:01");
        ip("-n beyond addr add 192.0.2.2/24 dev peer7");
        let sent = probes(&daemon)["sent"].as_u64().unwrap();
        assert_eq!(wire.address(&id, "192.0.2.200", container(2)), "192.0.2.200/24");
        until("other addresses are probed", || (probes(&daemon)["sent"].as_u64() > Some(sent)).then_some(()));
        assert_eq!(strangers(&daemon), [""; 0]);
        // It stops, still answers for a moment, and starts again.
        wire.release(&id, "192.0.2.2");
        assert_eq!(wire.address(&id, "", container(1)), "192.0.2.2/24");
        wire.release(&id, "192.0.2.2");
        assert_eq!(wire.address(&id, "192.0.2.2", container(1)), "192.0.2.2/24");
        assert_eq!(strangers(&daemon), [""; 0]);
    });
}

#[test]
fn the_hosts_own_addresses_are_quarantined_in_advance_and_no_container_gets_them() {
    inside(|| {
        let links: Value = serde_json::from_str(&ip("-j link show eth7")).unwrap();
        let mac = links[0]["address"].as_str().unwrap().to_owned();
        let house = house("true");
        let daemon = house.start();
        let mut wire = daemon.wire();
        let (v4, v6) = (network(&mut wire, "192.0.2.0/24"), network(&mut wire, "2001:db8::/64"));
        // Nobody has asked for them, but they are among the next ones.
        let own = ["192.0.2.11", "2001:db8::11"].map(|address| (address.to_owned(), mac.clone()));
        until("both are in quarantine", || {
            own.iter().all(|it| quarantined(&daemon).contains(it)).then_some(())
        });
        for id in [&v4, &v6] {
            for number in 1..=20 {
                let given = wire.address(id, "", container(number));
                assert!(!own.iter().any(|(own, _)| given.starts_with(&format!("{own}/"))), "{given}");
            }
        }
    });
}

#[test]
fn a_request_waits_at_most_300_ms_for_a_probe_and_not_at_all_for_an_address_of_the_stock() {
    inside(|| {
        stranger(&[]);
        let house = house("true");
        let daemon = house.start();
        let mut wire = daemon.wire();
        let id = network(&mut wire, "192.0.2.0/24");
        // Each of the first addresses gets three packets in advance.
        until("the stock is probed", || (probes(&daemon)["sent"].as_u64() >= Some(48)).then_some(()));
        let timed = |wire: &mut Wire, address: &str, number: u8| {
            let begun = Instant::now();
            wire.address(&id, address, container(number));
            begun.elapsed()
        };
        let asked: Vec<Duration> =
            (1..=5).map(|n| timed(&mut wire, &format!("192.0.2.{}", 100 + n), n)).collect();
        let stock: Vec<Duration> = (6..=12).map(|n| timed(&mut wire, "", n)).collect();
        println!("by number {asked:?}; from the stock {stock:?}; {}", probes(&daemon));
        assert!(asked.iter().all(|it| *it >= Duration::from_millis(150)), "the address was probed");
        let median = |mut all: Vec<Duration>| {
            all.sort();
            all[all.len() / 2]
        };
        assert!(median(asked) < Duration::from_millis(320));
        assert!(median(stock) < Duration::from_millis(100));
        // Without an interface nobody waits.
        ip("link set eth7 down");
        until("the state says why", || {
            let begun = Instant::now();
            wire.address(&id, "", container(20));
            let row = probes(&daemon);
            (row["unprobed"].as_u64() > Some(0) && begun.elapsed() < Duration::from_millis(320)).then_some(())
        });
        drop(daemon);
    });
}

#[test]
fn a_pool_that_cannot_be_probed_gives_addresses_at_once_and_says_why() {
    inside(|| {
        stranger(&["192.0.2.2/24"]);
        let house = house("\"nowhere0\"");
        let daemon = house.start();
        let mut wire = daemon.wire();
        let id = network(&mut wire, "192.0.2.0/24");
        assert_eq!(wire.address(&id, "", container(1)), "192.0.2.2/24");
        let row = probes(&daemon);
        assert_eq!(row["pools"][0]["error"], "this host has no Ethernet interface nowhere0", "{row}");
        assert_eq!((&row["unprobed"], &row["quarantined"]), (&json!(1), &json!(0)));
        assert!(house.log().contains("given without a probe"), "{}", house.log());
    });
}

#[test]
fn without_the_right_to_send_packets_addresses_are_given_without_a_probe_and_status_log_and_doctor_say_so() {
    inside(|| {
        stranger(&["192.0.2.2/24"]);
        let house = house("true");
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", env!("CARGO_BIN_EXE_gipam")]);
        let log = std::fs::File::create(house.path("log")).unwrap();
        command.args(&house.arguments).current_dir(house.directory.path()).env_clear().stderr(log);
        let daemon = house.adopt(command.spawn().unwrap());
        until("the daemon serves", || daemon.socket.exists().then_some(()));
        let mut wire = daemon.wire();
        let id = network(&mut wire, "192.0.2.0/24");
        assert_eq!(wire.address(&id, "", container(1)), "192.0.2.2/24");
        let missing = "it needs CAP_NET_RAW; install the drop-in lan-probes.conf (see docs/install.md)";
        let row = probes(&daemon);
        assert!(row["pools"][0]["error"].as_str().unwrap().contains(missing), "{row}");
        assert_eq!(row["unprobed"], 1, "{row}");
        assert_eq!(house.log().matches(missing).count(), 1, "{}", house.log());
        let doctor = house.gipam(&["doctor"]);
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.contains("pool lan are given without a probe"), "{doctor}");
        assert!(daemon.stop().success());
    });
}
