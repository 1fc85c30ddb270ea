//! Packets between two hosts, and the hook that makes the routes instead.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use serde_json::Value;

use super::daemon::{Daemon, House, until};
use super::etcd::Etcd;
use super::support::*;

#[test]
fn the_routes_example_of_the_hooks_makes_the_same_routes() {
    inside(|| {
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

/// The page of host `b`, at which packets are answered.
const PAGE: &str = "http = \"[::]:9464\"\n";

/// Makes another network namespace, host `b`, on the same link.
fn other_host() {
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
}

/// Starts the daemon of host `b`.
fn other(house: &House) -> Daemon {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "other", env!("CARGO_BIN_EXE_gipam")]).args(&house.arguments);
    let log = std::fs::File::create(house.path("log")).unwrap();
    let daemon = house.adopt(command.current_dir(house.directory.path()).stderr(log).spawn().unwrap());
    until("the other daemon serves", || daemon.socket.exists().then_some(()));
    daemon
}

/// A network of each host and family; the bridge of a network has its gateway's address.
fn networks() {
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
    inside(|| {
        let (here, there) = (house(&three()), house(&three()));
        let daemon = here.start();
        other_host();
        there.configure(&(PAGE.to_owned() + &configuration(&there, "b", "routes = \"kernel\"")));
        let other = other(&there);
        networks();
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

/// The configuration of a host whose plan is in etcd.
fn in_etcd(etcd: &Etcd, name: &str, via: [&str; 2]) -> String {
    format!(
        "[gc]\nengine = \"\"\n[plan]\nhost = {name:?}\netcd = [{:?}]\nvia = {via:?}\nroutes = \"kernel\"\n[[pool]]\nname = \"routed\"\n\
         v4 = {{ base = \"10.8.0.0/16\", size = 24, slice = 20 }}\nv6 = {{ base = \"2001:db8:8::/48\", size = 64, slice = 52 }}\n",
        etcd.endpoint()
    )
}

/// The routes on host `b`.
fn over_there() -> String {
    ip("netns exec other ip route show proto 171") + &ip("netns exec other ip -6 route show proto 171")
}

#[test]
fn r92_slices_that_hosts_claim_through_etcd_have_routes_on_all_hosts() {
    inside(|| {
        other_host();
        let mut etcd = Etcd::stopped("http");
        etcd.address = "192.0.2.11:2379".to_owned();
        etcd.go_on();
        let (here, there) = (House::with_toml(""), House::with_toml(""));
        here.configure(&in_etcd(&etcd, "a", A));
        there.configure(&in_etcd(&etcd, "b", B));
        let (daemon, other) = (here.start(), other(&there));
        assert!(here.gipam(&["join", "--new"]).status.success());
        assert!(there.gipam(&["join"]).status.success());
        // The networks of a need slices, and its routes to them are discard routes; then b claims, and a learns of it.
        let claimed = |daemon: &Daemon| [false, true].map(|v6| daemon.wire().subnet(v6).1);
        let (own, others) = (claimed(&daemon), claimed(&other));
        assert!(own.iter().all(|prefix| !others.contains(prefix)), "{own:?} {others:?}");
        until(&format!("each host has routes to the other's slices: {}", over_there()), || {
            let here = ip("route show proto 171") + &ip("-6 route show proto 171");
            let all =
                |text: &str, via: [&str; 2]| via.iter().all(|via| text.contains(&format!("via {via} ")));
            (all(&here, B) && all(&over_there(), A) && here.contains("blackhole")).then_some(())
        });
        until_equal(&here, "on this host");
        // Without the store everything stays as it is, also after a crash.
        let before = shown("proto 171");
        etcd.stop();
        daemon.kill();
        let daemon = here.start();
        assert_eq!(shown("proto 171"), before);
        etcd.go_on();
        until("the routes are known again", || (state(&daemon)["kept"] == before.len()).then_some(()));
        assert_eq!(shown("proto 171"), before);
        daemon.stop();
        assert_eq!(shown("proto 171"), []);
        drop(other);
    });
}
