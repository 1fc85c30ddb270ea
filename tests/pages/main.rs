//! The pages of docs/ as a reader uses them: links have a target, and the commands in docs/guide.md and
//! docs/operations.md do what the pages say.
//!
//! The commands run against a real daemon with the page's own configuration, from top to bottom; Docker is
//! simulated by [`standin`], and `make engines` runs docs/guide.md on real Engines.
//! `tests/support/console.rs` compares the outputs. Blocks fenced with `sh` are not run here, because they
//! change a host.

#![cfg(test)]
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod books;
mod cited;
#[path = "../support/console.rs"]
mod console;
#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../page/engine.rs"]
#[allow(dead_code, reason = "shared with the tests of the page")]
mod engine;
#[path = "../support/http.rs"]
mod http;
mod links;
mod standin;

use standin::Stand;
use std::time::{Duration, Instant};

/// How long gipam may take, over all steps of a page, to learn names from a fake Engine. Only a wrong page
/// reaches this limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the commands of a page; fails with the output of each step that differs.
fn type_page(page: &str, least: usize) {
    let mut stand = Stand::new(page);
    let steps = console::steps(page);
    let (mut wrong, mut patience) = (Vec::new(), PATIENCE);
    for step in &steps {
        let mut seen = stand.type_in(&step.command);
        // names come from the Engine a moment after the address
        let begun = Instant::now();
        let waits = console::is_view(&step.command);
        while waits && !console::alike(&step.output, &seen) && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(50));
            seen = stand.type_in(&step.command);
        }
        patience = patience.saturating_sub(begun.elapsed());
        if !console::alike(&step.output, &seen) {
            wrong.push(format!("$ {}\n{seen}", step.command));
        }
    }
    assert!(wrong.is_empty(), "these outputs differ from the page:\n{}", wrong.join("\n"));
    assert!(steps.len() >= least, "{} steps", steps.len());
}

#[test]
fn the_guide_works_as_written() {
    type_page(include_str!("../../docs/guide.md"), 20);
}

/// Docker generates a MAC for a driver that requires MACs, and ipvlan refuses it: no container starts.
#[test]
fn p29_the_way_to_use_ipvlan_is_documented_where_people_look_for_it() {
    let example = include_str!("../../packaging/gipam.toml");
    for (page, text) in [
        ("guide", include_str!("../../docs/guide.md")),
        ("configuration", include_str!("../../docs/configuration.md")),
        ("troubleshooting", include_str!("../../docs/troubleshooting.md")),
        ("example", example),
    ] {
        assert!(text.contains("ipvlan") && text.contains("requires_mac_address"), "{page}");
    }
    let message = "ipvlan interfaces do not support custom mac address assignment";
    assert!(
        include_str!("../../docs/troubleshooting.md").contains(message),
        "Docker's own message finds the entry"
    );
    // The lines of the example, uncommented.
    let from = example.find("#[driver.gipam-ipvlan]").unwrap();
    let lines = example[from..].lines().take_while(|line| !line.is_empty());
    let lines: String = lines.map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
    assert!(lines.contains("requires_mac_address = false"), "{lines}");
    let pools = "[[pool]]\nname = \"lan\"\nv4 = \"192.0.2.0/24\"\n[[pool]]\nname = \"dmz\"\nv4 = \"198.51.100.0/24\"\n";
    let house = daemon::House::with_toml(&format!("{pools}{lines}"));
    let output = house.plain(&["config", "check", "gipam.toml"]);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("gipam-ipvlan"), "{said}");
}

#[test]
fn the_operations_page_works_as_written() {
    type_page(include_str!("../../docs/operations.md"), 10);
}

#[test]
fn the_operations_page_names_every_alert() {
    let rules = include_str!("../../packaging/prometheus/gipam.rules.yml");
    let page = include_str!("../../docs/operations.md");
    let mut alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let rows = page.lines().filter(|line| line.starts_with("| `Gipam")).collect::<String>();
    let mut named: Vec<_> = rows.split('`').filter(|word| word.starts_with("Gipam")).collect();
    alerts.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, alerts);
}

#[test]
fn the_protocol_page_shows_the_real_answers() {
    use gipam::docker::wire;
    let page = include_str!("../../docs/protocol.md");
    for answer in [wire::ACTIVATE, &wire::capabilities(true)] {
        assert!(page.contains(&format!("`{answer}`")), "{answer}");
    }
}

#[test]
fn outputs_are_compared_except_for_parts_that_differ_between_runs() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let expected =
        lines("a  2026-01-01T00:00:00Z  02:42:00:00:00:01\nb  local/192.0.2.0/24#0123456789abcdef");
    let seen = "a 2027-11-21T22:31:31Z 02:42:ac:00:00:09\nb local/192.0.2.0/24#fedcba9876543210";
    assert!(console::alike(&expected, seen));
    assert!(!console::alike(&expected, &seen.replace("192.0.2.0", "192.0.2.1")));
    assert!(!console::alike(&expected, "a 2027-11-21T22:31:31Z 02:42:ac:00:00:09"));
    assert!(!console::alike(&lines("x web 1"), "x db 1") && !console::alike(&lines("x web 1"), "x - 1"));
    let id = "0123456789abcdef".repeat(4);
    assert!(console::alike(&lines(&format!("container: {id}")), &format!("container: {}", "f".repeat(64))));
    assert!(console::alike(&lines("one\n...\nlast"), "one\ntwo\nthree\nlast"));
    assert!(!console::alike(&lines("one\n...\nlast"), "one\ntwo\nthree"));
}
