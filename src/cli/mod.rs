//! The command line: the commands, and what they print.
//!
//! Promises: `gipam -v6 P -v4 Q` starts the driver, as the old gipam did; views and actions send requests to the running
//! daemon over its admin socket; if no daemon runs, views read the books and say so; tables are readable on a
//! pipe and have no colour; every error says what failed, why and what to do, and has an exit code for its
//! kind. Only this room prints. It knows pools and addresses only as rows.

#![allow(clippy::print_stderr, reason = "this room prints for people")]

use std::ffi::OsString;

use clap::{CommandFactory, Parser};

use crate::admin::asked::ReservationArgs;
use crate::config::{Config, Options, Surroundings};
use crate::daemon;

mod actions;
mod args;
mod changing;
mod compat;
mod configuration;
mod error;
mod feed;
mod health;
mod help;
mod hosts;
mod listed;
mod live;
mod logging;
mod looks;
mod output;
mod paper;
mod picture;
mod plan_check;
mod progress;
mod renumber;
mod screen;
mod slices;
mod tables;
mod terminal;
mod top;
mod views;

pub use error::CliError;

use args::{Cli, Command};

/// The definition of the command line, for the manual pages and completions in packages.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs one command line in these surroundings and returns its exit code. It does not read anything else from the process,
/// except where standard output and standard error go.
pub fn run(arguments: impl IntoIterator<Item = OsString>, surroundings: &Surroundings) -> u8 {
    let arguments = compat::normalize(arguments);
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(&cli, surroundings),
        Err(usage) => return output::usage(usage, &definition()),
    };
    match outcome {
        Ok(()) => 0,
        Err(CliError::ReaderLeft) => 0,
        Err(error) => {
            error::print(&error, surroundings);
            error.exit_code()
        }
    }
}

/// Starts the driver, after its configuration has been checked; returns when it ends.
fn serve(flags: &Options, surroundings: &Surroundings) -> Result<(), CliError> {
    let config = Config::start(flags, surroundings).map_err(CliError::Configuration)?;
    logging::set_up(**config.keys.log, surroundings);
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    daemon::run(config).map_err(CliError::Daemon)
}

fn dispatch(cli: &Cli, surroundings: &Surroundings) -> Result<(), CliError> {
    let Some(command) = &cli.command else {
        cli.refuse_json()?;
        return serve(&cli.options(&cli.serve), surroundings);
    };
    if let Command::Serve(later) = command {
        cli.refuse_json()?;
        return serve(&cli.options(&cli.serve.overridden_by(later)), surroundings);
    }
    if let Command::Config(command) = command {
        return configuration::run(command, &cli.options(&cli.serve), cli.common.json, surroundings);
    }
    if let Command::Plan(args::PlanCommand::Check { plan, host }) = command {
        let flags = cli.options(&cli.serve);
        return plan_check::run(plan, host.as_deref(), &flags, cli.common.json, surroundings);
    }
    if let Command::Doctor { edge: true } = command {
        return looks::doctor_edge(cli.common.json, surroundings);
    }
    if matches!(command, Command::Doctor { .. }) {
        return looks::doctor(&cli.options(&cli.serve), cli.common.json, surroundings);
    }
    cli.refuse_serve_options()?;
    let asking = output::Asking::new(&cli.options(&cli.serve), cli.common.json, surroundings)?;
    match command {
        Command::Serve(_) | Command::Config(_) | Command::Plan(_) | Command::Doctor { .. } => Ok(()),
        Command::Status => views::status(&asking),
        Command::Top => top::run(asking),
        Command::Pools => views::pools(&asking),
        Command::Subnets => views::subnets(&asking),
        Command::Hosts { command: None } => hosts::hosts(&asking),
        Command::Hosts { command: Some(args::HostsCommand::Forget { host, yes }) } => {
            hosts::forget(&asking, host, *yes)
        }
        Command::Slices => slices::slices(&asking),
        Command::Routes { format, host } => slices::routes(&asking, format, host.as_deref()),
        Command::Leases(wanted) => views::leases(&asking, wanted),
        Command::Who { address } => looks::who(&asking, address),
        Command::Map { of } => looks::map(&asking, of.as_deref()),
        Command::Explain(asked) => looks::explain(&asking, asked),
        Command::History { of, since, limit } => {
            views::history(&asking, of.as_deref(), since.as_deref(), *limit)
        }
        Command::Adopt { subnet, id } => actions::adopt(&asking, subnet, id),
        Command::Reserve(asked) => changing::reserve(&asking, asked),
        Command::Unreserve { range, pool, dry_run } => {
            let (range, pool, dry_run) = (Some(range.clone()), pool.clone(), *dry_run);
            changing::change(&asking, "/v1/unreserve", &ReservationArgs { range, pool, dry_run })
        }
        Command::Pin(asked) => changing::change(&asking, "/v1/pin", asked),
        Command::Unpin(asked) => changing::change(&asking, "/v1/unpin", asked),
        Command::Pool(asked) => changing::change(&asking, "/v1/pool", asked),
        Command::Join { new, dry_run, restored } => actions::join(&asking, *new, *dry_run, *restored),
        Command::Reload { dry_run } => actions::reload(&asking, *dry_run),
        Command::Renumber { names, yes, engine } => {
            renumber::renumber(&asking, names, *yes, engine.as_deref())
        }
        Command::Gc { apply, new_engine } => actions::gc(&asking, *apply, *new_engine),
        Command::Import(wanted) => listed::import(&asking, wanted, surroundings),
        Command::Backup { copy } => actions::backup(&asking, copy, surroundings),
        Command::Restore { copy } => actions::restore(&asking, copy, surroundings),
        Command::Export { format } => actions::export(&asking, format),
        Command::Release { subnet, address, force, without_engine } => {
            actions::release(&asking, subnet, address.as_deref(), *force, *without_engine)
        }
    }
}
