//! Who calls: one dockerd process or another, known by boot, number and start time.
//!
//! Promises: a caller stands in the books before anything is granted to it, so that a lease can be traced to processes
//! that may have asked for it; what cannot be told apart (TCP, another namespace of processes) never counts as gone.
//! Costs a look into a short list per request, and `/proc` once a connection. Does not decide what follows from it.

use std::sync::Mutex;

use crate::ledger::{Ledger, Refusal};
use crate::plan::Caller;
use crate::plan::request::{Gone, Repair, Request};
use crate::processes;
use crate::server::Peer;

/// Whoever comes from elsewhere: nobody here can see whether they have gone.
const ELSEWHERE: &str = "elsewhere";

/// What can be known of a caller at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// A process of this boot: number, start time.
    Process(i32, u64),
    /// Somebody on this machine.
    Here,
    /// Somebody.
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

/// The callers that are written down; shared by all doors.
#[derive(Debug)]
pub struct Callers {
    ledger: Ledger,
    boot: Box<str>,
    /// All of this boot, and from elsewhere.
    known: Mutex<Vec<Who>>,
    /// Names in the books, of other boots as well.
    written: Mutex<Vec<Box<str>>>,
}

impl Callers {
    /// Those that the books hold. Where the boot has no name that can be read, nobody can be told apart.
    pub fn new(ledger: Ledger, written: Vec<(Box<str>, Caller)>, boot: Option<String>) -> Self {
        let boot: Box<str> = boot.unwrap_or_else(|| ELSEWHERE.to_owned()).into();
        // A row of this boot that has ended must be opened again before somebody unknown counts as written down.
        let open = written.iter().filter(|(_, caller)| caller.until.is_none());
        let known = open.filter_map(|(name, _)| read(&boot, name)).collect();
        let written = written.into_iter().map(|(name, _)| name).collect();
        Self { ledger, boot, known: Mutex::new(known), written: Mutex::new(written) }
    }

    /// To be called before anything is granted to this peer.
    ///
    /// # Errors
    /// If it could not be written down: then nothing must be granted.
    pub async fn saw(&self, peer: Peer) -> Result<(), Refusal> {
        let who = Who::of(peer);
        if self.known.lock().is_ok_and(|known| known.contains(&who)) {
            return Ok(());
        }
        let arrived = self.name(who);
        let gone = self.gone();
        let left: Vec<Box<str>> = gone.iter().map(|(name, _)| name.clone()).collect();
        tracing::info!("{arrived} calls for the first time; gone since the last: {left:?}");
        let repair = Repair::Arrival { boot: self.boot.clone(), arrived: arrived.clone(), gone };
        self.ledger.ask(Request::Repair(Box::new(repair))).await?;
        if let Ok(mut written) = self.written.lock() {
            written.retain(|name| !left.contains(name));
            for name in [arrived, self.boot.clone()] {
                if !written.contains(&name) {
                    written.push(name);
                }
            }
        }
        if let Ok(mut known) = self.known.lock() {
            known.retain(|known| !matches!(known, Who::Process(pid, started) if !lives(*pid, *started)));
            known.push(who);
        }
        Ok(())
    }

    /// The only caller there is, if it is one whose end can be seen: what its Engine says holds for it.
    pub fn alone(&self) -> Option<Box<str>> {
        let known = self.known.lock().ok()?;
        match known.as_slice() {
            [who @ Who::Process(pid, started)] if lives(*pid, *started) => Some(self.name(*who)),
            _ => None,
        }
    }

    /// Whether none of those written down lives.
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

    /// Those in the books that have gone.
    fn gone(&self) -> Vec<(Box<str>, Gone)> {
        let written = self.written.lock().map(|written| written.clone()).unwrap_or_default();
        let gone = |name: Box<str>| match read(&self.boot, &name) {
            Some(Who::Process(pid, started)) if !lives(pid, started) => Some((name, Gone::Itself)),
            Some(_) => None,
            None => Some((name, Gone::WithThisBoot)),
        };
        written.into_iter().filter_map(gone).collect()
    }
}

fn lives(pid: i32, started: u64) -> bool {
    processes::started(pid) == Some(started)
}

/// Who a name in the books means; none for those of another boot.
fn read(boot: &str, name: &str) -> Option<Who> {
    if name == ELSEWHERE {
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
    fn names_of_this_boot_are_read_back_and_others_are_of_the_past() {
        assert_eq!(read("b", "b/7/22"), Some(Who::Process(7, 22)));
        assert_eq!(read("b", "b"), Some(Who::Here));
        assert_eq!(read("b", "elsewhere"), Some(Who::Elsewhere));
        assert_eq!(read("b", "c/7/22"), None);
        assert_eq!(read("b", "c"), None);
    }
}
