//! Checks of the machine: routes that contain pools or are inside pools, forwarding, IPv6, the clock.
//!
//! Promises: reads routes from the kernel, as the daemon does, and settings from `/proc`. Whether a pool is routed
//! to this machine cannot be determined here, and is reported as unknown.

use std::path::Path;

use ipnet::IpNet;

use super::{BooksPlace, DoctorReport, bases};
use crate::clock;
use crate::host::{self, InUseKind};
use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::{PoolSettings, rfc3339};

/// The clock is wrong if it shows a time before 2025.
const EARLIEST: u64 = 1_735_689_600_000;
/// A default route learned from a router advertisement (`RTF_ADDRCONF`, linux/ipv6_route.h).
const FROM_ADVERTISEMENT: u32 = 0x0004_0000;

/// Reports the parts of the pools that this machine itself uses.
pub(super) fn routes(report: &mut DoctorReport, pools: &[PoolSettings]) {
    let survey = host::survey();
    for error in &survey.errors {
        report.unknown("routes", error.to_string());
    }
    for (pool, base) in bases(pools) {
        let check = format!("pool {} ({base})", pool.name);
        let mut inside = Vec::new();
        for used in &survey.in_use {
            let prefix = used.prefix;
            let swallowed = prefix.contains(base) && used.kind == InUseKind::OnLinkV4Route;
            if swallowed {
                let advice = "Docker refuses every subnet that overlaps this route; make the route narrower, or use another pool";
                report.wrong(&check, format!("lies in the on-link route {}", used.text), advice);
            } else if base.contains(prefix) && !is_bridge(&used.text) {
                inside.push(used.text.clone());
            }
        }
        if inside.is_empty() {
            report.well(&check, "no other route or address of this machine overlaps the pool");
        } else {
            report.well(
                &check,
                format!(
                    "gipam does not give these parts of the pool, because this machine uses them: {}",
                    inside.join(", ")
                ),
            );
        }
        if is_public(base) {
            report.unknown(
                &check,
                "gipam cannot determine whether the pool is routed to this machine; ping a container from another host",
            );
        }
    }
}

/// Whether a route or address is on a Docker bridge, and so belongs to a Docker network.
fn is_bridge(text: &str) -> bool {
    text.split_ascii_whitespace()
        .any(|word| word.starts_with("br-") || word == "docker0" || word.starts_with("docker_"))
}

/// Whether the prefix is not private (RFC 1918), unique local (RFC 4193) or link-local.
fn is_public(base: Prefix) -> bool {
    let own = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"];
    !own.iter().filter_map(|text| text.parse::<IpNet>().ok()).any(|net| Prefix::from_net(net).contains(base))
}

/// Checks whether packets are forwarded to containers.
pub(super) fn forwarding(report: &mut DoctorReport, place: &BooksPlace, pools: &[PoolSettings]) {
    let has = |family: Family| pools.iter().any(|pool| pool.base(family).is_some());
    if has(Family::V4) {
        setting(
            report,
            place,
            "net.ipv4.ip_forward",
            "IPv4 to and from containers is not forwarded (dockerd enables it by default)",
        );
    }
    if !has(Family::V6) {
        return;
    }
    if place.text("/proc/sys/net/ipv6/conf/all/disable_ipv6").as_deref().unwrap_or("1") == "1" {
        let advice = "sysctl -w net.ipv6.conf.all.disable_ipv6=0, or boot without ipv6.disable=1";
        return report.wrong("IPv6", "a pool has IPv6, but IPv6 is disabled on this machine", advice);
    }
    setting(report, place, "net.ipv6.conf.all.forwarding", "IPv6 to and from containers is not forwarded");
    advertised_route(report, place);
}

fn setting(report: &mut DoctorReport, place: &BooksPlace, name: &str, consequence: &str) {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    match place.text(&path).as_deref() {
        Some("0") => {
            report.warning("forwarding", format!("{name} is 0: {consequence}"), format!("sysctl -w {name}=1"))
        }
        Some(_) => report.well("forwarding", format!("{name} is on")),
        None => report.unknown("forwarding", format!("{name} cannot be read")),
    }
}

/// A forwarding machine ignores router advertisements unless `accept_ra` is 2, and so loses its default route.
fn advertised_route(report: &mut DoctorReport, place: &BooksPlace) {
    if place.text("/proc/sys/net/ipv6/conf/all/forwarding").as_deref() != Some("1") {
        return;
    }
    let table = place.text("/proc/net/ipv6_route").unwrap_or_default();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [destination, length, .., flags, interface] = fields.as_slice() else { continue };
        let is_default = *length == "00" && destination.bytes().all(|byte| byte == b'0');
        let flags = u32::from_str_radix(flags, 16).unwrap_or(0);
        if !is_default || flags & FROM_ADVERTISEMENT == 0 {
            continue;
        }
        let name = format!("/proc/sys/net/ipv6/conf/{interface}/accept_ra");
        if place.text(&name).as_deref() == Some("1") {
            let found = format!(
                "the IPv6 default route comes from router advertisements on {interface}, which the kernel ignores while it forwards"
            );
            report.warning("IPv6", found, format!("sysctl -w net.ipv6.conf.{interface}.accept_ra=2"));
        }
    }
}

/// Checks whether the clock is plausible.
pub(super) fn clock(report: &mut DoctorReport) {
    let now = clock::now();
    let synchronized = Path::new("/run/systemd/timesync/synchronized").exists();
    let found = rfc3339(now);
    if now < EARLIEST {
        let advice = "set the clock: gipam records its time in the books";
        report.wrong("clock", format!("implausible: {found}"), advice);
    } else {
        report.well("clock", format!("{found}{}", if synchronized { ", synchronized" } else { "" }));
    }
}
