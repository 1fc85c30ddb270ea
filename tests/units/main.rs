//! The units and docs/install.md on a whole machine with systemd as its first process, made by
//! `scripts/machine.sh`.
//!
//!     cargo test --test units -- [WORD...] [--list]
//!
//! Runs the scenarios whose names contain one of the words, each on a separate machine, three at a time. The
//! administrator's commands are taken from the page itself, block by block. Ends with a line `N passed, N
//! failed`. If a machine cannot be made, the scenarios fail if CI=true; otherwise they are skipped with a
//! visible message.
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and report by printing"
)]

mod boot;
#[path = "../support/certificates.rs"]
mod certificates;
mod edge;
mod install;
mod machine;
mod old;
#[path = "../engines/oldgipam.rs"]
#[allow(dead_code, reason = "shared with the engines' tests")]
mod oldgipam;
mod page;
mod reload;
mod sockets;
#[path = "../support/stage.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod stage;
mod transport;
#[path = "../support/wait.rs"]
mod wait;
#[path = "../engines/wire.rs"]
#[allow(dead_code, reason = "shared with the engines' tests")]
mod wire;

use clap::Parser;
use machine::Machine;
use stage::Words;
use std::process::ExitCode;

/// A name, and what to do on a fresh machine.
type Scenario = (&'static str, fn(&mut Machine));

const SCENARIOS: [Scenario; 17] = [
    ("transport_unix_tcp_tls_unix", transport::switch),
    ("boot_shutdown_boot", boot::shutdown),
    ("install_use_upgrade_remove", install::install_use_remove),
    ("install_hardened_unit_does_its_work", install::hardened),
    ("install_active_only_when_listening", install::notify),
    ("docker_stopped_releases_addresses", boot::docker_stopped),
    ("docker_started_by_hand_starts_gipam", boot::drop_in),
    ("socket_starts_gipam", sockets::activation),
    ("socket_restarts_lose_nothing", sockets::restarts),
    ("killed_and_restarted", sockets::killed),
    ("bad_configuration_is_not_retried", reload::exit_code_2),
    ("reload_applies_a_changed_pool", reload::changed_pool),
    ("hooks_run_within_the_service", reload::hook),
    ("kernel_routes_need_the_drop_in", reload::kernel_routes),
    ("drop_ins_for_the_edge", edge::drop_ins),
    ("old_binary_replaced", old::replaced),
    ("old_installation_gets_these_units", old::units),
];

fn main() -> ExitCode {
    let words = Words::parse();
    let scenario = |(name, play): Scenario| {
        stage::scenario(name, "", move || match machine::prepare() {
            Ok(()) => machine::played(play),
            Err(reason) => stage::unavailable("on systemd", &reason),
        })
    };
    stage::play("units", &words, 3, SCENARIOS.map(scenario).into())
}
