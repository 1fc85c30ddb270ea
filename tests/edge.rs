//! THE ROUTES IN THE KERNEL: a daemon with `routes = "kernel"` in its own network namespace, while the plan, the links and other
//! programs change.
//!
//! Promises: compares the kernel's routes with those that `gipam routes` prints; packets between two hosts are real. The machine
//! itself is not changed, and each namespace ends with its processes. Without the tools, or the right to create namespaces, a test
//! prints NOT RUN; if `CI` is set, it fails.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use daemon::{Daemon, House, until};
use serde_json::Value;

const INSIDE: &str = "GIPAM_TEST_INSIDE_NAMESPACE";
const DONE: &str = "DONE INSIDE";

/// Runs this very test in its own network and mount namespaces, on host `a` of the plan.
fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return println!("{DONE}");
    }
    let script = "set -e
mount -t tmpfs none /run
ip link set lo up
ip link add eth7 type veth peer name peer7
ip link set peer7 up
ip link set eth7 up
ip address add 192.0.2.11/24 dev eth7
ip address add 2001:db8::11/64 dev eth7 nodad
exec \"$0\" --exact \"$1\" --nocapture";
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.args(["--net", "--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    let output = unshare.arg(test).env(INSIDE, "1").output();
    let text = output.as_ref().map_or_else(ToString::to_string, |output| {
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
    });
    let good = output.is_ok_and(|output| output.status.success()) && text.contains(DONE);
    assert!(good || !text.contains("panicked"), "inside the namespace:\n{text}");
    let not_run = "NOT RUN: needs util-linux and iproute2, and the right to create namespaces";
    assert!(good || std::env::var_os("CI").is_none(), "{not_run}:\n{text}");
    if good { print!("{text}") } else { eprintln!("{not_run}:\n{text}") }
}

fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The pools of the plan file, without hosts.
const POOLS: &str =
    "[[pool]]\nbase = \"10.8.0.0/16\"\nslice = 20\n[[pool]]\nbase = \"2001:db8:8::/48\"\nslice = 52\n";

/// A host of the plan file.
fn host(name: &str, via: &[&str], slices: &[&str]) -> String {
    format!("[[host]]\nname = {name:?}\nvia = {via:?}\nslices = {slices:?}\n")
}

const A: [&str; 2] = ["192.0.2.11", "2001:db8::11"];
const B: [&str; 2] = ["192.0.2.12", "2001:db8::12"];

/// A plan of three hosts, of which c has no IPv6 address.
fn three() -> String {
    POOLS.to_owned()
        + &host("a", &A, &["10.8.0.0/20", "2001:db8:8::/52"])
        + &host("b", &B, &["10.8.16.0/20", "10.8.48.0/20", "2001:db8:8:1000::/52"])
        + &host("c", &["192.0.2.13"], &["10.8.32.0/20", "2001:db8:8:2000::/52"])
}

/// The configuration of a host; `more` continues the table `[plan]`.
fn configuration(house: &House, name: &str, more: &str) -> String {
    format!(
        "subnet_cooling = \"0\"\n[gc]\nengine = \"\"\n[plan]\nfile = {:?}\nhost = {name:?}\n{more}\n[[pool]]\nname = \"routed\"\n\
         v4 = {{ base = \"10.8.0.0/16\", size = 24, slice = 20 }}\nv6 = {{ base = \"2001:db8:8::/48\", size = 64, slice = 52 }}\n",
        house.path("plan.toml")
    )
}

/// Host `a` with this plan file and `routes = "kernel"`.
fn house(plan: &str) -> House {
    let house = House::with_toml("");
    std::fs::write(house.path("plan.toml"), plan).unwrap();
    house.configure(&configuration(&house, "a", "routes = \"kernel\""));
    house
}

/// A route: prefix, and next hop or `discard`.
type Known = (String, String);

/// The routes of both families that these words select, with the wanted metric.
fn shown(words: &str) -> Vec<Known> {
    let of_family = |family: &str| -> Vec<Value> {
        serde_json::from_str(&ip(&format!("-j {family} route show {words}"))).unwrap()
    };
    let known = |route: &Value| {
        let text = |key: &str| route[key].as_str().unwrap_or_default().to_owned();
        assert_eq!(route["metric"], 65_535, "{route}");
        let to = if route["type"] == "blackhole" { "discard".to_owned() } else { text("gateway") };
        (text("dst"), to)
    };
    let mut all: Vec<Known> = [of_family("-4"), of_family("-6")].concat().iter().map(known).collect();
    all.sort();
    all
}

/// The routes that `gipam routes` prints, except those that lack a next hop.
fn printed(house: &House) -> Vec<Known> {
    let rows = house.json(&["routes"]);
    let known = |row: &Value| {
        let text = |key: &str| row[key].as_str().map(ToOwned::to_owned);
        let to = if row["kind"] == "discard" { Some("discard".to_owned()) } else { text("via") };
        Some((text("prefix")?, to?))
    };
    let mut all: Vec<Known> = rows.as_array().unwrap().iter().filter_map(known).collect();
    all.sort();
    all
}

/// Waits until the kernel has exactly the routes that gipam prints; returns how many.
fn until_equal(house: &House, when: &str) -> usize {
    let wanted = printed(house);
    until(&format!("{when}: {wanted:?}, not {:?}; {}", shown("proto 171"), house.log()), || {
        (shown("proto 171") == wanted).then_some(wanted.len())
    })
}

/// What the status says about the kernel's routes.
fn state(daemon: &Daemon) -> Value {
    daemon.view("/v1/status")["routes"].clone()
}

#[test]
fn r92_the_kernel_has_the_routes_of_the_plan_from_the_start_to_the_end() {
    inside("r92_the_kernel_has_the_routes_of_the_plan_from_the_start_to_the_end", || {
        let house = house(&three());
        let daemon = house.start();
        assert_eq!(until_equal(&house, "after the start"), 6);
        let moved = POOLS.to_owned()
            + &host("a", &A, &["10.8.16.0/20", "2001:db8:8::/52"])
            + &host("b", &["192.0.2.22", B[1]], &["10.8.0.0/20", "2001:db8:8:1000::/52"]);
        std::fs::write(house.path("plan.toml"), moved).unwrap();
        house.json(&["reload"]);
        assert_eq!(until_equal(&house, "after a reload of the plan"), 4);
        house.configure(&configuration(&house, "a", "routes = \"none\""));
        house.json(&["reload"]);
        until("the routes are removed", || shown("proto 171").is_empty().then_some(()));
        assert_eq!(state(&daemon), Value::Null);
        house.configure(&configuration(&house, "a", "routes = \"kernel\""));
        house.json(&["reload"]);
        assert_eq!(until_equal(&house, "after they were switched on again"), 4);
        // A mistake in the plan file changes nothing.
        std::fs::write(house.path("plan.toml"), "[[pool]]").unwrap();
        assert!(!house.gipam(&["reload"]).status.success());
        assert_eq!(until_equal(&house, "after a refused reload"), 4);
        daemon.stop();
        assert_eq!(shown("proto 171"), [], "after the end");
    });
}

#[test]
fn r92_a_route_that_somebody_removes_or_changes_comes_back() {
    inside("r92_a_route_that_somebody_removes_or_changes_comes_back", || {
        let house = house(&three());
        let daemon = house.start();
        until_equal(&house, "after the start");
        for disturbance in [
            "route del 10.8.16.0/20 proto 171 metric 65535",
            "-6 route del 2001:db8:8:1000::/52 proto 171",
            "route del blackhole 10.8.0.0/20 metric 65535",
            "route replace 10.8.16.0/20 via 192.0.2.99 proto 171 metric 65535",
            "route add 10.8.64.0/20 via 192.0.2.99 proto 171 metric 65535",
            "route add blackhole 10.8.16.0/20 proto 171 metric 65535 tos 4",
            "route flush proto 171",
            "-6 route flush proto 171",
            // The kernel removes the IPv4 routes of an interface without a word, and those of its last address.
            "link set eth7 down",
            "address del 192.0.2.11/24 dev eth7",
        ] {
            ip(disturbance);
            match disturbance {
                "link set eth7 down" => {
                    until("the routes wait", || (state(&daemon)["kept"] == 2).then_some(()));
                    ip("link set eth7 up");
                    ip("address add 2001:db8::11/64 dev eth7 nodad");
                }
                "address del 192.0.2.11/24 dev eth7" => {
                    until("the IPv4 routes wait", || (state(&daemon)["kept"] == 3).then_some(()));
                    ip("address add 192.0.2.11/24 dev eth7");
                }
                _ => {}
            }
            assert_eq!(until_equal(&house, disturbance), 6);
        }
        until("nothing is missing", || {
            (state(&daemon)["unmade"].as_array().unwrap().is_empty()).then_some(())
        });
        daemon.stop();
        assert_eq!(shown("proto 171"), []);
    });
}

/// Routes that are not gipam's, as `ip` prints them.
fn foreign() -> [String; 4] {
    [
        ip("route show proto static"),
        ip("-6 route show proto static"),
        ip("route show table 1000"),
        ip("route show 10.9.0.0/16"),
    ]
}

#[test]
fn r93_routes_of_others_are_never_touched() {
    inside("r93_routes_of_others_are_never_touched", || {
        for words in [
            // In the place of a route of the plan, and beside one.
            "route add 10.8.16.0/20 via 192.0.2.77 proto static metric 65535",
            "-6 route add 2001:db8:8:1000::/52 via 2001:db8::77 proto static metric 65535",
            "route add 10.8.32.0/20 via 192.0.2.77 proto static metric 5",
            "route add 10.8.80.0/20 via 192.0.2.77 proto static",
            // With gipam's number, but outside of its pools, or in another table.
            "route add 10.9.0.0/16 via 192.0.2.77 proto 171 metric 65535",
            "route add 10.8.16.0/20 via 192.0.2.77 proto 171 metric 65535 table 1000",
        ] {
            ip(words);
        }
        let before = foreign();
        let house = house(&three());
        let daemon = house.start();
        let unmade = until("two places are taken", || {
            let state = state(&daemon);
            (state["unmade"].as_array()?.len() == 2).then_some(state)
        });
        let prefixes = [&unmade["unmade"][0], &unmade["unmade"][1]].map(|row| row["prefix"].clone());
        assert_eq!(prefixes, ["10.8.16.0/20", "2001:db8:8:1000::/52"], "{unmade}");
        assert!(unmade.to_string().contains("another program has a route"), "{unmade}");
        assert_eq!((unmade["kept"].as_u64(), foreign()), (Some(4), before.clone()));
        // When the other program takes its route back, gipam's comes.
        ip("route del 10.8.16.0/20 proto static metric 65535");
        until("the place is free", || (state(&daemon)["kept"] == 5).then_some(()));
        ip("route add 10.8.16.0/20 via 192.0.2.77 proto static metric 65534");
        let before = foreign();
        daemon.stop();
        assert_eq!(foreign(), before);
        let left = shown("proto 171");
        assert_eq!(left, [("10.9.0.0/16".to_owned(), "192.0.2.77".to_owned())], "outside of the pools");
    });
}

#[test]
fn r92_after_a_crash_the_routes_stay_and_the_next_start_corrects_them() {
    inside("r92_after_a_crash_the_routes_stay_and_the_next_start_corrects_them", || {
        let house = house(&three());
        let daemon = house.start();
        until_equal(&house, "after the start");
        let before = shown("proto 171");
        daemon.kill();
        assert_eq!(shown("proto 171"), before, "after a crash");
        ip("route del 10.8.16.0/20 proto 171");
        ip("route replace blackhole 10.8.48.0/20 proto 171 metric 65535");
        ip("-6 route add 2001:db8:8:f000::/52 via 2001:db8::77 proto 171 metric 65535");
        let moved = three().replace("\"10.8.32.0/20\"", "\"10.8.96.0/20\"");
        std::fs::write(house.path("plan.toml"), moved).unwrap();
        let daemon = house.start();
        assert_eq!(until_equal(&house, "after the next start"), 6);
        daemon.stop();
        assert_eq!(shown("proto 171"), []);
    });
}

#[test]
fn r94_a_next_hop_out_of_reach_is_reported_and_tried_again_when_an_address_comes() {
    inside("r94_a_next_hop_out_of_reach_is_reported_and_tried_again_when_an_address_comes", || {
        let far = POOLS.to_owned()
            + &host("a", &A, &["10.8.0.0/20"])
            + &host("b", &["198.51.100.12", "2001:db8:99::12"], &["10.8.16.0/20", "2001:db8:8:1000::/52"])
            // An address of this very machine.
            + &host("c", &["192.0.2.15"], &["10.8.32.0/20"]);
        ip("address add 192.0.2.15/24 dev eth7");
        let house = house(&far);
        let daemon = house.start();
        let unmade = until("three routes wait", || {
            let state = state(&daemon);
            (state["unmade"].as_array()?.len() == 3).then_some(state.to_string())
        });
        assert!(unmade.contains("198.51.100.12 of host b is not on a network of this host"), "{unmade}");
        assert!(unmade.contains("2001:db8:99::12 of host b is not on a network of this host"), "{unmade}");
        assert!(
            unmade.contains("192.0.2.15 of host c cannot be a next hop: it is an address of this host"),
            "{unmade}"
        );
        ip("address add 198.51.100.11/24 dev peer7");
        until("the IPv4 route is made", || (state(&daemon)["kept"] == 2).then_some(()));
        ip("address add 2001:db8:99::11/64 dev peer7 nodad");
        until("the IPv6 route is made", || (state(&daemon)["kept"] == 3).then_some(()));
        ip("address del 192.0.2.15/24 dev eth7");
        until("the last route is made", || (state(&daemon)["kept"] == 4).then_some(()));
        assert_eq!(until_equal(&house, "in the end"), 4);
        assert!(house.log().contains("all routes of the plan are in the kernel: 4"), "{}", house.log());
    });
}

#[test]
fn r95_without_the_right_to_change_routes_everything_else_works() {
    inside("r95_without_the_right_to_change_routes_everything_else_works", || {
        let house = house(&three());
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", env!("CARGO_BIN_EXE_gipam")]);
        let log = std::fs::File::create(house.path("log")).unwrap();
        command.args(&house.arguments).current_dir(house.directory.path()).env_clear().stderr(log);
        let daemon = house.adopt(command.spawn().unwrap());
        until("the log says what is missing", || house.log().contains("CAP_NET_ADMIN").then_some(()));
        until("the daemon serves", || daemon.socket.exists().then_some(()));
        let (id, prefix) = daemon.wire().subnet(false);
        assert_eq!(prefix, "10.8.0.0/24");
        daemon.wire().release_pool(&id);
        assert!(state(&daemon)["error"].as_str().unwrap().contains("it needs CAP_NET_ADMIN"));
        let doctor = house.gipam(&["doctor"]);
        let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(doctor.contains("CAP_NET_ADMIN"), "{doctor}");
        assert_eq!(shown("proto 171"), []);
        assert!(daemon.stop().success());
    });
}

/// The Engine looks at the routes before it takes a subnet, and so does gipam: neither counts these (P12).
#[test]
fn p12_a_slice_that_changes_hands_gives_subnets_at_once() {
    inside("p12_a_slice_that_changes_hands_gives_subnets_at_once", || {
        let house = house(&three());
        let daemon = house.start();
        until_equal(&house, "after the start");
        // Routes of gipam's number that are out of date, as `gipam routes` prints them for another plan.
        ip("route add 10.8.0.0/21 via 192.0.2.12 proto 171 metric 65535 table 1000");
        let moved = POOLS.to_owned()
            + &host("a", &A, &["10.8.16.0/20", "2001:db8:8:1000::/52"])
            + &host("b", &B, &["10.8.0.0/20", "2001:db8:8::/52"]);
        for plan in [&moved, &three(), &moved] {
            std::fs::write(house.path("plan.toml"), plan).unwrap();
            house.json(&["reload"]);
            let own = if *plan == moved {
                ["10.8.16.0/24", "2001:db8:8:1000::/64"]
            } else {
                ["10.8.0.0/24", "2001:db8:8::/64"]
            };
            for (v6, expected) in [(false, own[0]), (true, own[1])] {
                let mut wire = daemon.wire();
                let (id, prefix) = wire.subnet(v6);
                assert_eq!(prefix, expected);
                wire.release_pool(&id);
            }
            until_equal(&house, "after the slices changed hands");
        }
    });
}

#[test]
fn the_routes_example_of_the_hooks_makes_the_same_routes() {
    inside("the_routes_example_of_the_hooks_makes_the_same_routes", || {
        let program = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hooks/routes.sh");
        let hook =
            format!("[[hook]]\nname = \"routes\"\ncommand = [{program:?}]\nevents = [\"routes_changed\"]\n");
        let mut house = house(&three());
        house.variables.push(("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()));
        house.configure(&(configuration(&house, "a", "") + &hook));
        ip("route add 10.8.64.0/20 via 192.0.2.77 proto 171 metric 65535");
        ip("-6 route add blackhole 2001:db8:8:f000::/52 proto 171 metric 65535");
        let daemon = house.start();
        assert_eq!(until_equal(&house, "after the start"), 6);
        let moved = POOLS.to_owned()
            + &host("a", &A, &["10.8.16.0/20", "2001:db8:8:1000::/52"])
            + &host("b", &B, &["10.8.0.0/20", "2001:db8:8::/52"]);
        std::fs::write(house.path("plan.toml"), moved).unwrap();
        house.json(&["reload"]);
        assert_eq!(until_equal(&house, "after the plan changed"), 4);
        assert_eq!(daemon.view("/v1/status")["hooks"][0]["last_error"], Value::Null);
        daemon.stop();
    });
}

/// Runs the daemon of another house in another network namespace, in which it is host `b`.
fn other(house: &House) -> Daemon {
    for words in [
        "netns add other",
        "link set peer7 netns other",
        "netns exec other ip link set lo up",
        "netns exec other ip link set peer7 up",
        "netns exec other ip address add 192.0.2.12/24 dev peer7",
        "netns exec other ip address add 2001:db8::12/64 dev peer7 nodad",
    ] {
        ip(words);
    }
    house.configure(
        &("http = \"[::]:9464\"\n".to_owned() + &configuration(house, "b", "routes = \"kernel\"")),
    );
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "other", env!("CARGO_BIN_EXE_gipam")]).args(&house.arguments);
    let log = std::fs::File::create(house.path("log")).unwrap();
    let daemon = house.adopt(command.current_dir(house.directory.path()).stderr(log).spawn().unwrap());
    until("the other daemon serves", || daemon.socket.exists().then_some(()));
    daemon
}

/// Connects from an address in a network of this host to one in a network of the other.
fn connects(from: &str, to: &str) -> std::io::Result<()> {
    use rustix::net::{
        AddressFamily, SocketType, bind, connect, socket, sockopt::Timeout, sockopt::set_socket_timeout,
    };
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket(family, SocketType::STREAM, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(std::time::Duration::from_millis(500)))?;
    bind(&socket, &SocketAddr::new(from, 0))?;
    Ok(connect(&socket, &SocketAddr::new(to, 9464))?)
}

#[test]
fn r92_two_hosts_reach_each_others_networks_over_these_routes() {
    inside("r92_two_hosts_reach_each_others_networks_over_these_routes", || {
        let (here, there) = (house(&three()), house(&three()));
        let daemon = here.start();
        let other = other(&there);
        // A network of each host and family; the bridge of a network has its gateway's address.
        for words in [
            "link add bridge7 type veth peer name container7",
            "link set bridge7 up",
            "link set container7 up",
            "address add 10.8.0.1/24 dev bridge7",
            "address add 2001:db8:8::1/64 dev bridge7 nodad",
            "netns exec other ip link add bridge7 type veth peer name container7",
            "netns exec other ip link set bridge7 up",
            "netns exec other ip link set container7 up",
            "netns exec other ip address add 10.8.16.1/24 dev bridge7",
            "netns exec other ip address add 2001:db8:8:1000::1/64 dev bridge7 nodad",
        ] {
            ip(words);
        }
        until_equal(&here, "on this host");
        for (from, to) in [("10.8.0.1", "10.8.16.1"), ("2001:db8:8::1", "2001:db8:8:1000::1")] {
            until(&format!("{from} reaches {to}; {}", there.log()), || connects(from, to).ok());
        }
        // No network has these addresses of the own slice, so packets to them do not leave this host.
        ip("route add default via 192.0.2.12");
        let error = connects("192.0.2.11", "10.8.1.1").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::INVAL.raw_os_error()), "{error}");
        ip("route del default");
        daemon.stop();
        assert!(connects("10.8.0.1", "10.8.16.1").is_err(), "without the route");
        other.stop();
    });
}

/// The kernel keeps an IPv6 route by the old interface when an address moves to a bridge.
#[test]
fn r92_routes_follow_a_next_hop_to_another_interface() {
    inside("r92_routes_follow_a_next_hop_to_another_interface", || {
        let house = house(&three());
        let daemon = house.start();
        until_equal(&house, "after the start");
        ip("link add eth8 type veth peer name peer8");
        ip("link set peer8 up");
        ip("link set eth8 up");
        ip("address add 192.0.2.11/24 dev eth8");
        ip("-6 address add 2001:db8::11/64 dev eth8 nodad");
        ip("address del 192.0.2.11/24 dev eth7");
        ip("-6 address del 2001:db8::11/64 dev eth7");
        until("all routes lead to the other interface", || {
            let all =
                ip("route show proto 171 via 192.0.2.12") + &ip("-6 route show proto 171 via 2001:db8::12");
            (all.lines().count() == 3 && !all.contains("eth7")).then_some(())
        });
        until_equal(&house, "after the address has moved");
        daemon.stop();
        assert_eq!(shown("proto 171"), []);
    });
}

/// The hosts of a pool that is one LAN are on one link, and a discard route would cut this host off from its containers.
#[test]
fn r92_a_lan_of_several_hosts_has_no_routes() {
    inside("r92_a_lan_of_several_hosts_has_no_routes", || {
        let lan = "[[pool]]\nbase = \"192.0.2.0/24\"\nslice = 28\n".to_owned()
            + &host("a", &A, &["192.0.2.32/28"])
            + &host("b", &B, &["192.0.2.48/28"]);
        let house = house(&lan);
        house.configure(&format!(
            "[gc]\nengine = \"\"\n[plan]\nfile = {:?}\nhost = \"a\"\nroutes = \"kernel\"\n[[pool]]\nname = \"lan\"\n\
             v4 = {{ base = \"192.0.2.0/24\", slice = 28, shared = true }}\n",
            house.path("plan.toml")
        ));
        let daemon = house.start();
        until("the routes are known", || (state(&daemon)["kept"] == 0).then_some(()));
        assert_eq!((house.json(&["routes"]), shown("proto 171")), (Value::Array(vec![]), vec![]));
    });
}
