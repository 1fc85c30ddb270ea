//! Stands between dockerd and gipam, passes every call on, and loses the answers it is told to lose (P8).

use crate::wire::{Answer, Call, Server, forward};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct State {
    lose: Vec<&'static str>,
    calls: Vec<Call>,
    lost: Vec<Call>,
}

pub struct Proxy {
    state: Arc<Mutex<State>>,
    _server: Server,
}

impl Proxy {
    /// Listens at `door`, passes calls to the socket `behind`.
    pub fn start(door: PathBuf, behind: PathBuf) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let server = Server::start(&door, move |call| {
            let answer = forward(&behind, call);
            let mut state = shared.lock().unwrap();
            state.calls.push(call.clone());
            match state.lose.iter().position(|method| call.method.ends_with(method) && !call.body.is_empty())
            {
                Some(at) => {
                    state.lose.remove(at);
                    state.lost.push(call.clone());
                    Answer::None
                }
                None => answer,
            }
        });
        Self { state, _server: server }
    }

    /// The next call of this method is carried out, and its answer lost.
    pub fn lose(&self, method: &'static str) {
        self.state.lock().unwrap().lose.push(method);
    }

    /// How many answers were lost since the last time, and how many empty repetitions came (P8).
    pub fn take_lost(&self) -> (usize, usize) {
        let mut state = self.state.lock().unwrap();
        assert!(state.lose.is_empty(), "an answer was to be lost, but no such call came: {:?}", state.lose);
        let work = |call: &&Call| call.method.contains("Request") || call.method.contains("Release");
        let empty = state.calls.iter().filter(|call| call.body.trim().is_empty()).filter(work).count();
        state.calls.clear();
        (std::mem::take(&mut state.lost).len(), empty)
    }
}
