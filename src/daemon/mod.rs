//! The daemon: assembly, signals, readiness, the only clock.

use crate::config::Config;

/// Why the daemon stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither configuration nor lease file nor books name a pool.
    #[error("there are no pools; give -v4 or -v6, or a configuration file with a [[pool]]")]
    NoPools,
}

impl Error {
    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoPools => 2,
        }
    }
}

/// Serves until a signal says stop.
pub fn run(_config: Config) -> Result<(), Error> {
    Err(Error::NoPools)
}
