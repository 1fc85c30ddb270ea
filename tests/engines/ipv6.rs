//! The walk-throughs of docs/ipv6.md as they are typed, with real packets: a provider's router beyond the host reaches containers, and
//! they reach the Internet.
//!
//! The router is a network namespace on a veth pair, which the host calls `eth0`. The Internet is an address of the router.

use std::time::Duration;

use crate::console::{self, Step};
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::World;

const PAGE: &str = include_str!("../../docs/ipv6.md");
/// A server in the Internet.
const INTERNET: &str = "2001:db8:ffff::1";
/// The router, and the host's side of the link to it.
const LINK: &str = "ip netns add router && ip link add eth0 type veth peer name to-host netns router
    ip link set eth0 up && ip -6 address add 2001:db8:b::10/64 dev eth0 nodad && ip -6 route add default via 2001:db8:b::1
    ip -n router link set to-host up && ip -n router link set lo up
    ip -n router -6 address add 2001:db8:b::1/64 dev to-host nodad && ip -n router -6 address add 2001:db8:ffff::1/128 dev lo
    mkdir -p /srv/www && echo the Internet >/srv/www/index.html
    ip netns exec router busybox httpd -v -p [2001:db8:ffff::1]:80 -h /srv/www";
// The kernel removes the links of a deleted namespace some time later.
const UNLINK: &str =
    "ip netns pids router | xargs -r kill; ip link del eth0; ip netns del router; rm -rf /srv/www";

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("ipv6_of_a_routed_prefix_as_the_page_walks", "P12", routed),
        scenario("ipv6_of_a_64_on_the_link_as_the_page_walks", "P12", on_link),
        scenario("ipv6_that_is_translated_as_the_page_walks", "P12", translated),
    ]
}

/// The text of a section of the page.
fn section(title: &str) -> &'static str {
    let rest = PAGE.split(&format!("\n## {title}\n")).nth(1).unwrap_or_else(|| panic!("no section {title}"));
    rest.split("\n## ").next().unwrap()
}

/// Starts gipam as a section of the page says, and types its commands.
fn walk(w: &mut World, title: &str) -> String {
    w.change_host(LINK, UNLINK);
    let text = section(title);
    w.configure(console::configuration(text));
    w.inside("docker tag bb alpine");
    for Step { command, output } in console::steps(text) {
        let serving = "sh -c 'echo the container >/tmp/index.html; exec httpd -f -p 80 -h /tmp'";
        let command = command.replace("sleep 1d", serving);
        until(&format!("$ {command}"), Duration::from_secs(10), || {
            let said = w.inside(&command);
            command.starts_with("docker ") || console::alike(&output, &said)
        });
    }
    w.v6("one", "web")
}

// The option -T of busybox 1.35 (Debian 12) ends in a segmentation fault.
fn get(w: &World, command: &str, address: &str) -> String {
    w.inside(&format!("{command} timeout 5 wget -q -O - http://[{address}]/"))
}

/// The container and the Internet read each other's pages; the container is seen from outside as `outer`.
fn both_ways(w: &World, outer: &str) {
    let router = "ip netns exec router timeout 2 busybox";
    until(&format!("{outer} serves"), Duration::from_secs(10), || {
        let line = format!("{router} wget -q -O - http://[{outer}]/");
        w.engine.inside(&["sh", "-c", &line]).out.contains("the container")
    });
    assert!(get(w, "docker exec one", INTERNET).contains("the Internet"));
    w.inside(&format!("ip netns exec router busybox ping -c 1 -W 5 {outer}"));
    w.ping("one", INTERNET);
    // Engines before 27 ignore the option of the page, and do not filter IPv6.
    w.docker("exec -d one httpd -f -p 81 -h /tmp");
    w.inside("docker exec one sh -c 'until wget -q -O - http://127.0.0.1:81/; do sleep 0.1; done'");
    let unpublished = format!("{router} wget -q -O - http://[{outer}]:81/");
    let said = w.engine.inside(&["sh", "-c", &unpublished]);
    assert_eq!(said.ok, w.engine.version < (27, 0), "a port that is not published: {said:?}");
}

fn routed(w: &mut World) {
    let address = walk(w, "A routed prefix");
    assert_eq!(address, "2001:db8:a::2");
    w.inside("ip -n router -6 route add 2001:db8:a::/56 via 2001:db8:b::10");
    both_ways(w, &address);
    // A packet to an address that no network has comes back as an error, and does not go back and forth until its hops are used up.
    let count = |w: &World, name: &str| -> u64 {
        let line =
            format!("ip netns exec router busybox awk '$1 == \"{name}\" {{ print $2 }}' /proc/net/snmp6");
        w.inside(&line).trim().parse().unwrap()
    };
    let before = count(w, "Icmp6InDestUnreachs");
    w.inside("ip netns exec router busybox ping -c 1 -W 2 2001:db8:a:99::9 || true");
    assert!(count(w, "Icmp6InDestUnreachs") > before, "no error came back");
    assert_eq!(count(w, "Icmp6InTimeExcds"), 0, "the packet looped");
}

fn on_link(w: &mut World) {
    let address = walk(w, "A /64 on the link");
    assert_eq!(address, "2001:db8:b:0:8000::2");
    both_ways(w, &address);
    w.docker("rm -f one");
    until("gipam does not answer any more", Duration::from_secs(10), || {
        w.inside("ip -6 neigh show proxy").is_empty()
    });
    w.inside("ip -n router -6 neigh flush dev to-host");
    let said = w.inside(&format!("ip netns exec router busybox ping -c 1 -W 2 {address} || true"));
    assert!(said.contains("100% packet loss"), "{said}");
}

/// What systemd-networkd and dhcpcd leave in the kernel for a delegated prefix.
const DELEGATED: &str = "ip -6 route add unreachable 2001:db8:c1::/56 proto dhcp";

fn translated(w: &mut World) {
    w.change_host(DELEGATED, "ip -6 route flush proto dhcp");
    let address = walk(w, "Addresses that do not change");
    assert_eq!(address, "fd00:8::2");
    w.inside("ip -n router -6 route add 2001:db8:c1::/56 via 2001:db8:b::10");
    both_ways(w, "2001:db8:c1::2");
    let started = w.docker("inspect --format {{.Id}}{{.State.StartedAt}} one");
    w.inside("ip -n router -6 route del 2001:db8:c1::/56 && ip -n router -6 route add 2001:db8:c2::/56 via 2001:db8:b::10");
    w.inside(&DELEGATED.replace(":c1:", ":c2:"));
    w.inside(&DELEGATED.replace("add", "del"));
    both_ways(w, "2001:db8:c2::2");
    assert_eq!(w.docker("inspect --format {{.Id}}{{.State.StartedAt}} one"), started);
    assert_eq!(w.v6("one", "web"), address);
}
