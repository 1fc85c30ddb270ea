//! Reads the configuration again, at SIGHUP and at `gipam reload`.
//!
//! Promises: a configuration with an error changes nothing; each change is reported on one line; a rehearsal reports the
//! same and changes nothing. Pools, reservations and times change at once; other changes are reported until a restart.

use std::sync::Arc;

use super::later;
use crate::config::{Config, Hook};
use crate::hooks::Hooks;
use crate::ledger::{Altered, Ledger};
use crate::plan::Plan;
use crate::settle::{Below, difference, settle};
use crate::watch::Watch;

/// The configuration that was read, and what it changes.
pub(super) struct Reloaded {
    /// The configuration in force from now on.
    pub(super) config: Config,
    /// A line for each change.
    pub(super) lines: Vec<String>,
}

/// The parts other than the ledger that follow a new configuration.
pub(super) struct Told {
    /// The configuration with which this process was started.
    pub(super) started: Arc<Config>,
    /// The hooks.
    pub(super) hooks: Hooks,
    /// The part that warns when pools and subnets fill up.
    pub(super) watch: Watch,
}

/// Reads the configuration again, and applies it unless this is a rehearsal.
pub(super) async fn reload(
    config: &Config,
    ledger: &Ledger,
    others: &Told,
    rehearsal: bool,
) -> Result<Reloaded, String> {
    // Reading its files may be slow, and this thread also serves the page and the admin socket.
    let old = config.clone();
    let new = tokio::task::spawn_blocking(move || old.reload());
    let new = new.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let mut lines = new.warnings.clone();
    lines.extend(later::lines(&others.started, &new));
    let (configured, origin) = (new.settings.clone(), new.pools_origin.clone());
    let alter = move |plan: &Plan| {
        let known = plan.settings();
        let configured = configured.with_books(known);
        let (settings, mut lines) = settle(&configured, &origin, &known.pools, Below::Books, plan);
        lines.extend(difference(known, &settings));
        let settings = (!rehearsal).then_some(settings);
        Ok((Altered { settings, ..Altered::default() }, lines))
    };
    lines.extend(ledger.alter(alter).await.map_err(|refusal| refusal.to_string())?);
    lines.extend(told_lines(config, &new));
    if !rehearsal {
        others.watch.configure(new.warn_at.clone());
        if let Err(error) = others.hooks.configure(new.hooks.clone()).await {
            lines.push(format!("hooks stay as they were: {error}"));
        }
    }
    Ok(Reloaded { config: new, lines })
}

/// Changes other than those of the ledger's settings.
pub(super) fn told_lines(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = hook_lines(&old.hooks, &new.hooks);
    if new.warn_at != old.warn_at {
        lines.push("warn_at thresholds change".to_owned());
    }
    lines
}

/// Changes of the hooks, one line each.
fn hook_lines(old: &[Hook], new: &[Hook]) -> Vec<String> {
    let named = |hooks: &[Hook], name: &str| hooks.iter().find(|hook| hook.name == name).cloned();
    let gone = old.iter().filter(|hook| named(new, &hook.name).is_none());
    let gone = gone.map(|hook| format!("hook {} is removed: its undelivered events are dropped", hook.name));
    let come = new.iter().filter_map(|hook| match named(old, &hook.name) {
        None if hook.from_start => {
            Some(format!("hook {} is added: {}, from the start of the history", hook.name, hook.target))
        }
        None => Some(format!("hook {} is added: {}, from now on", hook.name, hook.target)),
        Some(known) if known == *hook => None,
        Some(_) => Some(format!("hook {} is changed: {}; it continues where it was", hook.name, hook.target)),
    });
    gone.chain(come).collect()
}
