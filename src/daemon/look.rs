//! What this host uses, in the plan's words: followed on a thread of its own, which answers requests that choose a subnet.
//!
//! Promises: an answer contains everything that was in use in the pools when the question came, and delays only the requests
//! that wait for it; simultaneous requests share one look. Where the kernel does not say what is in use, the request is
//! refused with the reason: a subnet is never given away on a guess. Nameservers that cannot be read are a warning. Sleeps
//! while nothing changes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc::error::TryRecvError;

use crate::docker::{Ask, Surveyor};
use crate::host::{self, RouteChange, RouteWatch, nameservers};
use crate::plan::host_use::HostUse;
use crate::plan::prefix::Prefix;
use crate::plan::request::InUse;

/// How often everything is read again while notices get lost.
const TRIES: u32 = 3;
/// Reading everything again because something may have gone takes at most this fraction of the time.
const DUTY: u32 = 20;

/// Starts the thread. It ends when nobody can ask any more.
pub(super) fn start(questions: Surveyor, bases: Box<[Prefix]>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let rest = Instant::now();
    let survey =
        SurveyThread { bases, watch: None, in_use: HostUse::default(), named: BTreeSet::new(), rest };
    let run = move || runtime.block_on(survey.run(questions));
    std::thread::Builder::new().name("survey".to_owned()).spawn(run)?;
    Ok(())
}

/// What is known.
struct SurveyThread {
    /// Of all pools.
    bases: Box<[Prefix]>,
    /// None before the first question, and after a failure.
    watch: Option<(RouteWatch, UnixDatagram)>,
    in_use: HostUse,
    /// The nameservers that are in there.
    named: BTreeSet<InUse>,
    /// What may have gone stays until then.
    rest: Instant,
}

impl SurveyThread {
    async fn run(mut self, mut questions: Surveyor) {
        // Read ahead, so that the first request does not wait for a very long list of routes.
        drop(self.look());
        loop {
            let mut waiting = Vec::new();
            match &self.watch {
                None => waiting.extend(questions.recv().await),
                Some((_, bell)) => tokio::select! {
                    asked = questions.recv() => waiting.extend(asked),
                    _ = bell.readable() => {
                        // What it rings for is read by `look`, to the end.
                        let ringing = || Err::<(), _>(std::io::ErrorKind::WouldBlock.into());
                        drop(bell.try_io(Interest::READABLE, ringing));
                        drop(self.look());
                        continue;
                    }
                },
            }
            loop {
                match questions.try_recv() {
                    Ok(asked) => waiting.push(asked),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) if waiting.is_empty() => return,
                    Err(TryRecvError::Disconnected) => break,
                }
            }
            self.answer(waiting);
        }
    }

    /// One look for all of them: it has everything from before they came.
    fn answer(&mut self, mut waiting: Vec<Ask>) {
        if let Some(bases) = waiting.iter_mut().rev().find_map(|asked| asked.bases.take())
            && self.bases != bases
        {
            self.bases = bases;
            self.watch = None;
        }
        let unsure = self.watch.as_ref().is_some_and(|(watch, _)| watch.is_unsure());
        if unsure && Instant::now() >= self.rest {
            self.watch = None;
        }
        let looked = self.look().and_then(|()| self.nameservers());
        tracing::debug!("this host was looked at, requests that waited: {}", waiting.len());
        for asked in waiting {
            asked.answer(match &looked {
                Ok(()) => Ok(self.in_use.clone()),
                Err(error) => Err(error.to_string()),
            });
        }
    }

    /// Catches up with the kernel.
    fn look(&mut self) -> Result<(), host::HostError> {
        let looked = self.catch_up();
        if let Err(error) = &looked {
            tracing::error!("{error}");
            self.watch = None;
        }
        looked
    }

    fn catch_up(&mut self) -> Result<(), host::HostError> {
        // Shared with no change of it: `in_use` is not copied for it.
        let minds = self.in_use.clone();
        let minded = |prefix: &ipnet::IpNet| minds.minds(Prefix::from_net(*prefix));
        let mut changes = match &mut self.watch {
            Some((watch, _)) => watch.catch_up(&minded)?,
            None => None,
        };
        drop(minds);
        let mut tries = 0;
        while changes.is_none() {
            tries += 1;
            changes = self.begin(tries == TRIES)?;
        }
        for change in changes.into_iter().flatten() {
            match change {
                RouteChange::Come(used) => self.in_use.add(used),
                RouteChange::Gone(used) => self.in_use.remove(&used),
            }
        }
        Ok(())
    }

    /// Everything again; none if notices were lost meanwhile. The last time what was read is enough: it was read after
    /// everybody who waits has come, and a later question begins a new watch.
    fn begin(&mut self, last: bool) -> Result<Option<Vec<RouteChange>>, host::HostError> {
        let begun = Instant::now();
        self.watch = None;
        self.in_use = HostUse::limited_to(self.bases.iter().copied());
        self.named.clear();
        let minds = self.in_use.clone();
        let minded = |prefix: &ipnet::IpNet| minds.minds(Prefix::from_net(*prefix));
        let mut watch = RouteWatch::begin(&minded)?;
        self.rest = Instant::now() + begun.elapsed() * DUTY;
        if last {
            return Ok(Some(watch.begun()));
        }
        let changes = watch.catch_up(&minded)?;
        let what = "changes of addresses and routes";
        let failed = |source| host::HostError::Netlink { what, source };
        // The runtime knows no netlink sockets, and wakes up for any descriptor.
        let bell = watch.bell().and_then(|bell| UnixDatagram::from_std(bell.into())).map_err(failed)?;
        self.watch = Some((watch, bell));
        Ok(changes)
    }

    /// The nameservers as their files have them now.
    fn nameservers(&mut self) -> Result<(), host::HostError> {
        let path = Path::new(nameservers::RESOLV_CONF);
        let named = match nameservers::in_use(path, Path::new(nameservers::SYSTEMD_RESOLV_CONF)) {
            Ok(named) => named.into_iter().collect(),
            Err(error) => {
                tracing::warn!("{error}; a subnet is chosen without them");
                return Ok(());
            }
        };
        for gone in self.named.difference(&named) {
            self.in_use.remove(gone);
        }
        for come in named.difference(&self.named) {
            self.in_use.add(come.clone());
        }
        self.named = named;
        Ok(())
    }
}
