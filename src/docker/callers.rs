//! Callers: which dockerd process sends a request, identified by boot, process id and start time.
//!
//! Promises: each caller is recorded once in the books, before anything is granted to it, so a lease can be
//! traced to the processes that may have requested it; callers that cannot be distinguished (TCP, another PID
//! namespace, a boot whose id cannot be read) never count as gone. Whether a caller's containers can still be
//! alive is checked on the machine itself, at the first call of the next dockerd. It makes this call before
//! it starts any container (P2), so no new shim runs yet. Costs one lookup in a short list per request, and
//! reads `/proc` once per caller. Does not decide what follows from this.

use std::sync::Mutex;

use crate::ledger::{Ledger, Refusal};
use crate::plan::Caller;
use crate::plan::request::{Gone, Repair, Request};
use crate::processes;
use crate::server::Peer;

/// Name for callers from elsewhere, or in a boot whose id cannot be read: we cannot see whether they have
/// ended.
const ELSEWHERE: &str = "elsewhere";
/// Every runtime starts one process of this name per container; the kernel truncates names to 15 bytes.
const SHIM: &str = "containerd-shim";

/// Whether any container runs on this machine; `None` unless the given calling process is visible in `/proc`.
pub type Containers = Box<dyn Fn(i32) -> Option<bool> + Send + Sync>;

/// Checks `/proc` for container shims.
pub fn containers() -> Containers {
    Box::new(|witness| processes::any_named(SHIM, witness))
}

/// The caller, as far as its connection identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// A process of this boot: number, start time.
    Process(i32, u64),
    /// An unidentified caller on this machine.
    Here,
    /// Any other caller.
    Elsewhere,
}

impl Who {
    fn of(peer: Peer) -> Self {
        match peer {
            Peer::Unix { pid: Some(pid), started: Some(started), .. } => Self::Process(pid, started),
            Peer::Unix { .. } => Self::Here,
            Peer::Tcp(address) if address.ip().to_canonical().is_loopback() => Self::Here,
            Peer::Tcp(_) => Self::Elsewhere,
        }
    }
}

/// The recorded callers; shared by all listeners.
pub struct Callers {
    ledger: Ledger,
    containers: Containers,
    boot: Box<str>,
    /// All callers of this boot, and those from elsewhere.
    known: Mutex<Vec<Who>>,
    /// Names in the books, also of other boots. Locked while a new caller is recorded: two first calls count
    /// as one arrival.
    written: tokio::sync::Mutex<Vec<Box<str>>>,
}

/// A log message: the process that calls for the first time, and those that have ended since the last such
/// call.
fn told(arrived: &str, gone: &[Box<str>]) -> String {
    let person = |name: &str| match *name.split('/').collect::<Vec<_>>() {
        [boot, pid, _] => format!("boot {boot}, pid {pid}"),
        _ if name == ELSEWHERE => "on another machine, or unidentified".to_owned(),
        _ => format!("boot {name}, pid not known"),
    };
    let ended = gone.iter().map(|name| person(name)).collect::<Vec<_>>().join("; ");
    let ended = if ended.is_empty() { ended } else { format!("; ended since the previous one: {ended}") };
    format!("a new Docker Engine process calls for the first time: {}{ended}", person(arrived))
}

impl std::fmt::Debug for Callers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Callers").field("boot", &self.boot).field("known", &self.known).finish()
    }
}

impl Callers {
    /// The callers in the books. In a boot whose id cannot be read, callers cannot be distinguished and never
    /// count as gone.
    pub fn new(
        ledger: Ledger,
        written: Vec<(Box<str>, Caller)>,
        boot: Option<String>,
        containers: Containers,
    ) -> Self {
        let boot: Box<str> = boot.unwrap_or_else(|| ELSEWHERE.to_owned()).into();
        // An ended row of this boot must be reopened before an unidentified caller counts as recorded.
        let open = written.iter().filter(|(_, caller)| caller.until.is_none());
        let known = open.filter_map(|(name, _)| read(&boot, name)).collect();
        let written = written.into_iter().map(|(name, _)| name).collect();
        Self { ledger, containers, boot, known: Mutex::new(known), written: tokio::sync::Mutex::new(written) }
    }

    /// Must be called before anything is granted to this peer.
    ///
    /// # Errors
    /// If the caller could not be recorded. In that case, do not grant anything.
    pub async fn saw(&self, peer: Peer) -> Result<(), Refusal> {
        let who = Who::of(peer);
        let known = || self.known.lock().is_ok_and(|known| known.contains(&who));
        if known() {
            return Ok(());
        }
        let mut written = self.written.lock().await;
        if known() {
            return Ok(());
        }
        let arrived = self.name(who);
        let gone = self.gone(&written, who);
        let left: Vec<Box<str>> = gone.iter().map(|(name, _)| name.clone()).collect();
        tracing::info!("{}", told(&arrived, &left));
        let repair = Repair::Arrival { boot: self.boot.clone(), arrived: arrived.clone(), gone };
        self.ledger.ask(Request::Repair(Box::new(repair))).await?;
        written.retain(|name| !left.contains(name));
        for name in [arrived, self.boot.clone()] {
            if !written.contains(&name) {
                written.push(name);
            }
        }
        if let Ok(mut known) = self.known.lock() {
            known.retain(|known| !matches!(known, Who::Process(pid, started) if !lives(*pid, *started)));
            known.push(who);
        }
        Ok(())
    }

    /// Whether none of the recorded callers is alive.
    pub fn nobody(&self) -> bool {
        let lives = |who: &Who| !matches!(who, Who::Process(pid, started) if !lives(*pid, *started));
        self.known.lock().is_ok_and(|known| !known.iter().any(lives))
    }

    fn name(&self, who: Who) -> Box<str> {
        match who {
            Who::Process(pid, started) => format!("{}/{pid}/{started}", self.boot).into(),
            Who::Here => self.boot.clone(),
            Who::Elsewhere => ELSEWHERE.into(),
        }
    }

    /// The recorded callers that have ended by the time a new one arrives.
    fn gone(&self, written: &[Box<str>], arrived: Who) -> Vec<(Box<str>, Gone)> {
        let gone: Vec<&Box<str>> = written.iter().filter(|name| has_gone(&self.boot, name)).collect();
        if gone.is_empty() {
            return Vec::new();
        }
        // The arriving process shows whether `/proc` lists processes with other rights than ours.
        let alive = match arrived {
            Who::Process(pid, _) => (self.containers)(pid),
            Who::Here | Who::Elsewhere => None,
        };
        let how = if alive == Some(false) { Gone::WithItsContainers } else { Gone::Itself };
        gone.into_iter().map(|name| (name.clone(), how)).collect()
    }
}

fn lives(pid: i32, started: u64) -> bool {
    processes::started(pid) == Some(started)
}

/// Whether the caller with this name in the books has certainly ended.
fn has_gone(boot: &str, name: &str) -> bool {
    if boot == ELSEWHERE {
        return false;
    }
    match read(boot, name) {
        Some(Who::Process(pid, started)) => !lives(pid, started),
        Some(Who::Here | Who::Elsewhere) => false,
        // Of another boot, unless that same process is alive and only the boot id differs.
        None => match process(name) {
            Some((pid, started)) => !lives(pid, started),
            None => true,
        },
    }
}

/// The process that a name ends in, of any boot.
fn process(name: &str) -> Option<(i32, u64)> {
    let (rest, started) = name.rsplit_once('/')?;
    let (_, pid) = rest.rsplit_once('/')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

/// The caller that a name in the books stands for; `None` for another boot.
fn read(boot: &str, name: &str) -> Option<Who> {
    if name.starts_with(ELSEWHERE) {
        return Some(Who::Elsewhere);
    }
    let rest = name.strip_prefix(boot)?;
    if rest.is_empty() {
        return Some(Who::Here);
    }
    let (pid, started) = rest.strip_prefix('/')?.split_once('/')?;
    Some(Who::Process(pid.parse().ok()?, started.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_boot_and_from_elsewhere_are_parsed() {
        assert_eq!(read("b", "b/7/22"), Some(Who::Process(7, 22)));
        assert_eq!(read("b", "b"), Some(Who::Here));
        assert_eq!(read("b", "elsewhere"), Some(Who::Elsewhere));
        assert_eq!(read("b", "c/7/22"), None);
        assert_eq!(read("b", "c"), None);
    }

    #[test]
    fn the_log_names_the_new_caller_and_those_that_have_ended() {
        assert_eq!(
            told("b/7/22", &[]),
            "a new Docker Engine process calls for the first time: boot b, pid 7"
        );
        let ended = ["b/6/11".into(), "a".into()];
        assert_eq!(
            told("b/7/22", &ended),
            "a new Docker Engine process calls for the first time: boot b, pid 7; ended since the previous one: boot b, pid 6; \
             boot a, pid not known"
        );
        assert!(told("elsewhere", &[]).ends_with(": on another machine, or unidentified"));
    }

    #[test]
    fn a_caller_counts_as_gone_only_if_its_process_or_boot_has_certainly_ended() {
        let own = i32::try_from(std::process::id()).unwrap();
        let started = processes::started(own).unwrap();
        let gone = started + 1;
        for (boot, name, expected) in [
            ("b", format!("b/{own}/{started}"), false),
            ("b", format!("b/{own}/{gone}"), true),
            ("b", "b".to_owned(), false),
            ("b", "a".to_owned(), true),
            ("b", format!("a/{own}/{gone}"), true),
            // the same process is alive: only the name of the boot differs
            ("b", format!("a/{own}/{started}"), false),
            // recorded while the boot id could not be read, or checked while it cannot be read
            ("b", format!("elsewhere/{own}/{gone}"), false),
            ("elsewhere", format!("b/{own}/{gone}"), false),
            ("elsewhere", "b".to_owned(), false),
            ("elsewhere", "elsewhere".to_owned(), false),
        ] {
            assert_eq!(has_gone(boot, &name), expected, "{name} in {boot}");
        }
    }
}
