//! `/metrics` compared with the table of metrics, and with what happened.

use std::collections::BTreeMap;

use serde_json::json;

use super::support::{Site, TOML};
use gipam::web::table::{Kind, TABLE};

/// A bit of everything: a network with a gateway and two endpoints, refusals, an empty body.
fn traffic(site: &Site) -> String {
    let mut wire = site.daemon.wire();
    let (id, _) = wire.subnet(false);
    wire.address(&id, "", json!({"RequestAddressType": "com.docker.network.gateway"}));
    wire.address(&id, "", json!({}));
    let last = wire.address(&id, "", json!({}));
    wire.release(&id, &last);
    wire.call("IpamDriver.RequestAddress", "");
    wire.call("IpamDriver.Nonsense", "{}");
    id
}

#[test]
fn a_scrape_has_every_metric_of_the_table_and_no_other() {
    let site = Site::new(&(TOML.to_owned() + "[[hook]]\nname = \"test\"\ncommand = [\"true\"]\n"));
    traffic(&site);
    let answer = site.get("/metrics");
    assert!(answer.head.contains("content-type: application/openmetrics-text"), "{}", answer.head);
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"));
    let mut kinds = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "duplicate {name}");
    }
    // Without an Engine, a plan of several hosts or a pool that is probed, their metrics are absent.
    let absent = [
        "gipam_engine_up",
        "gipam_repair_last_look_timestamp_seconds",
        "gipam_slice_room",
        "gipam_plan_hosts",
        "gipam_plan_store_up",
        "gipam_plan_store_stale_seconds",
        "gipam_plan_routes",
        "gipam_kernel_objects",
        "gipam_quarantined_addresses",
    ];
    for metric in TABLE.iter().flat_map(|(_, metrics)| *metrics) {
        let family = metric.family();
        let kind = kinds.remove(&family);
        if absent.contains(&family.as_str()) {
            assert_eq!(kind, None, "{family}");
            continue;
        }
        assert_eq!(kind.as_deref(), Some(metric.kind().as_str()), "{family}");
        assert!(text.contains(&format!("# HELP {family} {}", metric.help)), "{family}");
        if !metric.unit.is_empty() {
            assert!(text.contains(&format!("# UNIT {family} {}", metric.unit)), "{family}");
        }
        let sample = if matches!(metric.kind(), Kind::Histogram) { family + "_count" } else { metric.name() };
        for label in metric.labels {
            let found =
                text.lines().any(|line| line.starts_with(&sample) && line.contains(&format!("{label}=\"")));
            assert!(found, "{sample} has no {label}");
        }
    }
    assert!(kinds.is_empty(), "not in the table: {kinds:?}");
}

#[test]
fn gauges_show_what_the_books_hold() {
    let site = Site::new(TOML);
    traffic(&site);
    let pool = |family: &str, state: &str| {
        site.sample(&format!("gipam_pool_subnets{{pool=\"lan\",family=\"{family}\",state=\"{state}\"}}"))
    };
    assert_eq!(
        (pool("v4", "used"), pool("v4", "reserved"), pool("v4", "free")),
        (Some(1.0), Some(1.0), Some(14.0))
    );
    assert_eq!((pool("v6", "used"), pool("v6", "free")), (Some(0.0), Some(65_536.0)));
    let subnet = |state: &str| {
        site.sample(&format!(
            "gipam_subnet_addresses{{subnet=\"198.51.100.16/28\",pool=\"lan\",space=\"local\",state=\"{state}\"}}"
        ))
    };
    let counts = ["used", "cooling", "reserved", "free"].map(|state| subnet(state).unwrap());
    assert_eq!(counts, [2.0, 1.0, 2.0, 11.0], "the counts add up to a /28");
    assert_eq!(site.sample("gipam_addresses{family=\"v4\",state=\"used\"}"), Some(2.0));
    assert_eq!(site.sample("gipam_books_counted"), Some(1.0));
}

#[test]
fn calls_are_counted_by_method_and_outcome() {
    let site = Site::new(TOML);
    traffic(&site);
    let calls = |method: &str, outcome: &str| {
        site.sample(&format!("gipam_requests_total{{method=\"{method}\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!(calls("RequestAddress", "ok"), Some(3.0));
    assert_eq!(calls("RequestAddress", "invalid"), Some(1.0));
    assert_eq!(calls("unknown", "invalid"), Some(1.0));
    assert_eq!(site.sample("gipam_empty_bodies_total"), Some(1.0));
    assert_eq!(site.sample("gipam_request_duration_seconds_count{method=\"RequestPool\"}"), Some(1.0));
    assert!(site.sample("gipam_commit_duration_seconds_count").unwrap() >= 5.0, "each change was a commit");
    assert!(site.sample("gipam_books_last_sync_timestamp_seconds").unwrap() > 1e9);
    assert!(site.sample("gipam_books_wal_size_bytes").unwrap() > 0.0);
}

#[test]
fn only_the_fullest_subnets_are_counted_one_by_one() {
    let site = Site::new(&format!("metrics_subnets = 2\n{TOML}"));
    let mut wire = site.daemon.wire();
    for fill in [1, 3, 0, 2] {
        let (id, _) = wire.subnet(false);
        for _ in 0..fill {
            wire.address(&id, "", json!({}));
        }
    }
    let text = site.get("/metrics").text();
    let shown: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("gipam_subnet_addresses{") && line.contains("state=\"used\""))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert_eq!(shown, ["198.51.100.32/28", "198.51.100.64/28"]);
    assert_eq!(site.sample("gipam_subnets_omitted"), Some(2.0));
    assert_eq!(
        site.sample("gipam_addresses{family=\"v4\",state=\"used\"}"),
        Some(6.0),
        "all are counted together"
    );
}

#[test]
fn a_storm_is_counted() {
    let site = Site::new(&format!("storm_limit = 2\n{TOML}"));
    let mut wire = site.daemon.wire();
    for _ in 0..2 {
        wire.subnet(false);
    }
    let body = json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": {}, "V6": false});
    wire.refused("RequestPool", &body);
    assert_eq!(site.sample("gipam_storms_total"), Some(1.0));
}
