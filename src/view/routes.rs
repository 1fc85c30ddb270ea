//! The routes to the slices of other hosts, as rows and as text for the programs that make routes.
//!
//! Promises: the same hosts give the same rows and the same text, sorted by prefix. Applying a text again has no effect, and
//! `ip` may apply it after a slice has changed hands: each slice has one route of one metric, which is replaced. Does not
//! know pools, make routes or choose a next hop: each host has its own addresses under `via`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ErrorKind, Refusal};
use crate::plan::prefix::{Family, Prefix};
use crate::plan::written::never_leads;

pub use crate::plan::host_use::ROUTE_PROTOCOL as PROTOCOL;

/// The metric of all routes for `ip` and the kernel, worse than any other, so that a network whose subnet is a whole slice keeps
/// its route.
pub const METRIC: u32 = 65_535;

/// The metric of the discard routes for whole pools: a route to a slice that is the whole pool is preferred.
pub const DISCARD_METRIC: u32 = METRIC + 1;

/// A host, the addresses that lead to it, and its slices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutedHost {
    pub name: String,
    /// Only the first address of each family is used.
    pub via: Vec<IpAddr>,
    pub slices: Vec<Prefix>,
}

/// The route to one slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// The slice.
    pub prefix: String,
    /// The host to which it belongs.
    pub host: String,
    /// `via`; `discard` for this host's own slices; `missing` if the host has no `via` of this family.
    pub kind: RouteKind,
    /// The next hop.
    pub via: Option<IpAddr>,
}

/// What to do with packets to a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Send them to the host.
    Via,
    /// Discard packets to addresses that no network has: otherwise they would follow the default route.
    Discard,
    /// Unknown, because the host has no address of this family.
    Missing,
}

/// The programs for which routes can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteFormat {
    /// Lines for `ip -batch`.
    Ip,
    /// Lines for `vtysh`.
    Frr,
    /// Protocols for BIRD 2.
    Bird,
    /// `AllowedIPs` for each peer.
    Wireguard,
    /// The option that advertises this host's own slices.
    Tailscale,
}

impl RouteFormat {
    /// All formats, by name.
    const ALL: [(&'static str, Self); 5] = [
        ("ip", Self::Ip),
        ("frr", Self::Frr),
        ("bird", Self::Bird),
        ("wireguard", Self::Wireguard),
        ("tailscale", Self::Tailscale),
    ];

    /// The format with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, format)| format)
    }

    /// Whether its routes need a next hop.
    pub const fn needs_via(self) -> bool {
        matches!(self, Self::Ip | Self::Frr | Self::Bird)
    }
}

/// The routes on the host `own`, sorted by prefix.
pub fn rows(hosts: &[RoutedHost], own: &str) -> Result<Vec<RouteRow>, Refusal> {
    if !hosts.iter().any(|host| host.name == own) {
        let known: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let text = format!("the plan has no host {own}; it has {}", known.join(", "));
        return Err(Refusal::new(ErrorKind::Missing, text));
    }
    let mut by_prefix = BTreeMap::new();
    for host in hosts {
        for slice in &host.slices {
            by_prefix.insert((*slice, &host.name), host);
        }
    }
    let row = |((slice, name), host): ((Prefix, &String), &RoutedHost)| {
        let leads = |via: &IpAddr| Family::of(*via) == slice.family() && never_leads(*via).is_none();
        let via = host.via.iter().copied().find(leads).filter(|_| host.name != own);
        let kind = match via {
            Some(_) => RouteKind::Via,
            None if host.name == own => RouteKind::Discard,
            None => RouteKind::Missing,
        };
        RouteRow { prefix: slice.to_string(), host: name.clone(), kind, via }
    };
    Ok(by_prefix.into_iter().map(row).collect())
}

/// One warning for each host and family without a next hop.
pub fn warnings(rows: &[RouteRow]) -> Vec<String> {
    let mut missing: BTreeMap<(&str, Family), &str> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.kind == RouteKind::Missing) {
        missing.entry((&row.host, family(row))).or_insert(&row.prefix);
    }
    let text = |((host, family), prefix): ((&str, Family), &str)| {
        format!("no route to {prefix}: host {host} has no {family} address; add one to its via in the plan")
    };
    missing.into_iter().map(text).collect()
}

/// The rows as text for a program.
pub fn text(rows: &[RouteRow], format: RouteFormat) -> String {
    match format {
        RouteFormat::Ip => rows.iter().map(|row| line_for_ip(row) + "\n").collect(),
        RouteFormat::Frr => rows.iter().map(|row| line_for_frr(row) + "\n").collect(),
        RouteFormat::Bird => Family::BOTH.into_iter().map(|family| protocol_for_bird(rows, family)).collect(),
        RouteFormat::Wireguard => peers_for_wireguard(rows),
        RouteFormat::Tailscale => {
            let own = rows.iter().filter(|row| row.kind == RouteKind::Discard);
            format!("--advertise-routes={}\n", merged(own).join(","))
        }
    }
}

fn line_for_ip(row: &RouteRow) -> String {
    let (prefix, host) = (&row.prefix, name(row));
    let ending = format!("proto {PROTOCOL} metric {METRIC} # {host}");
    match (row.kind, row.via) {
        (RouteKind::Discard, _) => format!("route replace blackhole {prefix} {ending}"),
        (_, Some(via)) => format!("route replace {prefix} via {via} {ending}"),
        (_, None) => format!("# missing: {prefix}: host {host} has no {} address", family(row)),
    }
}

fn line_for_frr(row: &RouteRow) -> String {
    let (prefix, host, family) = (&row.prefix, name(row), family(row));
    let ip = if family == Family::V4 { "ip" } else { "ipv6" };
    match (row.kind, row.via) {
        (RouteKind::Discard, _) => format!("{ip} route {prefix} blackhole"),
        (_, Some(via)) => format!("{ip} route {prefix} {via}"),
        (_, None) => format!("! missing: {prefix}: host {host} has no {family} address"),
    }
}

fn protocol_for_bird(rows: &[RouteRow], of: Family) -> String {
    let rows: Vec<&RouteRow> = rows.iter().filter(|row| family(row) == of).collect();
    if rows.is_empty() {
        return String::new();
    }
    let line = |row: &&RouteRow| {
        let (prefix, host) = (&row.prefix, name(row));
        match (row.kind, row.via) {
            (RouteKind::Discard, _) => format!("  route {prefix} blackhole; # {host}\n"),
            (_, Some(via)) => format!("  route {prefix} via {via}; # {host}\n"),
            (_, None) => format!("  # missing: {prefix}: host {host} has no {of} address\n"),
        }
    };
    let lines: String = rows.iter().map(line).collect();
    let channel = if of == Family::V4 { "ipv4" } else { "ipv6" };
    format!("protocol static gipam_{channel} {{\n  {channel};\n{lines}}}\n")
}

/// The slices of each peer. WireGuard selects the peer by the address, so a next hop is not needed.
fn peers_for_wireguard(rows: &[RouteRow]) -> String {
    let mut peers: BTreeMap<&str, Vec<&RouteRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.kind != RouteKind::Discard) {
        peers.entry(&row.host).or_default().push(row);
    }
    let peer = |rows: Vec<&RouteRow>| {
        let host = rows.first().map(|row| name(row)).unwrap_or_default();
        format!("# {host}\nAllowedIPs = {}\n", merged(rows.into_iter()).join(", "))
    };
    peers.into_values().map(peer).collect()
}

/// The prefixes of these rows, with adjacent ones merged, IPv4 first.
fn merged<'a>(rows: impl Iterator<Item = &'a RouteRow>) -> Vec<String> {
    let prefixes: Vec<IpNet> = rows.filter_map(|row| row.prefix.parse().ok()).collect();
    let mut merged = IpNet::aggregate(&prefixes);
    merged.sort();
    merged.iter().map(ToString::to_string).collect()
}

fn family(row: &RouteRow) -> Family {
    if row.prefix.contains(':') { Family::V6 } else { Family::V4 }
}

/// The host's name, safe in a comment.
fn name(row: &RouteRow) -> String {
    crate::text::line(&row.host).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, via: &[&str], slices: &[&str]) -> RoutedHost {
        RoutedHost {
            name: name.to_owned(),
            via: via.iter().map(|via| via.parse().unwrap()).collect(),
            slices: slices.iter().map(|slice| Prefix::parse(slice).unwrap()).collect(),
        }
    }

    /// Three hosts, not in order; `c` has no IPv6 address.
    fn hosts() -> Vec<RoutedHost> {
        vec![
            host("c", &["192.0.2.13"], &["2001:db8:8:3000::/52", "10.8.48.0/20"]),
            host("a", &["192.0.2.11", "2001:db8::11"], &["10.8.16.0/20", "10.8.0.0/20", "2001:db8:8::/52"]),
            host(
                "b",
                &["2001:db8::12", "192.0.2.12"],
                &["2001:db8:8:2000::/52", "10.8.32.0/20", "10.8.64.0/20"],
            ),
        ]
    }

    fn text_of(format: &str) -> String {
        text(&rows(&hosts(), "a").unwrap(), RouteFormat::parse(format).unwrap())
    }

    #[test]
    fn ip_gets_one_route_for_each_slice() {
        assert_eq!(
            text_of("ip"),
            "route replace blackhole 10.8.0.0/20 proto 171 metric 65535 # a\n\
             route replace blackhole 10.8.16.0/20 proto 171 metric 65535 # a\n\
             route replace 10.8.32.0/20 via 192.0.2.12 proto 171 metric 65535 # b\n\
             route replace 10.8.48.0/20 via 192.0.2.13 proto 171 metric 65535 # c\n\
             route replace 10.8.64.0/20 via 192.0.2.12 proto 171 metric 65535 # b\n\
             route replace blackhole 2001:db8:8::/52 proto 171 metric 65535 # a\n\
             route replace 2001:db8:8:2000::/52 via 2001:db8::12 proto 171 metric 65535 # b\n\
             # missing: 2001:db8:8:3000::/52: host c has no IPv6 address\n"
        );
    }

    #[test]
    fn frr_gets_static_routes() {
        assert_eq!(
            text_of("frr"),
            "ip route 10.8.0.0/20 blackhole\n\
             ip route 10.8.16.0/20 blackhole\n\
             ip route 10.8.32.0/20 192.0.2.12\n\
             ip route 10.8.48.0/20 192.0.2.13\n\
             ip route 10.8.64.0/20 192.0.2.12\n\
             ipv6 route 2001:db8:8::/52 blackhole\n\
             ipv6 route 2001:db8:8:2000::/52 2001:db8::12\n\
             ! missing: 2001:db8:8:3000::/52: host c has no IPv6 address\n"
        );
    }

    #[test]
    fn bird_gets_one_static_protocol_for_each_family() {
        assert_eq!(
            text_of("bird"),
            "protocol static gipam_ipv4 {\n  ipv4;\n\
             \x20 route 10.8.0.0/20 blackhole; # a\n\
             \x20 route 10.8.16.0/20 blackhole; # a\n\
             \x20 route 10.8.32.0/20 via 192.0.2.12; # b\n\
             \x20 route 10.8.48.0/20 via 192.0.2.13; # c\n\
             \x20 route 10.8.64.0/20 via 192.0.2.12; # b\n}\n\
             protocol static gipam_ipv6 {\n  ipv6;\n\
             \x20 route 2001:db8:8::/52 blackhole; # a\n\
             \x20 route 2001:db8:8:2000::/52 via 2001:db8::12; # b\n\
             \x20 # missing: 2001:db8:8:3000::/52: host c has no IPv6 address\n}\n"
        );
    }

    #[test]
    fn wireguard_and_tailscale_get_merged_prefixes_and_need_no_next_hop() {
        assert_eq!(
            text_of("wireguard"),
            "# b\nAllowedIPs = 10.8.32.0/20, 10.8.64.0/20, 2001:db8:8:2000::/52\n\
             # c\nAllowedIPs = 10.8.48.0/20, 2001:db8:8:3000::/52\n"
        );
        assert_eq!(text_of("tailscale"), "--advertise-routes=10.8.0.0/19,2001:db8:8::/52\n");
        let none = rows(&[host("a", &[], &[])], "a").unwrap();
        assert_eq!(text(&none, RouteFormat::Tailscale), "--advertise-routes=\n", "which withdraws them all");
    }

    #[test]
    fn each_host_sees_its_own_slices_as_discard_routes_in_the_same_order() {
        let seen = |own: &str| {
            let rows = rows(&hosts(), own).unwrap();
            let discard = rows.iter().filter(|row| row.kind == RouteKind::Discard);
            (rows.len(), discard.map(|row| row.host.clone()).collect::<Vec<_>>())
        };
        assert_eq!(seen("c"), (8, vec!["c".to_owned(); 2]), "even on c, which has no IPv6 address");
        let mut reversed = hosts();
        reversed.reverse();
        assert_eq!(rows(&reversed, "b"), rows(&hosts(), "b"));
        let unknown = rows(&hosts(), "d").unwrap_err();
        assert_eq!(
            (unknown.kind, unknown.text.as_str()),
            (ErrorKind::Missing, "the plan has no host d; it has c, a, b")
        );
    }

    #[test]
    fn a_missing_next_hop_is_one_warning_for_a_host_and_a_family() {
        let lonely =
            [host("a", &[], &[]), host("b", &[], &["10.8.0.0/20", "10.8.16.0/20", "2001:db8:8::/52"])];
        assert_eq!(
            warnings(&rows(&lonely, "a").unwrap()),
            [
                "no route to 10.8.0.0/20: host b has no IPv4 address; add one to its via in the plan",
                "no route to 2001:db8:8::/52: host b has no IPv6 address; add one to its via in the plan"
            ]
        );
    }

    #[test]
    fn a_name_cannot_end_a_comment() {
        let hosts = [host("a", &[], &[]), host("b\nroute flush all", &["192.0.2.12"], &["10.8.0.0/20"])];
        for format in ["ip", "bird", "wireguard"] {
            let text = text(&rows(&hosts, "a").unwrap(), RouteFormat::parse(format).unwrap());
            assert!(!text.lines().any(|line| line.starts_with("route flush")), "{text}");
        }
    }
}
