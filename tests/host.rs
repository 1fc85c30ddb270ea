//! THIS HOST with a real kernel: a separate network namespace with addresses, routes and nameservers of
//! every kind, made by `unshare` and `ip`. The machine itself is not changed and nothing is left behind.
//!
//! Without these tools, or without the right to create a namespace, the test prints NOT RUN; if `CI` is set,
//! it fails.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test")]

use std::process::Command;

use gipam::host::{InUse, InUseKind, survey_with};

const INSIDE: &str = "GIPAM_TEST_INSIDE_NAMESPACE";

/// The contents of the namespace. A veth pair, because not every kernel has dummy devices.
const SETUP: &str = "set -e
ip link set lo up
ip link add eth7 type veth peer name peer7
ip link set peer7 up
ip link set eth7 up
ip address add 10.9.0.5/22 dev eth7
ip address add 10.44.0.1 peer 10.44.0.2 dev eth7
ip address add 2001:db8:7::5/64 dev eth7 nodad
ip address add 198.51.100.1/32 dev lo
ip route add 10.20.0.0/16 via 10.9.0.1
ip route add 10.21.0.0/16 dev eth7
ip route add 10.22.0.0/16 dev eth7 table 1000
ip route add 10.23.0.0/16 nexthop via 10.9.0.1 dev eth7 nexthop via 10.9.0.2 dev eth7
ip route add 0.0.0.0/1 dev eth7
for i in $(seq 0 2499); do echo route add 172.20.$((i / 250)).$((i % 250))/32 via 10.9.0.1 table 7; done | ip -batch -
ip route add blackhole 10.30.0.0/16
ip route add unreachable 10.31.0.0/16
ip route add prohibit 10.32.0.0/16
ip route add throw 10.33.0.0/16
ip route add default via 10.9.0.1
ip -6 route add 2001:db8:8::/48 via 2001:db8:7::1
ip -6 route add blackhole 2001:db8:9::/48
ip -6 route add default via 2001:db8:7::1
";

#[test]
fn a_real_namespace_is_seen_as_docker_sees_it() {
    if std::env::var_os(INSIDE).is_some() {
        return look_around();
    }
    let test = std::env::current_exe().unwrap();
    let script = format!("{SETUP}exec \"$0\" --exact a_real_namespace_is_seen_as_docker_sees_it --nocapture");
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    let output = unshare.args(["--net", "sh", "-c", &script]).arg(test).env(INSIDE, "1").output();
    let text = match &output {
        Ok(output) => {
            String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
        }
        Err(error) => format!("cannot run unshare: {error}"),
    };
    match output {
        Ok(output) if output.status.success() && text.contains("LOOKED AROUND") => print!("{text}"),
        Ok(_) if text.contains("panicked") => panic!("inside the namespace:\n{text}"),
        _ if std::env::var_os("CI").is_some() => {
            panic!(
                "NOT RUN: needs util-linux and iproute2, and the right to make a network namespace:\n{text}"
            )
        }
        _ => eprintln!(
            "NOT RUN: needs util-linux and iproute2, and the right to make a network namespace:\n{text}"
        ),
    }
}

fn look_around() {
    let dir = tempfile::tempdir().unwrap();
    let resolv_conf = dir.path().join("resolv.conf");
    std::fs::write(&resolv_conf, "nameserver 10.0.0.53\nnameserver 127.0.0.1\n").unwrap();
    let survey = survey_with(&resolv_conf, &dir.path().join("none"));
    assert!(survey.errors.is_empty(), "{:?}", survey.errors);
    let many: Vec<_> = survey.in_use.iter().filter(|u| u.text.ends_with(" table 7")).collect();
    assert_eq!(many.len(), 2500, "a dump of many messages is read to its end");
    let of = |kind| -> Vec<&str> {
        let mut texts: Vec<_> = survey
            .in_use
            .iter()
            .filter(|u| u.kind == kind && !many.contains(u))
            .map(|u| u.text.as_str())
            .collect();
        texts.sort_unstable();
        texts
    };
    assert_eq!(of(InUseKind::Nameserver), ["nameserver 10.0.0.53"]);
    assert_eq!(
        of(InUseKind::InterfaceAddress),
        [
            "address 10.44.0.1/32 on eth7",
            "address 10.9.0.5/22 on eth7",
            "address 198.51.100.1/32 on lo",
            "address 2001:db8:7::5/64 on eth7",
        ]
    );
    assert_eq!(
        of(InUseKind::OnLinkV4Route),
        [
            "0.0.0.0/1 dev eth7 scope link",
            "10.21.0.0/16 dev eth7 scope link",
            "10.44.0.2/32 dev eth7 scope link",
            "10.9.0.0/22 dev eth7 scope link"
        ]
    );
    assert_eq!(
        of(InUseKind::Route),
        [
            "10.20.0.0/16 via 10.9.0.1 dev eth7",
            "10.22.0.0/16 dev eth7 table 1000 scope link",
            "10.23.0.0/16 nexthop via 10.9.0.1 dev eth7 nexthop via 10.9.0.2 dev eth7",
            "2001:db8:7::/64 dev eth7",
            "2001:db8:8::/48 via 2001:db8:7::1 dev eth7",
        ]
    );
    let InUse { prefix, .. } = survey.in_use.iter().find(|u| u.text.contains("10.9.0.5")).unwrap();
    assert_eq!(prefix.to_string(), "10.9.0.5/32");
    let started = std::time::Instant::now();
    for _ in 0..20 {
        assert!(survey_with(&resolv_conf, &resolv_conf).errors.is_empty());
    }
    println!("one survey of 2,500 routes: {:?}", started.elapsed() / 20);
    println!("LOOKED AROUND");
}
