//! `gipam plan check FILE`: what is wrong with a plan file, what nobody has, and what it changes for a host.
//!
//! Promises: lists every mistake; compares with the driver, or with its books if it does not run; without both, checks the
//! file alone. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::error::CliError;
use super::output::{self, Asking};
use crate::claims::division::{Division, HostPlan};
use crate::config::{Config, Options, Surroundings};
use crate::text::counted;
use crate::view::rows::SliceRow;
use crate::view::{ErrorKind, Refusal};

/// What `--json` prints.
#[derive(Debug, Default, Serialize)]
struct PlanCheck {
    /// The host that is compared with the books; `null` if the file does not have it and nobody named it.
    host: Option<String>,
    pools: usize,
    hosts: usize,
    slices: usize,
    /// Space of the pools that no host has.
    free: Vec<String>,
    /// Slices that the host gets.
    added: Vec<String>,
    /// Slices that the host no longer has.
    removed: Vec<String>,
    /// Removed slices in which the host has networks.
    contested: Vec<String>,
}

/// Runs the command.
pub(super) fn run(
    path: &str,
    host: Option<&str>,
    flags: &Options,
    json: bool,
    surroundings: &Surroundings,
) -> Result<(), CliError> {
    let file = Division::read(Path::new(path)).map_err(|error| {
        let lines = error.lines();
        if let Some((_, before)) = lines.split_last() {
            before.iter().for_each(|line| output::note(line));
        }
        CliError::Usage(lines.last().cloned().unwrap_or_default())
    })?;
    let configured = Config::outline(flags, surroundings).ok().and_then(|config| config.plan);
    let own = configured.map_or_else(|| surroundings.host_name.clone(), |plan| plan.host);
    let compared = file.host(host.unwrap_or(&own));
    if let Some(name) = host.filter(|_| compared.is_none()) {
        let text = format!("{path} does not have host {name}");
        return Err(CliError::Admin(Refusal::new(ErrorKind::Missing, text)));
    }
    let mut check = PlanCheck {
        host: compared.map(|host| host.name.clone()),
        pools: file.pools.len(),
        hosts: file.hosts.len(),
        slices: file.hosts.iter().map(|host| host.slices.len()).sum(),
        free: file.pools.iter().flat_map(|pool| file.holes(pool)).map(|free| free.to_string()).collect(),
        ..PlanCheck::default()
    };
    // The books of this machine say nothing about another host.
    if let Some(compared) = compared.filter(|compared| compared.name.eq_ignore_ascii_case(&own)) {
        check.compare(compared, &Asking::new(flags, json, surroundings)?)?;
    }
    output::text(&if json {
        output::json_text(&serde_json::to_value(&check).unwrap_or_default())
    } else {
        check.text(path)
    })?;
    match check.contested.is_empty() {
        true => Ok(()),
        false => Err(CliError::Admin(Refusal::new(
            ErrorKind::Taken,
            format!(
                "networks are in {}; remove them first, or give the slice to this host again",
                check.contested.join(", ")
            ),
        ))),
    }
}

impl PlanCheck {
    /// Compares the slices of this host with those in its books.
    fn compare(&mut self, host: &HostPlan, asking: &Asking) -> Result<(), CliError> {
        const PATH: &str = "/v1/slices";
        let answer = match asking.view(PATH) {
            Ok(answer) => answer,
            Err(error) => {
                output::note(&format!("the file alone was checked: {error}"));
                return Ok(());
            }
        };
        let rows: Vec<SliceRow> = output::read(PATH, &answer)?;
        // Only rows of this host's own slices have a count, apart from free space.
        let own = rows.iter().filter(|row| row.state != "free");
        let known: BTreeMap<&str, (u128, &str)> =
            own.filter_map(|row| Some((row.slice.as_str(), (row.used?.0, row.state.as_str())))).collect();
        let wanted: BTreeSet<String> = host.slices.iter().map(ToString::to_string).collect();
        let held = |slice: &&String| known.get(slice.as_str()).is_some_and(|(_, state)| *state == "held");
        self.added = wanted.iter().filter(|slice| !held(slice)).cloned().collect();
        for (slice, (used, _)) in known.into_iter().filter(|(slice, _)| !wanted.contains(*slice)) {
            self.removed.push(slice.to_owned());
            if used > 0 {
                self.contested.push(slice.to_owned());
            }
        }
        Ok(())
    }

    fn text(&self, path: &str) -> String {
        let [pools, hosts, slices] = [(self.pools, "pool"), (self.hosts, "host"), (self.slices, "slice")]
            .map(|(n, of)| counted(n, of));
        let mut text = format!("{path} is valid ({pools}, {hosts}, {slices})\n");
        for free in &self.free {
            text += &format!("nobody has {free}\n");
        }
        let host = self.host.as_deref().unwrap_or_default();
        for slice in &self.added {
            text += &format!("host {host} gets slice {slice}\n");
        }
        for slice in &self.removed {
            let but = if self.contested.contains(slice) { ", but networks are in it" } else { "" };
            text += &format!("host {host} no longer has slice {slice}{but}\n");
        }
        text
    }
}
