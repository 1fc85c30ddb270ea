//! A proxy between dockerd and gipam: forwards every call, and breaks the calls that it should break (P8,
//! P20).

use crate::wire::{Answer, Call, Server, forward};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What the proxy does with a call.
#[derive(Clone, Copy, Debug)]
enum Trick {
    /// Forward it, and lose the answer.
    Lose,
    /// Do not forward it; send this answer.
    Answer(u16, &'static str),
    /// Do not forward it; close the connection, so that dockerd repeats the call without a body.
    Cut,
    /// Forward it, and delay the answer.
    Slow(Duration),
    /// Forward it, and hold the answer until the proxy ends.
    Hold,
}

#[derive(Default)]
struct State {
    tricks: Vec<(&'static str, Trick)>,
    calls: Vec<Call>,
    lost: usize,
    held: usize,
    over: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

pub struct Proxy {
    shared: Shared,
    server: Option<Server>,
}

impl Proxy {
    /// Listens at `door`, passes calls to the socket `behind`.
    pub fn start(door: PathBuf, behind: PathBuf) -> Self {
        let shared = Shared::default();
        let state = shared.clone();
        let server = Server::start(&door, move |call| {
            let trick = take_trick(&mut state.0.lock().unwrap(), call);
            let answer = match trick {
                Some(Trick::Answer(status, text)) => return Some((status, text.to_owned())),
                Some(Trick::Cut) => None,
                _ => forward_patiently(&behind, call),
            };
            if let Some(Trick::Slow(time)) = trick {
                std::thread::sleep(time);
            }
            let mut now = state.0.lock().unwrap();
            now.calls.push(call.clone());
            match trick {
                Some(Trick::Lose) => {
                    now.lost += 1;
                    Answer::None
                }
                Some(Trick::Hold) => {
                    now.held += 1;
                    drop(state.1.wait_while(now, |state| !state.over));
                    Answer::None
                }
                _ => answer,
            }
        });
        Self { shared, server: Some(server) }
    }

    fn play(&self, method: &'static str, trick: Trick) {
        self.shared.0.lock().unwrap().tricks.push((method, trick));
    }

    /// Forwards the next call of this method and loses its answer.
    pub fn lose(&self, method: &'static str) {
        self.play(method, Trick::Lose);
    }

    /// Answers the next call of this method with this status and body, without forwarding it.
    pub fn answer(&self, method: &'static str, status: u16, text: &'static str) {
        self.play(method, Trick::Answer(status, text));
    }

    /// Closes the connection of the next call of this method, without forwarding it.
    pub fn cut(&self, method: &'static str) {
        self.play(method, Trick::Cut);
    }

    /// Forwards the next call of this method and delays its answer.
    pub fn slow(&self, method: &'static str, time: Duration) {
        self.play(method, Trick::Slow(time));
    }

    /// Forwards the next call of this method and holds its answer.
    pub fn hold(&self, method: &'static str) {
        self.play(method, Trick::Hold);
    }

    /// Cancels the faults that have not happened yet; returns how many answers the proxy still held.
    pub fn forget_answers(&self) -> u64 {
        let tricks = std::mem::take(&mut self.shared.0.lock().unwrap().tricks);
        tricks.iter().filter(|(_, trick)| matches!(trick, Trick::Answer(..))).count() as u64
    }

    /// Waits until this many calls are held.
    pub fn until_held(&self, count: usize) {
        crate::wait::until("calls are held", Duration::from_secs(30), || {
            self.shared.0.lock().unwrap().held == count
        });
    }

    /// Checks that every requested fault has happened.
    pub fn assert_played(&self) {
        let state = self.shared.0.lock().unwrap();
        assert!(
            state.tricks.is_empty(),
            "these calls should have been broken, but were never made: {:?}",
            state.tricks
        );
    }

    /// How many answers were lost since the last time, and how many repetitions without a body arrived (P8).
    pub fn take_lost(&self) -> (usize, usize) {
        self.assert_played();
        let mut state = self.shared.0.lock().unwrap();
        let work = |call: &&Call| call.method.contains("Request") || call.method.contains("Release");
        let empty = state.calls.iter().filter(|call| call.body.trim().is_empty()).filter(work).count();
        state.calls.clear();
        (std::mem::take(&mut state.lost), empty)
    }
}

/// How long the proxy waits for a restarting driver, as dockerd does.
fn forward_patiently(behind: &Path, call: &Call) -> Answer {
    for _ in 0..500 {
        if UnixStream::connect(behind).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    forward(behind, call)
}

/// Takes the fault that is due for this call. A repetition without a body is always forwarded.
fn take_trick(state: &mut State, call: &Call) -> Option<Trick> {
    let wanted = |(method, _): &(&str, Trick)| call.method.ends_with(method) && !call.body.is_empty();
    let at = state.tricks.iter().position(wanted)?;
    Some(state.tricks.remove(at).1)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.0.lock().unwrap().over = true;
        self.shared.1.notify_all();
        drop(self.server.take());
    }
}
