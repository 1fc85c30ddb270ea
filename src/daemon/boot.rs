//! Prepares the books at startup: finds them, imports an old lease file, rebuilds the plan, settles the
//! pools.
//!
//! Promises: requests are served only after this is done; an old lease file stays untouched and its digest is
//! kept; a file that is neither the one taken over nor the last one exported is refused; existing books are
//! never ignored.

use std::path::PathBuf;

use super::{DaemonError, follow};
use crate::admin::offline;
use crate::clock;
use crate::config::{BooksFile, Config, Content};
use crate::plan::Plan;
use crate::plan::settings::Settings;
use crate::settle::{Below, settle, with_sourced};
use crate::store::old_gipam::{self, Parsed};
use crate::store::takeover::{EXPORTED_DIGEST, TAKEN_DIGEST};
use crate::store::{Books, takeover};
use crate::text::counted;

/// The plan and the books with which the ledger starts.
#[derive(Debug)]
pub struct Booted {
    /// The plan rebuilt from the books.
    pub plan: Plan,
    /// The books, open.
    pub books: Books,
}

/// A parsed old lease file.
struct Old {
    path: PathBuf,
    digest: String,
    parsed: Parsed,
}

/// The path of the books, and the old lease file if it exists and has content.
fn find(file: &BooksFile) -> Result<(PathBuf, Option<Old>), DaemonError> {
    let read = |source| DaemonError::new(format!("{} cannot be read", file.named.display())).because(source);
    let (content, bytes) = offline::content(&file.named).map_err(read)?;
    // A lease file may have been removed since its takeover; then the books made from it are used.
    let empty = content == Content::Absent && file.resolve(content).old.is_some() && file.named.is_file();
    if content == Content::Absent && file.derived.is_file() {
        if empty {
            let (named, books) = (file.named.display(), file.derived.display());
            tracing::warn!("{named} is empty; gipam uses the books {books}: remove {named}");
        }
        return Ok((file.derived.clone(), None));
    }
    // The old gipam treated an empty file as absent and started empty; here, every network would lose its
    // subnet.
    if empty {
        let named = file.named.display();
        return Err(DaemonError::new(format!(
            "{named} is empty: the old gipam was interrupted while saving; replace it with a complete copy, or start without its \
             leases: rm {named}"
        )));
    }
    let found = file.resolve(content);
    let Some(path) = found.old.filter(|_| content != Content::Absent) else { return Ok((found.books, None)) };
    let unfit = format!("the old lease file {} cannot be taken over; it was left untouched", path.display());
    let parsed = old_gipam::parse(&bytes).map_err(|source| DaemonError::new(unfit).because(source))?;
    Ok((found.books, Some(Old { path, digest: old_gipam::digest(&bytes), parsed })))
}

/// The error for a configuration without pools.
fn no_pools() -> DaemonError {
    let text = "no pools are configured: give -v4 PREFIX and/or -v6 PREFIX, or write a configuration file with [[pool]] \
                (see gipam --help)";
    DaemonError::new(text).of_usage()
}

/// Opens the books, and determines the settings in force.
pub fn boot(config: &Config) -> Result<Booted, DaemonError> {
    // The lease file is parsed before the books are created, so that one that cannot be taken over leaves
    // nothing behind.
    let (path, old) = find(&config.file)?;
    if old.is_none() && config.settings.pools.is_empty() && !path.exists() {
        return Err(no_pools());
    }
    config.file.make_directory(&path).map_err(|source| {
        DaemonError::new(format!("cannot create the directory of {}", path.display())).because(source)
    })?;
    let new = !path.exists();
    let mut books = Books::open(&path)?;
    books.keep_history((*config.keys.history).into());
    let mut plan = books.plan()?;
    let known = plan.settings().clone();
    let taken = books.meta(TAKEN_DIGEST)?;
    let exported = books.meta(EXPORTED_DIGEST)?;
    let fresh = taken.is_none() && plan.counters() == (1, 1);
    let take_over = match &old {
        Some(old) if fresh => Some(old),
        Some(old) if [&taken, &exported].into_iter().flatten().any(|digest| *digest == old.digest) => None,
        Some(old) => {
            let (file, books) = (old.path.display(), path.display());
            return Err(DaemonError::new(format!(
                "{file} is neither the lease file that was taken over nor the last one exported; gipam uses the books {books}: \
                 move the file away, or replace the books with it: gipam import {file} --replace"
            )));
        }
        None => None,
    };
    let mut configured = config.settings.clone().with_books(&known);
    configured.secret = secret(&known);
    let sourced = follow::read(&config.sources);
    let (configured, conflicts) = with_sourced(configured, &known.pools, &sourced.prefixes);
    warn(&conflicts);
    let settings = match take_over {
        Some(old) => take(&mut plan, &mut books, old, configured, config)?,
        None => {
            let (settings, warnings) =
                settle(&configured, &config.pools_origin, &known.pools, Below::Books, &plan);
            warn(&warnings);
            settings
        }
    };
    if settings.pools.is_empty() {
        return Err(no_pools());
    }
    let unusable = |error| DaemonError::new("the pools cannot be used").because(error).of_usage();
    settings.check().map_err(unusable)?;
    if books.settings()? != settings {
        books.put_settings(&settings)?;
        books.write_stale(&plan, &settings)?;
    }
    books.commit()?;
    plan.configure(settings);
    plan.advance(clock::now());
    let held: Vec<usize> =
        plan.subnets().filter(|subnet| subnet.is_held()).map(|subnet| subnet.addresses.leased()).collect();
    // Unexpectedly empty books would show that the path is wrong.
    let leases = held.iter().sum::<usize>();
    let (path, are_new) = (path.display(), if new { "are new and " } else { "" });
    tracing::info!(
        "the books {path} {are_new}hold {} and {}",
        counted(held.len(), "subnet"),
        counted(leases, "lease")
    );
    Ok(Booted { plan, books })
}

/// Writes the subnets and leases of an old lease file into the books, without committing; returns the
/// settings in force.
fn take(
    plan: &mut Plan,
    books: &mut Books,
    old: &Old,
    configured: Settings,
    config: &Config,
) -> Result<Settings, DaemonError> {
    let from_file: Vec<_> = takeover::pools(&old.parsed.books, &configured).into_iter().collect();
    let (settings, warnings) = settle(&configured, &config.pools_origin, &from_file, Below::LeaseFile, plan);
    warn(&warnings);
    for oddity in &old.parsed.oddities {
        tracing::warn!("{}: {oddity}", old.path.display());
    }
    let changes = takeover::changes(&old.parsed.books, plan, &settings, clock::now());
    for change in &changes {
        books.write(plan, change)?;
        plan.apply(change);
    }
    books.write_counters(plan)?;
    books.put_meta(TAKEN_DIGEST, &old.digest)?;
    let subnets = old.parsed.books.allocated.len();
    tracing::info!(
        "{}: {} and {} taken over",
        old.path.display(),
        counted(subnets, "subnet"),
        counted(changes.len() - subnets, "lease")
    );
    Ok(settings)
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// The host's secret: from the books, or a new one.
fn secret(known: &Settings) -> [u8; 32] {
    let mut secret = known.secret;
    if secret == [0; 32] {
        // Without randomness, people can guess `stable` addresses from the prefix; the secret serves no other
        // purpose.
        let _ = rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty());
    }
    secret
}
