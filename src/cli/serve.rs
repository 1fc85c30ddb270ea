//! `gipam serve`, and `gipam` without a command: start the driver.
//!
//! Promises: nothing is started before the configuration has been checked. The daemon does everything else.

use super::error::CliError;
use super::logging;
use crate::config::{Config, Options, Surroundings};
use crate::daemon;

/// Resolves the configuration, sets up logging and runs the daemon until it ends.
pub(super) fn run(flags: &Options, surroundings: &Surroundings) -> Result<(), CliError> {
    let config = Config::start(flags, surroundings).map_err(CliError::Configuration)?;
    logging::set_up(**config.keys.log, surroundings);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    daemon::run(config).map_err(CliError::Daemon)
}
