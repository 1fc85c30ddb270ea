//! The alert rules and the dashboard: every metric and label in them exists, and every alert says what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gipam::web::table::{Kind, Metric, TABLE};
use serde_json::Value;

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path)).unwrap()
}

/// The names that a query may use for this metric.
fn names(metric: &Metric) -> Vec<String> {
    match metric.kind() {
        Kind::Histogram => {
            ["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.family())).to_vec()
        }
        Kind::Info => vec![format!("{}_info", metric.base)],
        _ => vec![metric.name()],
    }
}

/// All our metric names in a query, with the labels in the braces after them.
fn used(query: &str) -> Vec<(String, Vec<String>)> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = query.match_indices("gipam_").map(|(at, _)| at);
    let starts = starts.filter(|at| !query[..*at].ends_with(word));
    let read = |at: usize| {
        let rest = &query[at..];
        let name: String = rest.chars().take_while(|c| word(*c)).collect();
        let braces =
            rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        let label = |pair: &str| pair.split(['=', '!']).next().unwrap_or_default().trim().to_owned();
        let labels = braces.split(',').filter(|pair| !pair.is_empty()).map(label).collect();
        (name, labels)
    };
    starts.map(read).collect()
}

/// Fails unless the query uses only existing metrics and labels; returns the metrics.
fn check(query: &str) -> BTreeSet<String> {
    let all: Vec<&Metric> = TABLE.iter().flat_map(|(_, metrics)| *metrics).collect();
    let mut found = BTreeSet::new();
    for (name, labels) in used(query) {
        let metric = all.iter().find(|metric| names(metric).contains(&name));
        let metric = metric.unwrap_or_else(|| panic!("metric {name} does not exist: {query}"));
        for label in labels {
            let known = metric.labels.contains(&label.as_str()) || label == "instance" || label == "job";
            assert!(known, "metric {name} does not have a label {label}: {query}");
        }
        found.insert(metric.family());
    }
    let count = |c| query.matches(c).count();
    assert!(count('(') == count(')') && count('{') == count('}') && count('[') == count(']'), "{query}");
    found
}

#[test]
fn every_metric_and_label_of_the_alerts_exists() {
    let rules = file("prometheus/gipam.rules.yml");
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        let expression = alert.split("expr: ").nth(1).unwrap().split("\n        for:").next().unwrap();
        let expression = expression.split("\n        labels:").next().unwrap();
        let metrics = check(expression);
        assert!(!metrics.is_empty() || expression.starts_with("up{"), "{name}: {expression}");
        for part in ["severity: ", "summary: ", "description: "] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
        // Labels that a description uses must still exist after the expression.
        for label in alert.split("$labels.").skip(1).map(|rest| rest.split(' ').next().unwrap()) {
            let summed = expression.contains("sum by") && !expression.contains("sum by (instance, what)");
            assert!(label == "instance" || !summed, "{name}: {label}");
        }
    }
}

#[test]
fn every_metric_and_label_of_the_dashboard_exists() {
    let dashboard: Value = serde_json::from_str(&file("grafana/gipam.json")).unwrap();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let metrics = check(&query.replace("$__rate_interval", "5m"));
            assert!(!metrics.is_empty(), "{query}");
            shown.extend(metrics);
        }
    }
    assert!(shown.len() > 15, "{shown:?}");
    let ids: BTreeSet<u64> =
        dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len());
}
