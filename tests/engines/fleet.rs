//! The Engines of one Debian suite: several run side by side, each lent to one scenario at a time.
//!
//! Promises: an Engine is started only if no idle one is available, up to a limit; if an Engine of a suite
//! cannot be started, this is reported once for all its scenarios. The remaining Engines end with the fleet.
//! The number of Engines that work at the same time is limited, so that the processors serve them within the
//! timeouts of Docker and of the scenarios.

use crate::engine::Engine;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// The number of Engines of a suite: two may wait while the third works.
pub const SIDE_BY_SIDE: usize = 3;

/// The number of scenarios that may work at the same time: one for each processor, and one more.
pub struct Desks {
    free: Mutex<usize>,
    back: Condvar,
}

/// Permission to work, returned when dropped.
pub struct Desk<'a>(&'a Desks);

impl Desks {
    pub fn of_this_machine() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { free: Mutex::new(processors + 1), back: Condvar::new() }
    }

    pub fn take(&self) -> Desk<'_> {
        let mut free = self.back.wait_while(self.free.lock().unwrap(), |free| *free == 0).unwrap();
        *free -= 1;
        Desk(self)
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap() += 1;
        self.0.back.notify_one();
    }
}

pub struct Fleet {
    pub suite: &'static str,
    /// The Engine's version, as in "28.5".
    pub version: &'static str,
    idle: Mutex<Idle>,
    back: Condvar,
}

#[derive(Default)]
struct Idle {
    engines: Vec<Engine>,
    started: usize,
    broken: Option<String>,
}

impl Fleet {
    pub fn new(suite: &'static str, version: &'static str) -> Self {
        Self { suite, version, idle: Mutex::default(), back: Condvar::new() }
    }

    /// An idle Engine; the error is a sentence for a person.
    pub fn lend(&self) -> Result<Engine, String> {
        let mut idle = self.idle.lock().unwrap();
        loop {
            if let Some(engine) = idle.engines.pop() {
                return Ok(engine);
            }
            if let Some(why) = &idle.broken {
                return Err(why.clone());
            }
            if idle.started < SIDE_BY_SIDE {
                idle.started += 1;
                let number = idle.started;
                drop(idle);
                return self.start(number);
            }
            idle = self.back.wait(idle).unwrap();
        }
    }

    fn start(&self, number: usize) -> Result<Engine, String> {
        let begun = Instant::now();
        let started = Engine::start(self.suite, number);
        match &started {
            Ok(engine) => {
                let (title, took) = (engine.title(), begun.elapsed().as_secs_f32());
                println!("Docker Engine {title} of {} up in {took:.1} s", self.suite);
            }
            Err(why) => {
                self.idle.lock().unwrap().broken = Some(why.clone());
                self.back.notify_all();
            }
        }
        started
    }

    pub fn take_back(&self, engine: Engine) {
        self.idle.lock().unwrap().engines.push(engine);
        self.back.notify_one();
    }
}
