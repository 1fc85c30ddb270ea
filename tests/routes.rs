//! THE ROUTES OF THIS HOST, followed: a daemon in its own network namespace, while routes are added and
//! removed.
//!
//! Promises: a subnet whose route was added before a request is skipped; one whose route is gone is offered
//! again; very many routes do not delay requests, even while they change. `GIPAM_ROUTES=1000000 cargo test
//! --test routes` adds that many; the daily test adds fewer. The machine itself is not changed. Without the
//! tools, or the right to create namespaces, the test prints NOT RUN; if `CI` is set, it fails.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use daemon::{Daemon, House};
use serde_json::json;

const INSIDE: &str = "GIPAM_TEST_INSIDE_NAMESPACE";
const DONE: &str = "DONE INSIDE";

/// Runs this very test in its own network and mount namespaces.
fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return println!("{DONE}");
    }
    let script = "set -e
mount --bind \"$1/resolv.conf\" /etc/resolv.conf
ip link set lo up
ip link add eth7 type veth peer name peer7
ip link set peer7 up
ip link set eth7 up
exec \"$0\" --exact \"$2\" --nocapture";
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("resolv.conf"), "").unwrap();
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.args(["--net", "--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let output = unshare.arg(directory.path()).arg(test).env(INSIDE, "1").output();
    let text = output.as_ref().map_or_else(ToString::to_string, |output| {
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
    });
    let good = output.is_ok_and(|output| output.status.success()) && text.contains(DONE);
    assert!(good || !text.contains("panicked"), "inside the namespace:\n{text}");
    let not_run = "NOT RUN: needs util-linux and iproute2, and the right to create namespaces";
    assert!(good || std::env::var_os("CI").is_none(), "{not_run}:\n{text}");
    if good { print!("{text}") } else { eprintln!("{not_run}:\n{text}") }
}

fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Lines for `ip -batch`.
fn batch(lines: impl Iterator<Item = String>) {
    let mut child = Command::new("ip").args(["-force", "-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut all = String::new();
    lines.for_each(|line| all.extend([&line, "\n"]));
    child.stdin.take().unwrap().write_all(all.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

const POOL: &str = "[gc]\nengine = \"\"\n[[pool]]\nname = \"a\"\nv4 = { base = \"10.9.0.0/16\", size = 24 }\n\
    v6 = { base = \"2001:db8:9::/48\", size = 64 }\n";

/// The subnet that would be given now; it is released at once.
fn next(daemon: &Daemon, v6: bool) -> String {
    let mut wire = daemon.wire();
    let (id, prefix) = wire.subnet(v6);
    // The subnet was used, so it does not count as part of a storm, and it is released without cooling.
    wire.release_pool(&id);
    prefix
}

fn house() -> House {
    House::with_toml(&format!("subnet_cooling = \"0\"\nstorm_limit = 0\n{POOL}"))
}

#[test]
fn p12_a_request_sees_every_change_before_it() {
    inside("p12_a_request_sees_every_change_before_it", || {
        ip("address add 192.0.2.1/24 dev eth7");
        ip("route add 10.9.0.0/24 dev eth7");
        let house = house();
        let daemon = house.start();
        assert_eq!(next(&daemon, false), "10.9.1.0/24", "the daemon knows a route from before its start");
        for (come, gone, v6, passed) in [
            ("route add 10.9.1.0/24 dev eth7", "route del 10.9.1.0/24 dev eth7", false, "10.9.2.0/24"),
            ("address add 10.9.1.7/32 dev eth7", "address del 10.9.1.7/32 dev eth7", false, "10.9.2.0/24"),
            ("address add 10.9.1.7/22 dev eth7", "address del 10.9.1.7/22 dev eth7", false, "10.9.4.0/24"),
            (
                "-6 address add 2001:db8:9::7/64 dev eth7 nodad",
                "-6 address del 2001:db8:9::7/64 dev eth7",
                true,
                "2001:db8:9:1::/64",
            ),
            (
                "-6 route add 2001:db8:9::/63 dev eth7",
                "-6 route del 2001:db8:9::/63 dev eth7",
                true,
                "2001:db8:9:2::/64",
            ),
        ] {
            for _ in 0..20 {
                ip(come);
                assert_eq!(next(&daemon, v6), passed, "{come}");
                ip(gone);
                let free = if v6 { "2001:db8:9::/64" } else { "10.9.1.0/24" };
                assert_eq!(next(&daemon, v6), free, "{gone}");
            }
        }
        // A replaced route does not stay in use after the new one is deleted.
        ip("route add 10.9.1.0/24 dev eth7");
        ip("route replace 10.9.1.0/24 dev peer7");
        assert_eq!(next(&daemon, false), "10.9.2.0/24");
        ip("route del 10.9.1.0/24");
        assert_eq!(next(&daemon, false), "10.9.1.0/24");
        // Several routes to one prefix: it stays in use until the last one is gone.
        ip("route add 10.9.1.0/24 dev eth7 metric 5");
        ip("route add 10.9.1.0/24 dev peer7 metric 6");
        ip("route del 10.9.1.0/24 dev eth7 metric 5");
        assert_eq!(next(&daemon, false), "10.9.2.0/24");
        // The kernel does not report the removal of an interface's IPv4 routes when the interface goes down.
        ip("link set peer7 down");
        assert_eq!(next(&daemon, false), "10.9.1.0/24");
        the_removal_of_a_part_of_a_route_is_noticed(&daemon);
        std::fs::write("/etc/resolv.conf", "nameserver 10.9.1.53\n").unwrap();
        assert_eq!(next(&daemon, false), "10.9.2.0/24", "the subnet with the nameserver is skipped");
        std::fs::write("/etc/resolv.conf", "").unwrap();
        assert_eq!(next(&daemon, false), "10.9.1.0/24");
    });
}

/// The kernel reports a single removed hop of a multipath route, a removed nexthop object instead of the IPv4
/// routes that used it, and the removal of an interface's last address instead of its IPv4 routes.
fn the_removal_of_a_part_of_a_route_is_noticed(daemon: &Daemon) {
    ip("link set peer7 up");
    ip("address add 2001:db8:1::1/64 dev eth7 nodad");
    ip("nexthop add id 5 via 192.0.2.2 dev eth7");
    ip("route add 10.9.1.0/24 nhid 5");
    assert_eq!(next(daemon, false), "10.9.2.0/24");
    ip("nexthop del id 5");
    offered(daemon, false, "10.9.1.0/24");
    let hops = |words: &str, hops: &[u8]| {
        let hops = hops.iter().map(|n| format!(" nexthop via 2001:db8:1::{n} dev eth7"));
        ip(&format!("-6 route {words} 2001:db8:9::/64{}", hops.collect::<String>()));
    };
    for _ in 0..3 {
        hops("add", &[2, 3]);
        hops("append", &[4]);
        for gone in [3, 4, 2] {
            assert_eq!(next(daemon, true), "2001:db8:9:1::/64", "the hop {gone} still exists");
            hops("del", &[gone]);
        }
        offered(daemon, true, "2001:db8:9::/64");
    }
    ip("address add 198.51.100.1/24 dev peer7");
    ip("route add 10.9.1.0/24 dev peer7");
    assert_eq!(next(daemon, false), "10.9.2.0/24");
    ip("address del 198.51.100.1/24 dev peer7");
    offered(daemon, false, "10.9.1.0/24");
}

/// A prefix whose route is gone is offered again, once all routes have been read again.
fn offered(daemon: &Daemon, v6: bool, prefix: &str) {
    let begun = Instant::now();
    while next(daemon, v6) != prefix {
        assert!(begun.elapsed() < Duration::from_secs(20), "{prefix} is not offered again");
    }
}

#[test]
fn p12_a_pool_added_by_a_reload_is_surveyed_too() {
    inside("p12_a_pool_added_by_a_reload_is_surveyed_too", || {
        ip("route add 10.77.0.0/24 dev eth7");
        let house = house();
        let daemon = house.start();
        next(&daemon, false);
        let new = "subnet_cooling = \"0\"\nstorm_limit = 0\n[gc]\nengine = \"\"\n[[pool]]\nname = \"b\"\n\
            v4 = { base = \"10.77.0.0/16\", size = 24 }\n";
        house.configure(new);
        house.json(&["reload"]);
        assert_eq!(next(&daemon, false), "10.77.1.0/24");
        let explained = house.json(&["explain", "--pool", "b"]);
        assert!(explained.to_string().contains("10.77.0.0/24 dev eth7"), "{explained}");
    });
}

fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

/// While routes change, one survey takes long enough for other requests to arrive meanwhile.
#[test]
fn waiting_requests_share_one_survey() {
    inside("waiting_requests_share_one_survey", || {
        let house =
            House::with_toml(&format!("log = \"debug\"\nsubnet_cooling = \"0\"\nstorm_limit = 0\n{POOL}"));
        let daemon = house.start();
        let most = || {
            let waited =
                |line: &str| line.rsplit_once("requests that waited: ")?.1.trim().parse::<usize>().ok();
            house.log().lines().filter_map(waited).max().unwrap_or(0)
        };
        let begun = Instant::now();
        while most() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(60), "each of sixteen had its own survey");
            std::thread::scope(|scope| {
                for _ in 0..16 {
                    scope.spawn(|| next(&daemon, false));
                }
                let routes = || (0..2_000u32).map(|n| format!("20.0.{}.{}/32 dev eth7", n >> 8, n & 255));
                batch(routes().map(|route| format!("route add {route}")));
                batch(routes().map(|route| format!("route del {route}")));
            });
        }
    });
}

#[test]
fn very_many_changing_routes_do_not_delay_requests() {
    inside("very_many_changing_routes_do_not_delay_requests", || {
        let many: u32 = std::env::var("GIPAM_ROUTES").map_or(20_000, |text| text.parse().unwrap());
        let house = house();
        let daemon = house.start();
        next(&daemon, false);
        let quiet = daemon.proc_status("VmHWM");
        let route = |n: u32| format!("20.{}.{}.{}/32 dev eth7", n >> 16, n >> 8 & 255, n & 255);
        batch((0..many).map(|n| format!("route add {}", route(n))));
        let house_again = house;
        drop(daemon);
        let daemon = house_again.start();
        next(&daemon, false);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let some = || 0..many.min(5_000);
                    batch(some().map(|n| format!("route del {}", route(n))));
                    batch(some().map(|n| format!("route add {}", route(n))));
                }
            });
            let others = scope.spawn(|| {
                let mut wire = daemon.wire();
                let mut times = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    wire.call("IpamDriver.GetCapabilities", "");
                    times.push(begun.elapsed());
                }
                percentile(times, 99)
            });
            let mut wire = daemon.wire();
            let mut times = Vec::new();
            for _ in 0..300 {
                let begun = Instant::now();
                let (id, _) = wire.subnet(false);
                times.push(begun.elapsed());
                wire.release_pool(&id);
            }
            over.store(true, Ordering::Relaxed);
            let (others, grown) = (others.join().unwrap(), daemon.proc_status("VmHWM").saturating_sub(quiet));
            let (middle, most) = (percentile(times.clone(), 50), percentile(times, 99));
            println!(
                "{many} routes that change: RequestPool {middle:?} (p99 {most:?}), others' p99 {others:?}, {grown} KiB more"
            );
            // Far above the usual value, and far below a list of all routes for each request.
            assert!(middle < Duration::from_millis(20), "{middle:?}");
            assert!(others < Duration::from_millis(100), "{others:?}");
            assert!(grown < 16 * 1024, "{grown} KiB more memory");
        });
        let said = json!({"AddressSpace": "local", "Pool": "", "V6": false});
        daemon.wire().ok("RequestPool", &said);
    });
}
