//! WHAT THE KERNEL OF A HOST IS TO HAVE: derived by the test itself from the books, as the admin socket shows them, and from the
//! configuration, which is written from the same lines.
//!
//! Promises: uses nothing of gipam's own code that decides about the kernel. The text of the nftables table is that of an undisturbed run
//! (its content is tested in `tests/edge/translate.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::Value;

use super::ground::TAKEN;
use crate::daemon::{Daemon, House};
use crate::http::Wire;

/// Which configuration is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The kernel has nothing of gipam's.
    Nothing,
    /// Every kind of object.
    All,
    /// Pools lack what they had, and one pool is gone.
    Less,
}

/// The pools, with their bases.
const POOLS: [(&str, &str); 6] = [
    (
        "link",
        "v4 = { base = \"198.51.100.128/25\", size = 28 }\nv6 = { base = \"2001:db8:1:0:8000::/65\", size = 80 }",
    ),
    ("routed", "v4 = { base = \"10.8.0.0/16\", size = 24 }\nv6 = { base = \"2001:db8:8::/56\", size = 64 }"),
    ("moving", "v6 = \"file:BASE\""),
    ("home", "v6 = { base = \"fd00:8::/56\", size = 64 }"),
    ("sliced", "v4 = { base = \"10.9.0.0/16\", size = 24, slice = 20 }"),
    ("gone", "v4 = { base = \"10.6.0.0/16\", size = 24 }"),
];

impl Stage {
    /// Whether an uplink answers for the addresses of this pool and family.
    fn proxies(self, pool: &str, family: &str) -> bool {
        let all = [("link", "v4"), ("link", "v6"), ("moving", "v6")];
        match self {
            Stage::Nothing => false,
            Stage::All => all.contains(&(pool, family)),
            Stage::Less => (pool, family) == ("link", "v4"),
        }
    }

    fn discards(self, pool: &str) -> bool {
        match self {
            Stage::Nothing => false,
            Stage::All => ["routed", "moving", "gone"].contains(&pool),
            Stage::Less => pool == "moving",
        }
    }

    /// Whether prefixes are translated, and the kernel has the routes of the plan.
    fn is_all(self) -> bool {
        self == Stage::All
    }

    /// Writes the configuration.
    pub fn configure(self, house: &House) {
        let path = |name: &str| house.path(name).display().to_string();
        let routes = if self.is_all() { "kernel" } else { "none" };
        let mut toml = format!(
            "cooling = \"0\"\nsubnet_cooling = \"0\"\n[gc]\nengine = \"\"\n[plan]\nfile = {:?}\nhost = \"a\"\nroutes = {routes:?}\n",
            path("plan.toml")
        );
        for (pool, bases) in POOLS.iter().filter(|(pool, _)| self != Stage::Less || *pool != "gone") {
            toml += &format!("[[pool]]\nname = {pool:?}\n{}\n", bases.replace("BASE", &path("base")));
            for (family, key) in [("v4", "arp_proxy"), ("v6", "ndp_proxy")] {
                toml += if self.proxies(pool, family) { key } else { continue };
                toml += " = \"eth0\"\n";
            }
            if self.discards(pool) {
                toml += "discard = true\n";
            }
            if *pool == "home" && self.is_all() {
                toml += &format!("translate = \"nptv6\"\nouter = \"file:{}\"\n", path("outer"));
            }
        }
        house.configure(&toml);
    }
}

/// The answer of the admin socket; `None` if the daemon has ended.
pub fn look(daemon: &Daemon, path: &str) -> Option<Vec<Value>> {
    let mut wire = Wire::try_unix(&daemon.admin)?;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: gipam\r\n\r\n").as_bytes()).ok()?;
    let answer = wire.answer().ok()?;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    match serde_json::from_slice(&answer.body).unwrap() {
        Value::Array(rows) => Some(rows),
        one => Some(vec![one]),
    }
}

/// The base of the pool that follows a file.
pub fn moving(daemon: &Daemon) -> Option<Option<String>> {
    let pools = look(daemon, "/v1/pools")?;
    let row = pools.iter().find(|row| row["pool"] == "moving");
    Some(row.and_then(|row| row["base"].as_str()).map(str::to_owned))
}

/// The objects of gipam that the kernel is to have, without the table; `None` if the daemon has ended.
pub fn wanted(daemon: &Daemon, stage: Stage) -> Option<BTreeSet<String>> {
    let mut wanted = BTreeSet::new();
    let (pools, subnets) = (look(daemon, "/v1/pools")?, look(daemon, "/v1/subnets")?);
    let (leases, routes) = (look(daemon, "/v1/leases")?, look(daemon, "/v1/routes")?);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    for row in pools.iter().filter(|row| stage.discards(&text(row, "pool"))) {
        wanted.insert(format!("discard {}", text(row, "base")));
    }
    let pool_of: BTreeMap<String, String> =
        subnets.iter().map(|row| (text(row, "id"), text(row, "pool"))).collect();
    for row in leases.iter().filter(|row| row["kind"] == "endpoint" && row["state"] == "leased") {
        let (pool, address) = (&pool_of[&text(row, "id")], text(row, "address"));
        let family = if address.contains(':') { "v6" } else { "v4" };
        if stage.proxies(pool, family) {
            wanted.insert(format!("proxy {address} on eth0"));
        }
    }
    if POOLS.iter().any(|(pool, _)| stage.proxies(pool, "v6")) {
        wanted.insert("proxy_ndp on eth0".to_owned());
    }
    for row in routes.iter().filter(|_| stage.is_all()) {
        match (row["kind"].as_str(), row["via"].as_str()) {
            (Some("discard"), _) => wanted.insert(format!("route {} discard", text(row, "prefix"))),
            (_, Some(via)) => wanted.insert(format!("route {} via {via}", text(row, "prefix"))),
            _ => false,
        };
    }
    wanted.retain(|object| !TAKEN.iter().any(|taken| object.starts_with(taken)));
    Some(wanted)
}

/// The text of the table for each pair of prefixes: the outer one, and that of the pool that follows a file.
#[derive(Debug, Default)]
pub struct Tables(Mutex<BTreeMap<(String, String), String>>);

impl Tables {
    /// Whether the kernel's table is right; the first one for a pair of prefixes is kept as the right one.
    pub fn is_right(&self, stage: Stage, outer: &str, base: &str, table: &str) -> bool {
        if !stage.is_all() {
            return table.is_empty();
        }
        let begin = format!("ip6 daddr {outer}");
        let mut known = self.0.lock().unwrap();
        let right = known.entry((outer.to_owned(), base.to_owned()));
        table.contains(&begin) && *right.or_insert_with(|| table.to_owned()) == table
    }
}
