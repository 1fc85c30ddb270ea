//! The metrics of what is kept in the kernel, of probes and of prefixes that changed: each has a value that is not 0.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::daemon::{Daemon, House, PATIENCE, until};
use super::http::Wire;
use super::support::{A, B, POOLS, host, inside, ip};

/// Some objects of each kind can be made, and others cannot. `{}` stands for the directory of the daemon's files.
const TOML: &str = r#"
http = "0"
[gc]
engine = ""
[plan]
file = "{}/plan.toml"
host = "a"
routes = "kernel"
[[pool]]
name = "routed"
v4 = { base = "10.8.0.0/16", size = 24, slice = 20 }
v6 = { base = "2001:db8:8::/48", size = 64, slice = 52 }
[[pool]]
name = "on-link"
v6 = { base = "2001:db8:b:0:8000::/65", size = 80 }
ndp_proxy = "eth7"
discard = true
[[pool]]
name = "waiting"
v6 = { base = "2001:db8:e::/56", size = 64 }
ndp_proxy = "eth9"
[[pool]]
name = "home"
v6 = { base = "fd00:8::/56", size = 64 }
translate = "nptv6"
outer = "2001:db8:c1::/56"
[[pool]]
name = "cabin"
v6 = { base = "fd00:9::/56", size = 64 }
translate = "nptv6"
outer = "pd:lo/56"
[[pool]]
name = "line"
v6 = "file:{}/prefix"
[[pool]]
name = "lan"
probe = true
v4 = { base = "192.0.2.0/24", gateway = "192.0.2.1" }
[[pool]]
name = "blind"
probe = "eth9"
v4 = { base = "203.0.113.0/24", size = 28 }
"#;

/// A network in this pool, or of this subnet, and a container in it.
fn container(daemon: &Daemon, pool: &str, subnet: &str) {
    let mut wire = daemon.wire();
    let options = if subnet.is_empty() { json!({"pool": pool}) } else { json!({}) };
    let v6 = subnet.is_empty();
    let body = json!({"AddressSpace": "local", "Pool": subnet, "SubPool": "", "Options": options, "V6": v6});
    let (id, _) = wire.pool(&body);
    if pool == "lan" {
        // A request waits for a probe for a short time only, so on a busy machine the container might get the stranger's address.
        until("the stranger and this host are known", || {
            let rows = daemon.view("/v1/leases?state=quarantined");
            (rows.as_array().unwrap().len() == 2).then_some(())
        });
    }
    wire.address(&id, "", json!({}));
}

/// All samples of `/metrics`.
fn samples(house: &House) -> BTreeMap<String, f64> {
    let log = house.log();
    let place =
        log.split("are at http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
    let mut wire = Wire::over(TcpStream::connect(place).unwrap());
    wire.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let text = wire.answer().unwrap().text();
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

#[test]
fn each_metric_of_the_edge_has_the_value_of_what_happened() {
    inside(|| {
        ip("netns add beyond");
        ip("link set peer7 netns beyond");
        ip("-n beyond link set peer7 up");
        ip("-n beyond addr add 192.0.2.2/24 dev peer7");
        let house = House::with_toml("");
        let plan = POOLS.to_owned()
            + &host("a", &A, &["10.8.0.0/20", "2001:db8:8::/52"])
            + &host("b", &B, &["10.8.16.0/20", "2001:db8:8:1000::/52"]);
        std::fs::write(house.path("plan.toml"), plan).unwrap();
        std::fs::write(house.path("prefix"), "2001:db8:a::/56\n").unwrap();
        house.configure(&TOML.replace("{}", &house.directory.path().display().to_string()));
        let daemon = house.start();
        for (pool, subnet) in [
            ("on-link", ""),
            ("on-link", ""),
            ("waiting", ""),
            ("line", ""),
            ("lan", "192.0.2.0/24"),
            ("blind", "203.0.113.0/28"),
        ] {
            container(&daemon, pool, subnet);
        }
        std::fs::write(house.path("prefix"), "2001:db8:b9::/56\n").unwrap();
        let objects =
            |kind: &str, state: &str| format!("gipam_kernel_objects{{kind=\"{kind}\",state=\"{state}\"}}");
        let wanted: BTreeMap<String, f64> = [
            (objects("proxies", "kept"), 2.0),
            (objects("proxies", "missing"), 1.0),
            (objects("discards", "kept"), 1.0),
            (objects("discards", "missing"), 0.0),
            (objects("translations", "kept"), 1.0),
            (objects("translations", "missing"), 1.0),
            (objects("routes", "kept"), 4.0),
            (objects("routes", "missing"), 0.0),
            ("gipam_plan_routes{state=\"kept\"}".to_owned(), 4.0),
            ("gipam_stale_subnets{pool=\"line\",family=\"v6\"}".to_owned(), 1.0),
            ("gipam_stale_subnets{pool=\"home\",family=\"v6\"}".to_owned(), 0.0),
            // The stranger's, and this host's own.
            ("gipam_quarantined_addresses".to_owned(), 2.0),
            ("gipam_probe_strangers_total".to_owned(), 2.0),
            ("gipam_probe_missed_total".to_owned(), 1.0),
        ]
        .into();
        let (end, mut seen) = (Instant::now() + PATIENCE, BTreeMap::new());
        while seen != wanted && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20)); // how often this test looks
            seen = samples(&house);
            seen.retain(|name, _| wanted.contains_key(name));
        }
        assert_eq!(seen, wanted, "{}", house.log());
        assert!(samples(&house)["gipam_probe_packets_total"] >= 3.0);
        drop(daemon);
    });
}
