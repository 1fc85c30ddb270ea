//! A provider's router, this host and a container, each in its own network namespace, and connections between them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

use super::daemon::{Daemon, House};
use super::support::ip;

/// The port of the container.
const PORT: u16 = 9464;

/// Makes the router, which is on one link with `eth0` of this host and has on-link prefixes of both families; and a container's
/// namespace `box`, which is on one link with `bridge7`.
pub fn provider() {
    for words in [
        "netns add router",
        "link add eth0 type veth peer name wan0",
        "link set wan0 netns router",
        "link set eth0 up",
        // As at many providers: an IPv4 prefix on the link itself would make Docker refuse the pool (P12).
        "address add 198.51.100.2/32 dev eth0",
        "route add 198.51.100.1 dev eth0",
        "address add 2001:db8:1::2/64 dev eth0 nodad",
        "netns exec router ip link set lo up",
        "netns exec router ip link set wan0 up",
        "netns exec router ip address add 198.51.100.1/24 dev wan0",
        "netns exec router ip address add 2001:db8:1::1/64 dev wan0 nodad",
        "netns add box",
        "link add bridge7 type veth peer name c0",
        "link set c0 netns box",
        "link set bridge7 up",
        "netns exec box ip link set lo up",
        "netns exec box ip link set c0 up",
        "route add default via 198.51.100.1",
        "-6 route add default via 2001:db8:1::1",
    ] {
        ip(words);
    }
    sysctl("net/ipv4/ip_forward", "1");
    sysctl("net/ipv6/conf/all/forwarding", "1");
}

pub fn sysctl(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/{name}"), value).unwrap();
}

/// The kernel's setting on `eth0`.
pub fn proxy_ndp() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/proxy_ndp").unwrap().trim().to_owned()
}

/// Runs in another network namespace; sockets that it opens stay there.
pub fn within<T: Send>(namespace: &str, run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            let file = File::open(format!("/run/netns/{namespace}")).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            run()
        });
        inside.join().unwrap()
    })
}

/// Whether the router reaches the container at this address.
pub fn reaches(address: &str) -> io::Result<()> {
    let address = SocketAddr::new(address.parse().unwrap(), PORT);
    within("router", move || TcpStream::connect_timeout(&address, Duration::from_secs(2)).map(drop))
}

/// Something that listens in the container.
pub fn listen() -> TcpListener {
    within("box", || TcpListener::bind(("::", PORT)).unwrap())
}

/// The network of a container: its PoolID, its gateway and the address of the container, with their length.
pub struct Network {
    pub id: String,
    pub address: String,
}

/// A network with a container, as Docker makes it.
pub fn network(daemon: &Daemon, v6: bool) -> Network {
    let mut wire = daemon.wire();
    let (id, prefix) = wire.subnet(v6);
    let gateway = wire.address(&id, "", json!({"RequestAddressType": "com.docker.network.gateway"}));
    let address = wire.address(&id, "", json!({}));
    let family = if v6 { "-6" } else { "-4" };
    let nodad = if v6 { " nodad" } else { "" };
    let length = prefix.split_once('/').unwrap().1;
    assert!(address.ends_with(&format!("/{length}")), "{address} of {prefix}");
    ip(&format!("{family} address add {gateway} dev bridge7{nodad}"));
    ip(&format!("netns exec box ip {family} address add {address} dev c0{nodad}"));
    ip(&format!("netns exec box ip {family} route add default via {}", bare(&gateway)));
    Network { id, address: bare(&address).to_owned() }
}

/// An address without its length.
pub fn bare(address: &str) -> &str {
    address.split('/').next().unwrap()
}

/// The lines of `ip neigh show proxy`: gipam's, and those of others, sorted. One with gipam's number outside of its pools is not
/// gipam's.
fn proxies() -> (Vec<String>, Vec<String>) {
    let text = ip("-d neigh show proxy");
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.sort();
    let is_own = |line: &String| line.contains("proto 171") && !line.starts_with("203.0.113.");
    lines.into_iter().partition(is_own)
}

/// The proxy entries of others.
pub fn others() -> Vec<String> {
    proxies().1
}

/// The addresses that have a proxy entry of gipam on `eth0`.
pub fn proxied() -> BTreeSet<String> {
    let address = |line: &String| {
        assert!(line.contains(" dev eth0 "), "{line}");
        line.split(' ').next().unwrap().to_owned()
    };
    proxies().0.iter().map(address).collect()
}

/// The addresses of containers in the books.
pub fn leased(house: &House) -> BTreeSet<String> {
    let rows = house.json(&["leases"]);
    let rows = rows.as_array().unwrap().iter();
    let of_container = rows.filter(|row| row["kind"] == "endpoint" && row["state"] == "leased");
    of_container.map(|row| row["address"].as_str().unwrap().to_owned()).collect()
}

/// A counter of the router's kernel, such as `Icmp6InDestUnreachs`.
pub fn counter(name: &str) -> u64 {
    let text =
        ip("netns exec router cat /proc/net/snmp6") + &snmp(&ip("netns exec router cat /proc/net/snmp"));
    let words = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next().unwrap().parse().unwrap())
    };
    text.lines().find_map(words).unwrap_or_else(|| panic!("no counter {name}"))
}

/// `/proc/net/snmp` with one counter on each line: its heads are in one line, its values in the next.
fn snmp(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines.chunks(2).flat_map(|pair| {
        let (names, values) = (pair[0].split_whitespace(), pair[1].split_whitespace());
        let group = pair[0].split(':').next().unwrap();
        names.zip(values).skip(1).map(move |(name, value)| format!("{group}{name} {value}\n"))
    });
    pairs.collect()
}
