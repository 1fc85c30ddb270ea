//! What gipam keeps in the kernel, and probes of a LAN, under its unit: without the drop-ins it says which one is missing, and with them,
//! installed as docs/install.md says, it has the rights.

use crate::machine::{Machine, SOON};
use crate::page;
use crate::wait::until;

const TOML: &str = "/etc/gipam/gipam.toml";

const POOLS: &str = r#"
[[pool]]
name = "vps"
v4 = { base = "10.64.0.0/16" }
v6 = { base = "2001:db8:b:0:8000::/65", size = 80 }
ndp_proxy = "up0"
discard = true
[[pool]]
name = "home"
v4 = { base = "10.65.0.0/16" }
v6 = { base = "fd00:8::/56", size = 64 }
translate = "nptv6"
outer = "2001:db8:c1::/56"
[[pool]]
name = "shore"
probe = true
v4 = { base = "192.0.2.0/24", gateway = "192.0.2.254" }
"#;

const MAC: &str = "02:00:00:00:00:77";
/// Another machine on the LAN.
const STRANGER: &str = "ip netns add beyond
    ip link set up1 netns beyond
    ip -n beyond link set up1 address 02:00:00:00:00:77
    ip -n beyond link set up1 up
    ip -n beyond address add 192.0.2.2/24 dev up1";

const CONTAINERS: &str = "docker network create --ipv6 --ipam-driver gipam --ipam-opt pool=vps vps
    docker run -d --init --name one --network vps bb sleep 3600
    docker network create --ipv6 --ipam-driver gipam --ipam-opt pool=home home
    docker run -d --init --name two --network home bb sleep 3600
    docker run -d --init --name three --network home bb sleep 3600
    docker network create -d macvlan -o parent=up0 --subnet 192.0.2.0/24 --ipam-driver gipam lan";

const STOP: &str = "systemctl stop gipam.socket gipam.service";
const START: &str = "systemctl start gipam.socket gipam.service";

/// The IPv6 address of a container.
fn address(m: &Machine, container: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}";
    m.sh(&format!("docker inspect --format '{format}' {container}"))
}

/// Everything that gipam has in the kernel: the proxy entry and the setting that it needs, the discard routes, the translation.
fn in_kernel(m: &Machine, one: &str, outer: &str) -> [bool; 4] {
    let proxies = m.sh("ip -6 neigh show proxy");
    let routes = m.sh("ip route show proto 171; ip -6 route show proto 171");
    let discards = ["unreachable 10.64.0.0/16", "unreachable 2001:db8:b:0:8000::/65"];
    [
        proxies.lines().any(|line| line.starts_with(&format!("{one} dev up0"))),
        m.sh("cat /proc/sys/net/ipv6/conf/up0/proxy_ndp") == "1",
        discards.iter().all(|route| routes.contains(route)),
        // Another container reaches the outer address.
        m.try_sh(&format!("docker exec three ping -6 -c 1 -w 2 {outer}")).ok,
    ]
}

/// A text without its line breaks.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn drop_ins(m: &mut Machine) {
    m.sh(STRANGER);
    page::install(m);
    m.write("/srv/pools.toml", POOLS);
    m.sh(&format!("cat /srv/pools.toml >>{TOML}; systemctl reload gipam"));
    m.sh(CONTAINERS);
    let (one, two) = (address(m, "one"), address(m, "two"));
    assert!(one.starts_with("2001:db8:b:0:8000:") && two.starts_with("fd00:8::"), "{one} {two}");
    let outer = two.replace("fd00:8::", "2001:db8:c1::");
    needs(m);
    assert_eq!(in_kernel(m, &one, &outer), [false; 4]);

    // What the messages say.
    m.sh(&page::block("Install by hand", 3));
    m.sh(&page::block("Install by hand", 4));
    until("everything is in the kernel", SOON, || in_kernel(m, &one, &outer) == [true; 4]);
    probed(m);
    let doctor = m.try_sh("gipam doctor").out;
    for part in
        ["1 proxy entry in the kernel", "2 discard routes in the kernel", "1 translation in the kernel"]
    {
        assert!(doctor.contains(part), "{part} is missing: {doctor}");
    }
    assert!(!doctor.contains("drop-in"), "{doctor}");
    at_end(m, &one, &outer);
}

/// Status, doctor and log name the drop-ins that are missing.
fn needs(m: &Machine) {
    let parts = [
        "it needs CAP_NET_ADMIN; install the drop-in kernel-routes.conf (see docs/install.md)",
        "it needs CAP_NET_RAW; install the drop-in lan-probes.conf (see docs/install.md)",
    ];
    let names_both = |text: &str| parts.iter().all(|part| text.contains(part));
    let is_known = "gipam status --json | grep -q CAP_NET_ADMIN && gipam status --json | grep -q CAP_NET_RAW";
    until("gipam knows what is missing", SOON, || m.try_sh(is_known).ok);
    let doctor = m.try_sh("gipam doctor").out;
    assert!(names_both(&joined(&doctor)), "{doctor}");
    let status = m.sh("gipam status");
    assert!(names_both(&joined(&status)), "{status}");
    let journal = m.journal();
    let warnings: Vec<_> =
        journal.iter().filter(|(level, _)| *level == 4).map(|(_, text)| text.as_str()).collect();
    assert!(names_both(&warnings.join("\n")), "{warnings:?}");
}

/// A container on the LAN does not get the addresses of the host and of the stranger.
fn probed(m: &Machine) {
    // A request waits for a probe for a short time only.
    let known = "test $(gipam leases --state quarantined | grep -c -E '192.0.2.(1|2) ') = 2";
    until("both are known", SOON, || m.try_sh(known).ok);
    m.sh("docker run -d --init --name four --network lan bb sleep 3600");
    assert_eq!(m.address("four"), "192.0.2.3");
    let strangers = m.view("leases --state quarantined");
    let known =
        |address: &str, mac: &str| strangers.iter().any(|row| row["address"] == address && row["mac"] == mac);
    let own = m.sh("cat /sys/class/net/up0/address");
    assert!(known("192.0.2.1", &own) && known("192.0.2.2", MAC), "{strangers:?}");
}

/// `systemctl stop` removes everything, or leaves it if the configuration says so.
fn at_end(m: &Machine, one: &str, outer: &str) {
    m.sh(STOP);
    assert_eq!(in_kernel(m, one, outer), [false; 4], "kernel_at_end is \"remove\" by default");
    m.sh(&format!("sed -i '1i kernel_at_end = \"keep\"' {TOML}; {START}"));
    until("everything is in the kernel again", SOON, || in_kernel(m, one, outer) == [true; 4]);
    m.sh(STOP);
    assert_eq!(in_kernel(m, one, outer), [true; 4], "kernel_at_end is \"keep\"");
    m.sh(START);
    assert_eq!(in_kernel(m, one, outer), [true; 4], "after the next start");
    m.sh(&format!("sed -i '1s/keep/remove/' {TOML}; systemctl reload gipam; {STOP}"));
    assert_eq!(in_kernel(m, one, outer), [false; 4], "kernel_at_end is \"remove\"");
}
