//! Compares gipam's books with what the Engine itself reports: the end of every scenario.
//!
//! Both sides are turned into the same plain sentences ("10.77.0.0/24 holds 10.77.0.2 as endpoint
//! 02:42:..."), so that a difference reads as a sentence. If an Engine hides a gateway (P26), the test trusts
//! the books for that lease.

use crate::engine::Engine;
use crate::gipam::{self, Lease, Subnet};
use serde_json::Value;
use std::net::IpAddr;

/// A lease or subnet that Docker is known to leave behind (P20). The test must find exactly these, and frees
/// them by hand.
#[derive(Debug, Clone)]
pub enum Leak {
    Subnet(String),
    Address(String, String),
}

/// A held subnet, or a leased address in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub subnet: String,
    pub address: Option<IpAddr>,
    pub kind: String,
    pub mac: String,
}

impl Held {
    fn subnet(prefix: &str) -> Self {
        Self { subnet: prefix.into(), address: None, kind: "subnet".into(), mac: String::new() }
    }
}

/// What the Engine reports about every network of these IPAM drivers.
pub fn by_engine(engine: &Engine, drivers: &[&str]) -> Vec<Held> {
    let mut all = Vec::new();
    for network in networks(engine) {
        if !drivers.contains(&network["IPAM"]["Driver"].as_str().unwrap_or_default()) {
            continue;
        }
        let configs = network["IPAM"]["Config"].as_array().cloned().unwrap_or_default();
        for config in &configs {
            let prefix = text(&config["Subnet"]);
            all.push(Held::subnet(&prefix));
            // Engines up to 26 show "fd00::1/64" until dockerd is started again
            if let Some(gateway) = address(&config["Gateway"]) {
                all.push(Held { address: Some(gateway), kind: "gateway".into(), ..Held::subnet(&prefix) });
            }
            for other in config["AuxiliaryAddresses"].as_object().into_iter().flat_map(|map| map.values()) {
                all.push(Held { address: address(other), kind: "auxiliary".into(), ..Held::subnet(&prefix) });
            }
        }
        for endpoint in network["Containers"].as_object().into_iter().flat_map(|map| map.values()) {
            for family in ["IPv4Address", "IPv6Address"] {
                let Some(found) = address(&endpoint[family]) else { continue };
                let home = configs
                    .iter()
                    .map(|config| text(&config["Subnet"]))
                    .find(|prefix| contains(prefix, found));
                let home = home.unwrap_or_else(|| panic!("{found} is not in any subnet of {configs:?}"));
                let mac = text(&endpoint["MacAddress"]).to_lowercase();
                all.push(Held { address: Some(found), kind: "endpoint".into(), mac, ..Held::subnet(&home) });
            }
        }
    }
    all.sort();
    all
}

/// What the books say.
pub fn by_books(engine: &Engine) -> Vec<Held> {
    let subnets: Vec<Subnet> = gipam::view(engine, &["subnets"]);
    let leases: Vec<Lease> = gipam::view(engine, &["leases"]);
    let mut all: Vec<Held> = subnets.iter().map(|subnet| Held::subnet(&subnet.prefix)).collect();
    for lease in leases {
        let home = subnets.iter().find(|s| s.id == lease.subnet || s.prefix == lease.subnet);
        let home = home.unwrap_or_else(|| {
            panic!("{} is leased, but is not in any known subnet: {lease:?}", lease.address)
        });
        assert_eq!(lease.state, "leased", "`gipam leases` without --all shows {lease:?}");
        all.push(Held {
            subnet: home.prefix.clone(),
            address: Some(lease.address),
            kind: lease.kind.unwrap_or_else(|| "unknown".into()),
            mac: lease.mac.unwrap_or_default().to_lowercase(),
        });
    }
    all.sort();
    all
}

/// The differences: (only in the books, only at the Engine).
pub fn compare(engine: &Engine, drivers: &[&str]) -> (Vec<Held>, Vec<Held>) {
    let mut books = by_books(engine);
    let shown = by_engine(engine, drivers);
    let shows =
        |subnet: &str, kind: &str| shown.iter().find(|held| held.subnet == subnet && held.kind == kind);
    let mut there = Vec::new();
    for wanted in &shown {
        match books.iter().position(|held| same(held, wanted)) {
            Some(at) => drop(books.remove(at)),
            // a gateway that is also named as an auxiliary address is one lease
            None if wanted.kind == "auxiliary"
                && shows(&wanted.subnet, "gateway").is_some_and(|held| held.address == wanted.address) => {}
            None => there.push(wanted.clone()),
        }
    }
    // P26: a gateway that the Engine does not show is accepted if it is the only one of its subnet
    let gateway = |held: &Held| held.kind == "gateway" || held.kind == "unknown";
    let mut hidden: Vec<String> = Vec::new();
    books.retain(|held| {
        let fits = gateway(held)
            && shows(&held.subnet, "subnet").is_some()
            && shows(&held.subnet, "gateway").is_none()
            && !hidden.contains(&held.subnet);
        if fits {
            hidden.push(held.subnet.clone());
        }
        !fits
    });
    (books, there)
}

/// Whether the two are equal. A lease from an old lease file may have no kind yet, and a MAC may be unknown.
fn same(books: &Held, wanted: &Held) -> bool {
    books.subnet == wanted.subnet
        && books.address == wanted.address
        && (books.kind == wanted.kind || books.kind == "unknown")
        && (books.mac.is_empty() || wanted.mac.is_empty() || books.mac == wanted.mac)
}

/// The output of `docker network inspect` for every network that a user created.
pub fn networks(engine: &Engine) -> Vec<Value> {
    let names = engine.docker(&["network", "ls", "-q", "--filter", "type=custom"]).out;
    if names.is_empty() {
        return Vec::new();
    }
    let mut words = vec!["network", "inspect"];
    words.extend(names.lines());
    let said = engine.docker(&words);
    serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("docker network inspect: {e}: {}", said.err))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.split('/').next()?.parse().ok()
}

fn contains(prefix: &str, address: IpAddr) -> bool {
    prefix.parse::<ipnet::IpNet>().is_ok_and(|net| net.contains(&address))
}
