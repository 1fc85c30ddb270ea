//! Reading the configuration anew, at SIGHUP and at `gipam reload`.
//!
//! Promises: a configuration with a mistake changes nothing; what changes is said line by line; a rehearsal says the same
//! and changes nothing. Pools, reservations and times follow; doors and names do at the next start.

use std::sync::{Arc, Mutex};

use crate::config::Config;
use crate::ledger::{Altered, Ledger};
use crate::plan::Plan;
use crate::settle::{Below, difference, settle};

/// What was read, and what it changes.
pub(super) struct Reloaded {
    /// The configuration in force from now on.
    pub(super) config: Config,
    /// A line for each change.
    pub(super) lines: Vec<String>,
}

/// Reads the configuration again, and unless this is a rehearsal applies it.
pub(super) async fn reload(config: &Config, ledger: &Ledger, rehearsal: bool) -> Result<Reloaded, String> {
    let new = config.reload().map_err(|error| error.to_string())?;
    let mut lines = new.warnings.clone();
    if new.drivers != config.drivers || new.admin != config.admin {
        lines.push(
            "drivers, their pools and doors follow the configuration at the next start only".to_owned(),
        );
    }
    if new.http != config.http {
        lines.push(
            "the page and the metrics (http) follow the configuration at the next start only".to_owned(),
        );
    }
    let (configured, origin) = (new.settings.clone(), new.pools_origin.clone());
    let said = Arc::new(Mutex::new(Vec::new()));
    let told = said.clone();
    let alter = move |plan: &Plan| {
        let known = plan.settings();
        let configured = configured.with_books(known);
        let (settings, mut lines) = settle(&configured, &origin, &known.pools, Below::Books, plan);
        lines.extend(difference(known, &settings));
        if let Ok(mut told) = told.lock() {
            *told = lines;
        }
        let settings = (!rehearsal).then_some(settings);
        Ok(Altered { settings, ..Altered::default() })
    };
    ledger.alter(Box::new(alter)).await.map_err(|refusal| refusal.to_string())?;
    lines.extend(said.lock().map(|said| said.clone()).unwrap_or_default());
    Ok(Reloaded { config: new, lines })
}
