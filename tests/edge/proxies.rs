//! Neighbour proxying: the router of a provider reaches containers on an on-link prefix, and the kernel's entries equal the books.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

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
name = "on-link"
v4 = { base = "198.51.100.128/25", size = 28 }
v6 = { base = "2001:db8:1:0:8000::/65", size = 80 }
ndp_proxy = "eth0"
arp_proxy = "eth0"
"#;

fn house() -> House {
    House::with_toml(POOL)
}

/// What the status says about the proxy entries.
fn state(daemon: &Daemon) -> Value {
    let rows = daemon.view("/v1/status")["kernel"].clone();
    let rows = rows.as_array().unwrap();
    rows.iter().find(|row| row["kind"] == "proxies").cloned().unwrap_or_default()
}

/// Waits until the kernel has an entry for exactly the containers in the books; returns how many.
fn until_equal(house: &House, when: &str) -> usize {
    let wanted = leased(house);
    until(&format!("{when}: {} entries; {}", wanted.len(), house.log()), || {
        (proxied() == wanted).then_some(())
    });
    wanted.len()
}

/// Entries of other programs, one of them inside the pool.
fn foreign() -> Vec<String> {
    for words in [
        "-6 neigh add proxy 2001:db8:1::77 dev eth0",
        "-6 neigh add proxy 2001:db8:1:0:8000::2:7777 dev eth0",
        "neigh add proxy 198.51.100.77 dev eth0 protocol 4",
        "neigh add proxy 203.0.113.77 dev eth0 protocol 171",
    ] {
        ip(words);
    }
    let others = others();
    assert_eq!(others.len(), 4, "{others:?}");
    others
}

#[test]
fn the_router_reaches_a_container_on_an_on_link_prefix_until_its_lease_is_released() {
    inside(|| {
        provider();
        let house = house();
        let daemon = house.start();
        let networks = [network(&daemon, true), network(&daemon, false)];
        let _listener = listen();
        for Network { id, address } in &networks {
            until(&format!("the router reaches {address}; {}", house.log()), || reaches(address).ok());
            daemon.wire().release(id, address);
        }
        assert_eq!((until_equal(&house, "after the release"), proxy_ndp().as_str()), (0, "1"));
        ip("netns exec router ip neigh flush dev wan0");
        ip("netns exec router ip -6 neigh flush dev wan0");
        for Network { address, .. } in &networks {
            reaches(address).expect_err("no longer after the release");
        }
        daemon.stop();
        assert_eq!((proxied().len(), proxy_ndp().as_str()), (0, "0"), "after the end");
    });
}

/// Leases this many addresses; returns the PoolID and the addresses.
fn lease_many(daemon: &Daemon, count: usize) -> (String, Vec<String>) {
    let mut wire = daemon.wire();
    let (id, _) = wire.subnet(true);
    let addresses = (0..count).map(|_| bare(&wire.address(&id, "", json!({}))).to_owned()).collect();
    (id, addresses)
}

/// The time that the thread has used, in nanoseconds.
fn used_by_thread(daemon: &Daemon) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let edge = tasks.find(|task| read(task.join("comm")).trim() == "edge").unwrap();
    read(edge.join("schedstat")).split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn ten_thousand_leases_have_their_entries_also_after_a_kill() {
    inside(|| {
        provider();
        let before = foreign();
        let house = house();
        let daemon = house.start();
        let begun = Instant::now();
        let (_, addresses) = lease_many(&daemon, 10_000);
        let leased_in = begun.elapsed();
        assert_eq!(until_equal(&house, "after the leases"), 10_000);
        println!("10,000 leases in {leased_in:?}, all entries after {:?}", begun.elapsed());
        let (used, begun) = (used_by_thread(&daemon), Instant::now());
        let (id, few) = lease_many(&daemon, 500);
        let mut wire = daemon.wire();
        few.iter().for_each(|address| wire.release(&id, address));
        until("single leases were followed", || (state(&daemon)["wanted"] == 10_000).then_some(()));
        until_equal(&house, "after single leases");
        let used = used_by_thread(&daemon) - used;
        println!(
            "1,000 single changes: {} µs of the thread each, in {:?}",
            used / 1_000_000,
            begun.elapsed()
        );
        daemon.kill();
        assert_eq!(proxied().len(), 10_000, "after the kill");
        for address in &addresses[..100] {
            ip(&format!("-6 neigh del proxy {address} dev eth0"));
        }
        for number in 1..=5 {
            ip(&format!("-6 neigh add proxy 2001:db8:1:0:ffff::{number} dev eth0 protocol 171"));
        }
        let begun = Instant::now();
        let daemon = house.start();
        assert_eq!(until_equal(&house, "after the next start"), 10_000);
        println!("compared and repaired {:?} after the next start", begun.elapsed());
        until("the status says so", || (state(&daemon)["kept"] == 10_000).then_some(()));
        assert_eq!(others(), before);
        daemon.stop();
        assert_eq!((others(), proxy_ndp().as_str()), (before, "0"));
    });
}

#[test]
fn a_kill_at_any_moment_of_a_change_of_leases_is_corrected_by_the_next_start() {
    inside(|| {
        provider();
        let before = foreign();
        let house = house();
        let (mut differed, mut left) = (0, BTreeSet::new());
        for round in 1..=30u64 {
            let daemon = house.start();
            differed += u32::from(left != leased(&house));
            until_equal(&house, &format!("round {round}"));
            assert_eq!((others(), proxy_ndp().as_str()), (before.clone(), "1"), "round {round}");
            let socket = daemon.socket.clone();
            let leasing = std::thread::spawn(move || {
                let Some(mut wire) = super::http::Wire::try_unix(&socket) else { return };
                let call = |wire: &mut super::http::Wire, method: &str, body: Value| {
                    let answer = wire.try_call(&format!("IpamDriver.{method}"), body.to_string())?;
                    serde_json::from_slice::<Value>(&answer.body).ok()
                };
                let body =
                    json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": {}, "V6": true});
                let Some(subnet) = call(&mut wire, "RequestPool", body) else { return };
                let mut given = Vec::new();
                loop {
                    let body = json!({"PoolID": subnet["PoolID"], "Address": "", "Options": {}});
                    let Some(answer) = call(&mut wire, "RequestAddress", body) else { return };
                    given.push(bare(answer["Address"].as_str().unwrap_or_default()).to_owned());
                    if given.len() > 3 {
                        let body = json!({"PoolID": subnet["PoolID"], "Address": given.remove(0)});
                        if call(&mut wire, "ReleaseAddress", body).is_none() {
                            return;
                        }
                    }
                }
            });
            std::thread::sleep(Duration::from_micros(5_000 + round * 1_700));
            daemon.kill();
            leasing.join().unwrap();
            left = proxied();
        }
        println!("killed while entries and books differed: {differed} of 30");
        let daemon = house.start();
        assert!(until_equal(&house, "in the end") > 30);
        daemon.stop();
        assert_eq!((others(), proxied().len(), proxy_ndp().as_str()), (before, 0, "0"));
    });
}

#[test]
fn entries_come_back_when_the_uplink_does_and_at_a_reload() {
    inside(|| {
        let house = house();
        let daemon = house.start();
        let (_, addresses) = lease_many(&daemon, 3);
        let missing = until("the uplink is missing", || {
            let state = state(&daemon);
            (state["wanted"] == 3 && state["error"].is_string()).then_some(state)
        });
        assert_eq!(
            (missing["kept"].as_u64(), missing["error"].as_str().unwrap()),
            (Some(0), "interface eth0 does not exist; its proxy entries will be made when it comes")
        );
        provider();
        assert_eq!(until_equal(&house, "when the interface comes"), 3);
        until("nothing is missing", || state(&daemon)["error"].is_null().then_some(()));
        ip("link set eth0 down");
        ip("link set eth0 up");
        assert_eq!(until_equal(&house, "after the link was down"), 3);
        // The kernel does not report this.
        ip(&format!("-6 neigh del proxy {} dev eth0", addresses[0]));
        ip("-6 neigh add proxy 2001:db8:1:0:ffff::1 dev eth0 protocol 171");
        house.json(&["reload"]);
        assert_eq!(until_equal(&house, "after a reload"), 3);
        sysctl("net/ipv6/conf/eth0/proxy_ndp", "0");
        until("the setting is on again", || (proxy_ndp() == "1").then_some(()));
        house.configure(&POOL.replace("ndp_proxy = \"eth0\"\n", ""));
        let lines = house.json(&["reload"]).to_string();
        assert!(
            lines.contains(
                "pool on-link: in the kernel, ndp_proxy eth0, arp_proxy eth0 becomes arp_proxy eth0"
            ),
            "{lines}"
        );
        until("the entries are removed", || (proxied().is_empty() && proxy_ndp() == "0").then_some(()));
        house.configure(POOL);
        house.json(&["reload"]);
        assert_eq!(until_equal(&house, "after they were switched on again"), 3);
        ip("link del eth0");
        until("the uplink is missing again", || state(&daemon)["error"].is_string().then_some(()));
        assert!(daemon.stop().success());
    });
}

#[test]
fn a_check_that_took_long_because_the_machine_was_busy_does_not_delay_the_next_one() {
    inside(|| {
        provider();
        let house = house();
        let daemon = house.start();
        let (_, addresses) = lease_many(&daemon, 1_000);
        assert_eq!(until_equal(&house, "after the leases"), 1_000);
        // The thread does not run for a while in the middle of a check, as on a busy machine.
        let is_caught = (0..30).any(|_| {
            ip("link set eth0 down");
            ip("link set eth0 up");
            until("a check adds entries", || (!proxied().is_empty()).then_some(()));
            daemon.signal(rustix::process::Signal::STOP);
            let is_caught = proxied().len() < addresses.len();
            std::thread::sleep(Duration::from_millis(if is_caught { 2_000 } else { 0 }));
            daemon.signal(rustix::process::Signal::CONT);
            until_equal(&house, "after a check");
            is_caught
        });
        assert!(is_caught, "no check was stopped in its middle");
        let begun = Instant::now();
        ip("link set eth0 down");
        ip("link set eth0 up");
        until_equal(&house, "after the next change");
        println!("a change after a long check was followed in {:?}", begun.elapsed());
    });
}

#[test]
fn what_others_have_made_is_never_touched() {
    inside(|| {
        provider();
        sysctl("net/ipv6/conf/eth0/proxy_ndp", "1");
        let before = foreign();
        let house = house();
        let daemon = house.start();
        let (id, _) = daemon.wire().subnet(true);
        let prefix = id.split('#').next().unwrap().to_owned();
        // The next addresses have entries of another program already.
        let first = bare(&daemon.wire().address(&id, "", json!({}))).to_owned();
        let next = format!("{}3", &first[..first.len() - 1]);
        ip(&format!("-6 neigh add proxy {next} dev eth0"));
        assert_eq!(bare(&daemon.wire().address(&id, &next, json!({}))), next, "{prefix}");
        let unmade = until("one place is taken", || {
            let state = state(&daemon);
            (state["unmade"].as_array()?.len() == 1).then_some(state)
        });
        assert_eq!((&unmade["unmade"][0]["prefix"], &unmade["kept"]), (&json!(next), &json!(1)), "{unmade}");
        assert!(unmade.to_string().contains("another program has a proxy entry for it on eth0"), "{unmade}");
        let doctor = house.gipam(&["doctor"]);
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.contains(&format!("no proxy entry for {next}")), "{doctor}");
        daemon.wire().release(&id, &next);
        until("it is not wanted", || (state(&daemon)["wanted"] == 1).then_some(()));
        ip(&format!("-6 neigh del proxy {next} dev eth0"));
        assert_eq!((until_equal(&house, "without it"), others()), (1, before.clone()));
        daemon.stop();
        // The setting was on already, so it is not gipam's.
        assert_eq!((others(), proxied().len(), proxy_ndp().as_str()), (before, 0, "1"));
    });
}

#[test]
fn kernel_at_end_decides_whether_entries_stay_while_gipam_is_stopped() {
    inside(|| {
        provider();
        let house = house();
        house.configure(&format!("kernel_at_end = \"keep\"\n{POOL}"));
        let daemon = house.start();
        let (id, _) = daemon.wire().subnet(true);
        let first = bare(&daemon.wire().address(&id, "", json!({}))).to_owned();
        let second = bare(&daemon.wire().address(&id, "", json!({}))).to_owned();
        assert_eq!(until_equal(&house, "after two leases"), 2);
        assert!(daemon.stop().success());
        assert_eq!((proxied().len(), proxy_ndp().as_str()), (2, "1"), "they stay");
        // Somebody else changes them meanwhile.
        ip(&format!("-6 neigh del proxy {first} dev eth0"));
        let daemon = house.start();
        assert_eq!(until_equal(&house, "after the next start"), 2);
        daemon.wire().release(&id, &second);
        assert_eq!(until_equal(&house, "after a release"), 1);
        house.configure(POOL);
        let lines = house.json(&["reload"]).to_string();
        assert!(lines.contains("kernel_at_end: keep becomes remove"), "{lines}");
        assert!(daemon.stop().success());
        assert_eq!((proxied().len(), proxy_ndp().as_str()), (0, "0"), "they are removed");
    });
}

#[test]
fn without_the_right_to_change_entries_everything_else_works() {
    inside(|| {
        provider();
        let house = house();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", env!("CARGO_BIN_EXE_gipam")]);
        let log = std::fs::File::create(house.path("log")).unwrap();
        command.args(&house.arguments).current_dir(house.directory.path()).env_clear().stderr(log);
        let daemon = house.adopt(command.spawn().unwrap());
        until("the daemon serves", || super::http::Wire::try_unix(&daemon.socket).map(drop));
        let (_, addresses) = lease_many(&daemon, 3);
        assert_eq!(addresses.len(), 3);
        let error = until("the status says what is missing", || {
            let state = state(&daemon);
            (state["wanted"] == 3).then(|| state["error"].as_str().unwrap_or_default().to_owned())
        });
        assert!(error.contains("it needs CAP_NET_ADMIN; install the drop-in kernel-routes.conf"), "{error}");
        assert_eq!(house.log().matches("CAP_NET_ADMIN").count(), 1, "{}", house.log());
        assert_eq!(proxied().len(), 0);
        assert!(daemon.stop().success());
    });
}
