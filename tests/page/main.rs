//! The page in a real browser: a headless Chromium from Debian's package, prepared by `scripts/browser.sh`.
//!
//!     cargo test --test page -- [WORD...] [--list]
//!
//! Runs the scenarios whose names contain one of the words, two at a time. With GIPAM_SCREENSHOTS=DIRECTORY
//! the scenario `pictures` saves its screenshots there. Ends with a line `N passed, N failed`. If the browser
//! is not available, the scenarios fail if CI=true; otherwise they are skipped with a visible message.
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and report by printing"
)]

mod browser;
#[path = "../support/daemon.rs"]
mod daemon;
mod edge;
mod engine;
#[path = "../support/http.rs"]
mod http;
mod inside;
mod looks;
mod prometheus;
mod scenarios;
mod site;
#[path = "../support/stage.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod stage;

use std::process::ExitCode;

use browser::Browser;
use clap::Parser;
use stage::{End, Words};

/// A name, and what to do in a browser.
type Scenario = (&'static str, fn(&mut Browser));

/// Scenarios that run in a network namespace.
const INSIDE: [Scenario; 3] = [
    ("the_kernel_strangers_and_earlier_prefixes_are_shown", edge::all),
    ("missing_rights_are_shown", edge::forbidden),
    ("the_edge_is_readable_at_any_width", edge::looks),
];

const SCENARIOS: [Scenario; 20] = [
    // runs for a minute while the others run
    ("a_quiet_host_is_live_for_a_minute", scenarios::quiet),
    ("tables_show_all_rows_without_errors", scenarios::rows_appear),
    ("searching_sorting_and_paging", scenarios::searching),
    ("a_change_arrives_by_itself", scenarios::live),
    ("problems_are_shown", scenarios::state),
    ("the_slices_of_this_host_are_shown_if_several_hosts_share_a_pool", scenarios::slices),
    ("the_page_survives_a_restart_of_the_daemon", scenarios::restart),
    ("the_map_works_by_keyboard", scenarios::keyboard),
    ("every_name_has_a_story", scenarios::stories),
    ("the_history_is_filtered_and_paged", scenarios::history),
    ("rows_are_saved_as_a_file", scenarios::files),
    ("hovering_shows_network_holder_and_address", scenarios::pointing),
    ("each_pool_has_its_trend", scenarios::trends),
    ("a_phone_has_all_links_and_a_wide_screen_is_used", looks::screens),
    ("an_empty_page_shows_the_first_command", scenarios::empty),
    ("a_hundred_thousand_leases", scenarios::many),
    ("text_has_contrast_and_controls_have_names", looks::readable),
    ("nothing_overflows_at_any_width", looks::widths),
    ("pictures", looks::pictures),
    ("prometheus_reads_metrics_and_alerts", prometheus::reads),
];

fn main() -> ExitCode {
    let words = Words::parse();
    let scenario = |(name, play): Scenario, needs_namespace: bool| {
        stage::scenario(name, "", move || {
            if let Err(reason) = browser::prepare() {
                return stage::unavailable("in a browser", &reason);
            }
            if needs_namespace && !inside::is_inside() {
                return inside::play(name);
            }
            match stage::played(|| play(&mut Browser::start())) {
                Some(why) => End::Failed(why, String::new()),
                None => End::Passed,
            }
        })
    };
    // A program in a namespace must not remove what the outer one has reported.
    let report = if inside::is_inside() { "page-inside" } else { "page" };
    let outside = SCENARIOS.map(|it| scenario(it, false)).into_iter();
    let all = outside.chain(INSIDE.map(|it| scenario(it, true))).collect();
    stage::play(report, &words, 2, all)
}
