//! Reads the configuration again, at SIGHUP and at `gipam reload`.
//!
//! Promises: a configuration or plan file with an error changes nothing; each change is reported on one line; a rehearsal
//! reports the same lines and changes nothing. Pools, reservations and times change at once; other changes
//! are reported until a restart.

use std::sync::Arc;

use tokio::sync::watch;

use super::{course, follow, later, probe_settings};
use crate::claims::division::Division;
use crate::claims::{self, HostsPlan, SharedPlan};
use crate::config::{Config, ConfigError, Hook, PlanSource, PrefixSource};
use crate::edge::Edge;
use crate::hooks::Hooks;
use crate::ledger::{Altered, Ledger};
use crate::plan::Plan;
use crate::probe::Prober;
use crate::settle::{Below, difference, settle, with_sourced};
use crate::text::counted;
use crate::watch::Watch;

/// The configuration in force, and the parts that a reload updates.
pub(super) struct Reloader {
    /// The configuration with which this process was started.
    pub(super) started: Arc<Config>,
    pub(super) in_force: watch::Sender<Arc<Config>>,
    pub(super) ledger: Ledger,
    pub(super) hooks: Hooks,
    pub(super) watch: Watch,
    pub(super) plan: SharedPlan,
    pub(super) edge: Edge,
    pub(super) prober: Prober,
}

impl Reloader {
    /// Reads the configuration again, applies it unless this is a rehearsal, and logs the result: one line
    /// for each change.
    pub(super) async fn reload(&self, rehearsal: bool) -> Result<Vec<String>, String> {
        let reloaded = self.apply(rehearsal).await;
        match &reloaded {
            Ok(_) if rehearsal => {}
            Ok(lines) => {
                lines.iter().for_each(|line| tracing::info!("reload: {line}"));
                tracing::info!("the configuration was reloaded");
            }
            Err(text) => {
                tracing::error!("the configuration was not reloaded; the previous one stays in force: {text}")
            }
        }
        reloaded
    }

    async fn apply(&self, rehearsal: bool) -> Result<Vec<String>, String> {
        let config = self.in_force.borrow().clone();
        // Reading its files may be slow, and this thread also serves the page and the admin socket.
        let old = config.as_ref().clone();
        let new = tokio::task::spawn_blocking(move || {
            let new = old.reload()?;
            let sourced = follow::read(&new.sources);
            let file = new.plan.as_ref().and_then(PlanSource::file).map(|path| Division::read(path));
            Ok::<_, ConfigError>((new, file, sourced))
        });
        let new = new.await.map_err(|error| error.to_string())?;
        let (new, file, sourced) = new.map_err(|error| error.to_string())?;
        let mut lines = new.warnings.clone();
        lines.extend(later::lines(&self.started, &new));
        let (configured, origin) = (new.settings.clone(), new.pools_origin.clone());
        let (source, before) = (new.plan.clone(), self.plan.get());
        let is_store = |config: &Config| config.plan.as_ref().is_some_and(|plan| plan.etcd().is_some());
        let stays = is_store(&self.started) != is_store(&new);
        if stays {
            lines.push("plan: who decides about slices changes at the next start".to_owned());
        }
        lines.extend(unreadable(&sourced));
        let course = course(&new, &sourced);
        let alter = move |plan: &Plan| {
            let known = plan.settings();
            let configured = configured.with_books(known);
            let (configured, conflicts) = with_sourced(configured, &known.pools, &sourced.prefixes);
            let (settings, mut lines) = settle(&configured, &origin, &known.pools, Below::Books, plan);
            if let Err(error) = settings.check() {
                return Ok((Altered::default(), Err(error.to_string())));
            }
            lines.extend(conflicts);
            lines.extend(difference(known, &settings));
            if stays {
                let settings = (!rehearsal).then_some(settings);
                let altered = Altered { settings, ..Altered::default() };
                return Ok((altered, Ok((before.as_deref().cloned(), lines))));
            }
            let hosts = source.map(|source| match file {
                Some(file) => HostsPlan::at_reload(&source, file, &settings),
                None => HostsPlan::kept(before.as_deref(), &source, &settings),
            });
            let hosts = match hosts.transpose() {
                Ok(hosts) => hosts,
                Err(why) => return Ok((Altered::default(), Err(why))),
            };
            // With a plan file such a pool is refused as a whole.
            let refusing = hosts.as_ref().and_then(|hosts| hosts.refusing(&settings));
            let settings = refusing.unwrap_or(settings);
            let (altered, slices) = claims::altered(plan, hosts.as_ref());
            lines.extend(slices);
            let altered = match rehearsal {
                true => Altered::default(),
                false => Altered { settings: Some(settings), ..altered },
            };
            Ok((altered, Ok((hosts, lines))))
        };
        let altered = self.ledger.alter(alter).await.map_err(|refusal| refusal.to_string())?;
        if let (Err(why), false) = (&altered, rehearsal) {
            self.plan.note_refused(why.clone());
        }
        let (hosts, changed) = altered?;
        lines.extend(changed);
        lines.extend(told_lines(&config, &new));
        if !rehearsal {
            self.plan.set(hosts);
            self.edge.steer(course);
            if let Err(error) = self.prober.configure(probe_settings(&new)) {
                lines.push(format!(
                    "the thread for probes could not be started, so addresses are given without a probe: {error}"
                ));
            }
            self.watch.configure(new.warn_at.clone());
            if let Err(error) = self.hooks.configure(new.hooks.clone()).await {
                lines.push(format!("hooks stay unchanged: {error}"));
            }
            self.edge.tell_hooks();
            self.in_force.send_replace(Arc::new(new));
        }
        Ok(lines)
    }
}

impl Reloader {
    /// The sources of prefixes in the configuration in force.
    pub(super) fn sources(&self) -> Vec<PrefixSource> {
        self.in_force.borrow().sources.clone()
    }

    /// Follows prefixes that have changed at their sources; the configuration stays the one in force.
    pub(super) async fn follow(&self) {
        let config = self.in_force.borrow().clone();
        let sources = config.sources.clone();
        let Ok(sourced) = tokio::task::spawn_blocking(move || follow::read(&sources)).await else { return };
        let (configured, origin) = (config.settings.clone(), config.pools_origin.clone());
        unreadable(&sourced).iter().for_each(|line| tracing::warn!("{line}"));
        self.edge.steer(course(&config, &sourced));
        let alter = move |plan: &Plan| {
            let known = plan.settings();
            let configured = configured.with_books(known);
            let (configured, conflicts) = with_sourced(configured, &known.pools, &sourced.prefixes);
            let (settings, _) = settle(&configured, &origin, &known.pools, Below::Books, plan);
            let lines = difference(known, &settings);
            let stale = plan.stale_changes(&settings).iter().filter(|change| change.stale).count();
            let changed = (settings != *known).then_some(settings);
            let altered = Altered { settings: changed, ..Altered::default() };
            Ok((altered, (conflicts, lines, stale)))
        };
        match self.ledger.alter(alter).await {
            Ok((conflicts, lines, stale)) => {
                conflicts.iter().for_each(|line| tracing::error!("{line}"));
                lines.iter().for_each(|line| tracing::info!("{line}"));
                if stale > 0 {
                    let stale = counted(stale, "subnet");
                    tracing::warn!(
                        "{stale} on the earlier prefix stay in use and are stale; see: gipam renumber"
                    );
                }
            }
            Err(refusal) => tracing::error!("the prefixes of pools cannot change now: {refusal}"),
        }
    }
}

/// Why sources cannot be read, one line each.
fn unreadable(sourced: &follow::SourcesRead) -> Vec<String> {
    let line = |(source, why): (&String, &String)| {
        format!("{source} cannot be used, so pools keep the prefix that they have: {why}")
    };
    sourced.errors.iter().map(line).collect()
}

/// Changes outside the ledger's settings.
pub(super) fn told_lines(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = hook_lines(&old.hooks, &new.hooks);
    if new.warn_at != old.warn_at {
        lines.push("warn_at thresholds change".to_owned());
    }
    if new.translations != old.translations {
        let shown = |config: &Config| {
            let all = &config.translations;
            let texts: Vec<String> = all.iter().map(|it| format!("{} to {}", it.inner, it.outer)).collect();
            if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
        };
        lines.push(format!("translations: {} becomes {}", shown(old), shown(new)));
    }
    lines.extend(new.edge_lines(old));
    if new.probed != old.probed || new.keys.quarantine != old.keys.quarantine {
        let pools: Vec<&str> = new.probed.keys().map(String::as_str).collect();
        let pools = if pools.is_empty() { "none".to_owned() } else { pools.join(", ") };
        lines
            .push(format!("pools whose addresses are probed: {pools}; again after {}", *new.keys.quarantine));
    }
    if new.plan != old.plan {
        let shown = |config: &Config| match &config.plan {
            Some(plan) => format!("{} as host {}, routes {}", plan.keeper, plan.host, plan.routes.name()),
            None => "none".to_owned(),
        };
        lines.push(format!("plan: {} becomes {}", shown(old), shown(new)));
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
        Some(_) => {
            Some(format!("hook {} is changed: {}; it continues where it left off", hook.name, hook.target))
        }
    });
    gone.chain(come).collect()
}
