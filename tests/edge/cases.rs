//! `gipam doctor --edge` on hosts with a routed prefix, an on-link /64 and a changing prefix; the lines that it prints are a valid
//! configuration.

use super::daemon::House;
use super::router::provider;
use super::support::{inside, ip};

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
    text
}

#[test]
fn doctor_edge_tells_an_on_link_prefix() {
    inside(|| {
        assert!(printed().contains("# No IPv6 prefix leads to this host"), "without a default route");
        provider();
        let text = printed();
        assert!(text.starts_with("# 2001:db8:1::/64 is on the link of eth0: "), "{text}");
        let lines = "[[pool]]\nname = \"public\"\nv6 = { base = \"2001:db8:1:0:8000::/65\", size = 80 }\nndp_proxy = \"eth0\"\n";
        assert!(text.ends_with(lines), "{text}");
        ip("-6 address change 2001:db8:1::2/64 dev eth0 valid_lft 3600 preferred_lft 1800");
        assert!(printed().contains("with a limited lifetime: the prefix may change"), "{}", printed());
    });
}

#[test]
fn doctor_edge_tells_a_routed_prefix_and_a_changing_one() {
    inside(|| {
        provider();
        ip("-6 address del 2001:db8:1::2/64 dev eth0");
        ip("-6 route replace default via fe80::1 dev eth0");
        ip("-6 route add unreachable 2001:db8:8::/56 proto static");
        let text = printed();
        assert!(text.starts_with("# 2001:db8:8::/56 is routed to this host, by eth0."), "{text}");
        assert!(text.ends_with("v6 = { base = \"2001:db8:8::/56\", size = 64 }\ndiscard = true\n"), "{text}");
        ip("-6 route del unreachable 2001:db8:8::/56");
        ip("-6 route add unreachable 2001:db8:c1::/56 proto dhcp");
        let text = printed();
        assert!(text.starts_with("# 2001:db8:c1::/56 leads to this host by eth0, and may change."), "{text}");
        assert!(text.ends_with("translate = \"nptv6\"\nouter = \"pd:eth0/56\"\n"), "{text}");
    });
}
