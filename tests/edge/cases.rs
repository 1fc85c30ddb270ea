//! `gipam doctor --edge` on hosts with a routed prefix, an on-link /64 and a changing prefix, and with routers that show how they send
//! packets, or do not; the lines that it prints are a valid configuration.
//!
//! Promises: the router is another kernel's view, a network namespace; it learns nothing about an address that nobody has.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::daemon::{House, until};
use super::router::{provider, sysctl, within};
use super::support::{inside, ip};
use super::world::nft;

/// The lines for the on-link prefix of [`provider`], and for the same prefix when it is routed.
const ON_LINK: &str = "[[pool]]\nname = \"public\"\nv6 = { base = \"2001:db8:1:0:8000::/65\", size = 80 }\nndp_proxy = \"eth0\"\n";
const ROUTED: &str =
    "[[pool]]\nname = \"public\"\nv6 = { base = \"2001:db8:1:0:8000::/65\", size = 80 }\ndiscard = true\n";
/// All that the router remembers of the half of the /64 that no machine uses.
const UNUSED: &str = "netns exec router ip -6 neigh show to 2001:db8:1:0:8000::/65";

/// The text without the line breaks of its comments.
fn unwrapped(text: &str) -> String {
    text.replace("\n#   ", " ")
}

/// What the command prints, after the daemon has accepted it as a configuration.
fn printed() -> String {
    let house = House::with_toml("");
    let output = house.plain(&["doctor", "--edge"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let file = house.path("edge.toml");
    std::fs::write(&file, &text).unwrap();
    if text.contains("[[pool]]") {
        let check = house.plain(&["config", "check", file.to_str().unwrap()]);
        assert!(check.status.success(), "{text}\n{}", String::from_utf8_lossy(&check.stderr));
    }
    println!("{text}");
    unwrapped(&text)
}

/// Case and probe of the only prefix.
fn row() -> (String, String) {
    let output = House::with_toml("").plain(&["doctor", "--edge", "--json"]);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    let text = |key: &str| rows[0][key].as_str().unwrap().to_owned();
    (text("case"), text("probe"))
}

fn said(case: &str, probe: &str) -> (String, String) {
    (case.to_owned(), probe.to_owned())
}

/// The provider of [`provider`], as soon as both kernels have checked their own addresses; before, they do not look for others.
fn settled() {
    provider();
    within("router", || sysctl("net/ipv6/conf/all/forwarding", "1"));
    ip("netns exec router ip -6 address add fe80::1/64 dev wan0 nodad");
    for words in ["-6 address show tentative", "netns exec router ip -6 address show tentative"] {
        until("no address is tentative", || ip(words).is_empty().then_some(()));
    }
}

/// Lets the router drop what this says, and nothing else.
fn drops(what: &str) {
    for words in [
        "netns exec router nft add table ip6 filter",
        "netns exec router nft delete table ip6 filter",
        "netns exec router nft add table ip6 filter",
        "netns exec router nft add chain ip6 filter early { type filter hook prerouting priority -300 ; }",
        &format!("netns exec router nft add rule ip6 filter early {what} counter drop"),
    ] {
        ip(words);
    }
}

#[test]
fn doctor_edge_tells_an_on_link_prefix() {
    inside(|| {
        assert!(printed().contains("# No IPv6 prefix leads to this host"), "without a default route");
        settled();
        let kernel = || ["-6 address", "-6 route", "-6 maddress", "-6 neigh show proxy"].map(ip);
        let before = kernel();
        let text = printed();
        assert!(text.starts_with("# 2001:db8:1::/64 is on the link of eth0: "), "{text}");
        assert!(text.contains("# The router 2001:db8:1::1 looked on the link for 2001:db8:1:0:"), "{text}");
        assert!(text.ends_with(ON_LINK), "{text}");
        assert_eq!(kernel(), before, "the host is as before");
        let known = ip(UNUSED);
        assert!(known.contains("INCOMPLETE") || known.contains("FAILED"), "{known}");
        assert!(!known.contains("lladdr"), "nobody answers the router: {known}");
        // Most providers have a link-local address as their router's.
        ip("-6 route replace default via fe80::1 dev eth0");
        assert!(printed().contains("# The router fe80::1 looked on the link for 2001:db8:1:0:"));
        assert_eq!(row(), said("on-link", "solicits"));
        ip("-6 address change 2001:db8:1::2/64 dev eth0 valid_lft 3600 preferred_lft 1800");
        let text = printed();
        assert!(text.contains("with a limited lifetime: the prefix may change"), "{text}");
    });
}

#[test]
fn doctor_edge_tells_that_a_prefix_on_the_uplink_is_routed_to_the_host() {
    inside(|| {
        settled();
        ip("-6 route replace default via fe80::1 dev eth0");
        for words in [
            "netns exec router ip -6 address del 2001:db8:1::1/64 dev wan0",
            "netns exec router ip -6 route add 2001:db8:1::2/128 dev wan0",
            "netns exec router ip -6 route add 2001:db8:1::/64 via 2001:db8:1::2",
        ] {
            ip(words);
        }
        let text = printed();
        assert!(text.starts_with("# 2001:db8:1::/64 is routed to this host, by eth0.\n"), "{text}");
        assert!(text.contains("# The router fe80::1 sent a packet for 2001:db8:1:0:"), "{text}");
        assert!(text.ends_with(ROUTED), "{text}");
        assert_eq!(row(), said("routed", "sends-here"));
        assert_eq!(ip(UNUSED), "", "the router did not look for the address");
    });
}

#[test]
fn doctor_edge_asks_a_router_that_answers_no_echo_requests_by_a_packet_that_ends_there() {
    inside(|| {
        settled();
        drops("ip6 daddr { fe80::1, 2001:db8:1::1 } icmpv6 type echo-request");
        assert_eq!(row(), said("on-link", "solicits"));
        let counted = ip("netns exec router nft list chain ip6 filter early");
        assert!(!counted.contains("packets 0 "), "echo requests to the router are dropped: {counted}");
    });
}

#[test]
fn doctor_edge_hears_the_router_behind_a_switch_that_passes_solicitations_to_group_members_only() {
    inside(|| {
        settled();
        for words in [
            "netns exec router ip link add lan0 type bridge mcast_snooping 1 mcast_query_response_interval 1",
            "netns exec router ip -6 address flush dev wan0 scope global",
            "netns exec router ip -6 address del fe80::1/64 dev wan0",
            "netns exec router ip link set wan0 master lan0",
            "netns exec router ip link set lan0 up",
            "netns exec router ip -6 address add 2001:db8:1::1/64 dev lan0 nodad",
            "netns exec router ip -6 address add fe80::1/64 dev lan0 nodad",
            "neigh flush dev eth0",
        ] {
            ip(words);
        }
        until("no address is tentative", || {
            ip("netns exec router ip -6 address show tentative").is_empty().then_some(())
        });
        // The switch asks for members now. Until it does, it passes everything.
        ip("netns exec router ip link set lan0 type bridge mcast_querier 1");
        until("the switch knows the groups of the host", || {
            ip("netns exec router bridge mdb show dev lan0").contains("port wan0").then_some(())
        });
        assert_eq!(row(), said("on-link", "solicits"));
    });
}

#[test]
fn doctor_edge_says_that_a_case_is_only_probable_if_the_router_does_not_answer() {
    inside(|| {
        settled();
        // As a provider does that lets a host send only from its own address.
        drops("ip6 saddr 2001:db8:1::/64 ip6 saddr != 2001:db8:1::2");
        let begun = Instant::now();
        let text = printed();
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(text.starts_with("# 2001:db8:1::/64 is probably on the link of eth0.\n"), "{text}");
        assert!(text.contains("write discard = true in place of ndp_proxy"), "{text}");
        assert!(
            text.contains("# The router 2001:db8:1::1 answers this host's address, but not 2001:db8:1:0:"),
            "{text}"
        );
        assert!(text.ends_with(ON_LINK), "{text}");
        assert_eq!(row(), said("on-link", "only-own"));
        drops("icmpv6 type echo-request");
        let text = printed();
        let silent = "# The router 2001:db8:1::1 did not answer, so how it sends packets to 2001:db8:1::/64 is unknown.";
        assert!(text.contains(silent) && text.ends_with(ON_LINK), "{text}");
        assert_eq!((row(), ip(UNUSED)), (said("on-link", "silent"), String::new()));
        // As a firewall of the host itself does.
        nft(
            "table ip6 own { chain late { type filter hook output priority 0; icmpv6 type echo-request drop; }; }\n",
        );
        let text = printed();
        let firewall = ": a firewall of this host drops echo requests from unused addresses on eth0.";
        assert!(text.contains(firewall) && text.ends_with(ON_LINK), "{text}");
        assert_eq!(row(), said("on-link", "not-asked"));
    });
}

#[test]
fn doctor_edge_without_cap_net_raw_says_that_it_did_not_ask_the_router() {
    inside(|| {
        settled();
        let output = Command::new("setpriv")
            .args(["--bounding-set=-net_raw", "--inh-caps=-net_raw", env!("CARGO_BIN_EXE_gipam")])
            .args(["doctor", "--edge"])
            .env_clear()
            .output()
            .unwrap();
        let text = unwrapped(&String::from_utf8(output.stdout).unwrap());
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with("# 2001:db8:1::/64 is probably on the link of eth0.\n"), "{text}");
        let reason = "# The router was not asked how it sends packets to 2001:db8:1::/64: run this as root (it needs CAP_NET_RAW).";
        assert!(text.contains(reason) && text.ends_with(ON_LINK), "{text}");
        assert_eq!(ip(UNUSED), "", "nothing was sent");
    });
}

#[test]
fn doctor_edge_tells_a_routed_prefix_and_a_changing_one() {
    inside(|| {
        settled();
        ip("-6 address del 2001:db8:1::2/64 dev eth0");
        ip("-6 route replace default via fe80::1 dev eth0");
        ip("-6 route add unreachable 2001:db8:8::/56 proto static");
        let text = printed();
        assert!(text.starts_with("# 2001:db8:8::/56 is routed to this host, by eth0."), "{text}");
        assert!(text.contains("# The router fe80::1 did not answer"), "it has no route back: {text}");
        assert!(text.ends_with("v6 = { base = \"2001:db8:8::/56\", size = 64 }\ndiscard = true\n"), "{text}");
        let links: Value = serde_json::from_str(&ip("-j -6 address show dev eth0 scope link")).unwrap();
        let host = links[0]["addr_info"][0]["local"].as_str().unwrap().to_owned();
        ip(&format!("netns exec router ip -6 route add 2001:db8:8::/56 via {host} dev wan0"));
        assert_eq!(row(), said("routed", "sends-here"));
        ip("-6 route del unreachable 2001:db8:8::/56");
        ip("-6 route add unreachable 2001:db8:c1::/56 proto dhcp");
        ip(&format!("netns exec router ip -6 route add 2001:db8:c1::/56 via {host} dev wan0"));
        let text = printed();
        assert!(text.starts_with("# 2001:db8:c1::/56 leads to this host by eth0, and may change."), "{text}");
        assert!(text.contains("# The router fe80::1 sent a packet for 2001:db8:c1:"), "{text}");
        assert!(text.ends_with("translate = \"nptv6\"\nouter = \"pd:eth0/56\"\n"), "{text}");
    });
}
