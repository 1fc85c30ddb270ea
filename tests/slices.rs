//! THE ROUTES TO OTHER HOSTS' SLICES, applied by the real `ip` in separate network namespaces.
//!
//! Promises: what `gipam routes --format ip` prints can be applied again and after a slice has changed hands,
//! and packets then go where it says. Each namespace ends with its process. Needs root or user namespaces,
//! util-linux and iproute2.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::process::Command;

use gipam::plan::prefix::Prefix;
use gipam::view::routes::{RouteFormat, RoutedHost, rows, text};

/// Runs a script in a new network namespace and returns what it prints.
fn in_namespace(script: &str, arguments: &[&str]) -> String {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let output = unshare.args(["--net", "sh", "-euc", script, "sh"]).args(arguments).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}

fn host(name: &str, number: u8, slices: &[&str]) -> RoutedHost {
    let via = [format!("192.0.2.{number}"), format!("2001:db8::{number}")];
    let slices = slices.iter().map(|slice| Prefix::parse(slice).unwrap()).collect();
    RoutedHost { name: name.to_owned(), via: via.map(|via| via.parse().unwrap()).into(), slices }
}

/// The routes of host `a` before and after one slice of each family has moved from `b` to `a`, and one the
/// other way.
fn before_and_after() -> [String; 2] {
    let (low, high) = (["10.8.0.0/20", "2001:db8:8::/52"], ["10.8.16.0/20", "2001:db8:8:1000::/52"]);
    [(low, high), (high, low)].map(|(own, others)| {
        let rows = rows(&[host("a", 11, &own), host("b", 12, &others)], "a").unwrap();
        text(&rows, RouteFormat::Ip)
    })
}

const LINK: &str = "ip link set lo up
ip link add eth7 type veth peer name peer7
ip link set peer7 up
ip link set eth7 up
ip address add 192.0.2.11/24 dev eth7
ip -6 address add 2001:db8::11/64 dev eth7 nodad
apply() { printf %s \"$1\" | ip -batch -; ip route show proto 171; ip -6 route show proto 171; echo .; }
";

#[test]
fn routes_for_ip_can_be_applied_twice_and_after_slices_changed_hands() {
    let [before, after] = before_and_after();
    let script = format!("{LINK}apply \"$1\"; apply \"$1\"; apply \"$2\"; apply \"$1\"");
    let printed = in_namespace(&script, &[&before, &after]);
    let tables: Vec<Vec<&str>> =
        printed.split(".\n").map(|table| table.lines().map(str::trim).collect()).collect();
    let [first, again, moved, back, _] = &tables[..] else { panic!("{printed}") };
    assert_eq!(first.len(), 4, "{printed}");
    let has = |table: &[&str], start: &str| table.iter().any(|line| line.starts_with(start));
    for (own, other) in [("10.8.0.0/20", "10.8.16.0/20"), ("2001:db8:8::/52", "2001:db8:8:1000::/52")] {
        let via = if own.contains(':') { "2001:db8::12" } else { "192.0.2.12" };
        assert!(
            has(first, &format!("blackhole {own}")) && has(first, &format!("{other} via {via}")),
            "{printed}"
        );
        assert!(
            has(moved, &format!("blackhole {other}")) && has(moved, &format!("{own} via {via}")),
            "{printed}"
        );
    }
    assert_eq!((again, back, moved.len()), (first, first, 4), "{printed}");
}

#[test]
fn a_network_that_fills_its_slice_keeps_its_own_route() {
    let [before, _] = before_and_after();
    let script = format!(
        "{LINK}ip address add 10.8.0.1/20 dev peer7\nip -6 address add 2001:db8:8::1/52 dev peer7 nodad
apply \"$1\" >&2; ip route get 10.8.0.9; ip -6 route get 2001:db8:8::9"
    );
    let printed = in_namespace(&script, &[&before]);
    let found: Vec<&str> = printed.lines().filter(|line| line.contains("dev peer7")).collect();
    assert_eq!(found.len(), 2, "{printed}");
}

#[test]
fn packets_to_another_hosts_slice_reach_it_and_those_to_its_own_unused_space_are_discarded() {
    let [before, _] = before_and_after();
    // The other host is a second namespace, kept by a process that ends with its standard input.
    let script = format!(
        "{LINK}mkfifo \"$2\"; unshare --net cat \"$2\" & other=$!; exec 3>\"$2\"
until [ \"$(readlink /proc/$other/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do :; done
ip link set peer7 netns $other
nsenter --net --target $other sh -euc 'ip link set lo up; ip link set peer7 up
ip address add 192.0.2.12/24 dev peer7; ip -6 address add 2001:db8::12/64 dev peer7 nodad
ip address add 10.8.17.2/32 dev lo; ip -6 address add 2001:db8:8:1000::2/128 dev lo nodad'
knock() {{ bash -c \"</dev/tcp/$1/9\" 2>&1 | sed -n \"s|.*connect: |$1 |p\"; }}
knock 10.8.17.2; knock 2001:db8:8:1000::2
apply \"$1\" >&2
for address in 10.8.17.2 2001:db8:8:1000::2 10.8.3.3 2001:db8:8::3:3; do knock $address; done
exec 3>&-; wait $other"
    );
    let directory = tempfile::tempdir().unwrap();
    let printed = in_namespace(&script, &[&before, directory.path().join("fifo").to_str().unwrap()]);
    // A closed port refuses a connection, so the packet has arrived; the kernel itself refuses to send to a
    // discard route.
    let expected = [
        "10.8.17.2 Network is unreachable",
        "2001:db8:8:1000::2 Network is unreachable",
        "10.8.17.2 Connection refused",
        "2001:db8:8:1000::2 Connection refused",
        "10.8.3.3 Invalid argument",
        "2001:db8:8::3:3 Invalid argument",
    ];
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}
