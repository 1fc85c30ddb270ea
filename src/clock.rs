//! The only clock of the daemon.
//!
//! Promises: milliseconds since the UNIX epoch, 0 before it. Everything else is told the time.

use crate::plan::settings::Millis;

/// What time it is.
#[allow(clippy::disallowed_methods, reason = "this is the one place that asks the clock")]
pub fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
