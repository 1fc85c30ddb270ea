//! The page's state: hooks, what fills up, and what people reserved and pinned.
//!
//! Promises: bounded, however many there are, together with the number of all of them; what matters most comes first.
//! What a hook calls is not shown; the reason of its failure names its program or server, never what may be a password.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::hooks::Report;
use crate::plan::{Plan, ReservedBy};
use crate::view::rows::LeaseRow;

/// The most of a kind.
const SHOWN: usize = 20;

/// What people changed by hand and have not undone.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ByHand {
    /// Reservations.
    pub reserved: Vec<String>,
    /// How many there are.
    pub reserved_all: usize,
    /// Pins.
    pub pinned: Vec<PinnedRow>,
    /// How many there are.
    pub pinned_all: usize,
}

/// A pin.
#[derive(Clone, Debug, Serialize)]
pub struct PinnedRow {
    /// What is pinned.
    pub address: String,
    /// The prefix that it lies in.
    pub subnet: String,
    /// The name or the MAC of whom it is pinned to.
    pub to: String,
}

impl ByHand {
    /// What the books have; `leases` are all rows of the view.
    pub fn of(plan: &Plan, leases: &[LeaseRow]) -> Self {
        let ranges = || plan.reserved_by().filter(|(_, by)| *by == ReservedBy::Hand).map(|(range, _)| range);
        let pins = || leases.iter().filter_map(|row| Some((row, row.pinned_to.clone()?)));
        let row = |(row, to): (&LeaseRow, String)| PinnedRow {
            address: row.address.clone(),
            subnet: row.subnet.clone(),
            to,
        };
        Self {
            reserved: ranges().take(SHOWN).map(|range| range.to_string()).collect(),
            reserved_all: ranges().count(),
            pinned: pins().take(SHOWN).map(row).collect(),
            pinned_all: pins().count(),
        }
    }
}

/// Puts the hooks into a status, and keeps only the fullest of what fills up.
pub fn bound(status: &mut Map<String, Value>, hooks: &[Report]) {
    // Those that fail first, otherwise in the order of the configuration.
    let mut sorted: Vec<&Report> = hooks.iter().collect();
    sorted.sort_by_key(|hook| hook.failing_since.is_none());
    let row = |hook: &Report| {
        json!({"hook": hook.name, "upto": hook.upto, "behind": hook.behind, "failing_since": hook.failing_since,
            "last_error": hook.last_error, "passed_over": hook.passed_over})
    };
    status.insert("hooks".to_owned(), sorted.into_iter().take(SHOWN).map(row).collect());
    status.insert("hooks_all".to_owned(), hooks.len().into());
    if let Some(Value::Array(filling)) = status.get_mut("filling") {
        let all = filling.len();
        let rank = |row: &Value| (row["subnet"].is_null(), row["percent"].as_u64());
        // Pools before subnets, the fullest first.
        filling.sort_by_key(|row| std::cmp::Reverse(rank(row)));
        filling.truncate(SHOWN);
        status.insert("filling_all".to_owned(), all.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(name: &str, failing: bool) -> Report {
        Report {
            name: name.to_owned(),
            target: "notify ...".to_owned(),
            upto: 7,
            behind: Some(2),
            delivered: 5,
            failures: u64::from(failing),
            passed_over: 0,
            failing_since: failing.then(|| "2026-01-02T03:04:05Z".to_owned()),
            last_error: failing.then(|| "refused".to_owned()),
        }
    }

    #[test]
    fn the_worst_come_first_and_are_bounded_and_no_command_is_shown() {
        let mut hooks: Vec<Report> = (0..30).map(|n| hook(&format!("h{n}"), false)).collect();
        hooks.push(hook("sick", true));
        let url = "http://192.0.2.1/...".to_owned();
        let refused = Some(format!("{url} answered 500: no"));
        hooks.push(Report { target: url, last_error: refused, ..hook("web", true) });
        let subnet = |percent| json!({"subnet": "192.0.2.0/24", "percent": percent});
        let mut filling: Vec<Value> = (0..100).map(subnet).collect();
        filling.push(json!({"subnet": null, "pool": "lan", "percent": 81}));
        let mut status = Map::new();
        status.insert("filling".to_owned(), filling.into());
        bound(&mut status, &hooks);
        let value = Value::from(status);
        assert_eq!((value["hooks"].as_array().unwrap().len(), &value["hooks_all"]), (SHOWN, &json!(32)));
        let names: Vec<&Value> = (0..3).map(|at| &value["hooks"][at]["hook"]).collect();
        assert_eq!(names, ["sick", "web", "h0"]);
        assert_eq!(value["hooks"][1]["last_error"], "http://192.0.2.1/... answered 500: no");
        let shown = value["filling"].as_array().unwrap();
        assert_eq!((shown.len(), &value["filling_all"]), (SHOWN, &json!(101)));
        assert_eq!((&shown[0]["pool"], &shown[1]["percent"]), (&json!("lan"), &json!(99)));
        assert!(!value.to_string().contains("notify"), "no command is shown");
    }
}
