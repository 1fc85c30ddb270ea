//! Follows the sources of prefixes that may change: files, and what the kernel shows.
//!
//! Promises: reads a source only when something about it has changed, never by the clock; a change counts once it has been
//! quiet for a moment, so that one that comes in several steps is read once. Changes no settings.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::time::{Instant, sleep_until};

use crate::config::PrefixSource;
use crate::edge::OuterNow;
use crate::host::delegated::{self, DelegationWatch};
use crate::host::prefix_file::{self, FileWatch};
use crate::plan::prefix::Family;
use crate::settle::{SourcedPrefix, SourcedPrefixes};

/// How long a source must be quiet after a change.
const QUIET: Duration = Duration::from_millis(100);
/// A source that keeps changing is read after this time.
const LONGEST: Duration = Duration::from_secs(2);

/// What the sources have now, and why some cannot be read, by the text of the source.
#[derive(Debug, Default)]
pub(super) struct SourcesRead {
    pub(super) prefixes: SourcedPrefixes,
    pub(super) errors: BTreeMap<String, String>,
    /// The sources that certainly have no prefix, because their interface does not exist.
    absent: BTreeSet<String>,
}

impl SourcesRead {
    /// The outer prefix of translated pools that this source gives.
    pub(super) fn outer(&self, source: &PrefixSource) -> OuterNow {
        let Some(SourcedPrefix { prefixes, stays }) = self.prefixes.get(&source.to_string()) else {
            let is_absent = self.absent.contains(&source.to_string());
            return if is_absent { OuterNow::OneOf(Vec::new()) } else { OuterNow::Unknown };
        };
        let all = prefixes.iter().copied().filter(|prefix| prefix.family() == Family::V6);
        // Of a file the first prefix counts; the kernel may show the last one and the next one for some time.
        OuterNow::OneOf(all.take(if *stays { usize::MAX } else { 1 }).collect())
    }
}

/// Reads the sources. Blocking, for milliseconds.
pub(super) fn read(sources: &[PrefixSource]) -> SourcesRead {
    let mut all = SourcesRead::default();
    for source in sources {
        let found = match source {
            PrefixSource::File(path) => prefix_file::read(path),
            PrefixSource::Delegated { interface, length } => {
                let found = delegated::prefixes(interface, *length);
                all.absent.extend(matches!(found, Ok(None)).then(|| source.to_string()));
                let absent = || format!("interface {interface} does not exist on this host");
                found.and_then(|found| found.ok_or_else(absent))
            }
        };
        let stays = matches!(source, PrefixSource::Delegated { .. });
        match found {
            Ok(prefixes) => drop(all.prefixes.insert(source.to_string(), SourcedPrefix { prefixes, stays })),
            Err(error) => drop(all.errors.insert(source.to_string(), error)),
        }
    }
    all
}

/// Resolves when a source may have changed.
#[derive(Debug, Default)]
pub(super) struct PrefixFollower {
    sources: Vec<PrefixSource>,
    files: Option<Rung<FileWatch>>,
    kernel: Option<Rung<DelegationWatch>>,
    /// When the first and the last change came that have not been reported yet.
    changed: Option<(Instant, Instant)>,
}

impl PrefixFollower {
    /// Follows these sources.
    pub(super) fn of(sources: &[PrefixSource]) -> Self {
        let mut follower = Self::default();
        follower.follow(sources);
        follower
    }

    /// Follows these sources from now on.
    pub(super) fn follow(&mut self, sources: &[PrefixSource]) {
        self.sources = sources.to_vec();
        // They may have changed since they were read.
        let now = Instant::now();
        self.changed = (!sources.is_empty()).then_some((now, now));
        if let Err(error) = self.watch() {
            tracing::error!("changes of prefixes are not noticed until a reload: {error}");
        }
    }

    fn watch(&mut self) -> io::Result<()> {
        let is_delegated = |source: &PrefixSource| matches!(source, PrefixSource::Delegated { .. });
        if self.kernel.is_none() && self.sources.iter().any(is_delegated) {
            self.kernel = Some(Rung::new(DelegationWatch::new()?)?);
        }
        let files = self.sources.iter().filter_map(|source| match source {
            PrefixSource::File(path) => Some(path),
            PrefixSource::Delegated { .. } => None,
        });
        for path in files {
            if self.files.is_none() {
                self.files = Some(Rung::new(FileWatch::new()?)?);
            }
            if let Some(watch) = &self.files {
                watch.watch.cover(path)?;
            }
        }
        Ok(())
    }

    fn note(&mut self) {
        let now = Instant::now();
        self.changed = Some((self.changed.map_or(now, |(first, _)| first), now));
    }

    /// Waits until a source may have changed. May be dropped at any time; a change is not lost by that.
    pub(super) async fn changed(&mut self) {
        loop {
            let due = self.changed.map(|(first, last)| (last + QUIET).min(first + LONGEST));
            let quiet = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = quiet => {
                    self.changed = None;
                    return;
                }
                () = rung(self.kernel.as_ref(), DelegationWatch::drain) => self.note(),
                () = rung(self.files.as_ref(), FileWatch::drain) => {
                    self.note();
                    // A directory may have appeared or gone.
                    if let Err(error) = self.watch() {
                        tracing::error!("changes of prefixes are not noticed until a reload: {error}");
                    }
                }
            }
        }
    }
}

/// A watch, and a second descriptor of it that only serves for waiting.
#[derive(Debug)]
struct Rung<T> {
    watch: T,
    bell: UnixDatagram,
}

impl<T: AsFd> Rung<T> {
    fn new(watch: T) -> io::Result<Self> {
        // The runtime wakes up for any descriptor, whatever it is.
        let bell = UnixDatagram::from_std(watch.as_fd().try_clone_to_owned()?.into())?;
        Ok(Self { watch, bell })
    }
}

/// Waits for a notification, and takes all of them.
async fn rung<T>(rung: Option<&Rung<T>>, drain: impl Fn(&T) -> io::Result<bool>) {
    let Some(Rung { watch, bell }) = rung else { return pending().await };
    loop {
        if bell.readable().await.is_err() {
            return pending().await;
        }
        // Only clears the readiness, before everything is read: what comes later wakes this up again.
        drop(bell.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into())));
        match drain(watch) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::error!("changes of prefixes are not noticed until a restart: {error}");
                return pending().await;
            }
        }
    }
}
