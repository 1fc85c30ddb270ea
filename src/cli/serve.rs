//! `gipam serve`, and `gipam` without a command: start the driver.
//!
//! Promises: nothing is started before the configuration is known to be good. Everything else is the daemon's.

use super::error::CliError;
use super::logging;
use crate::config::{Config, Options, Surroundings};
use crate::daemon;

/// Resolves the configuration, sets logging up and runs the daemon until it ends.
pub(super) fn run(flags: &Options, surroundings: &Surroundings) -> Result<(), CliError> {
    let config = Config::start(flags, surroundings).map_err(CliError::Configuration)?;
    logging::set_up(config.log, surroundings);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    daemon::run(config).map_err(CliError::Daemon)
}
