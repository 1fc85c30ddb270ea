//! The Engines of one Debian suite: some side by side, each lent to one scenario at a time.
//!
//! Promises: an Engine is started when nobody gives one back, and so many at most; one suite that has no Engine says so
//! once for all its scenarios. Those that are left end with the fleet. However many there are, only so many work at a
//! time as the processors can serve within the patience of Docker and of the scenarios.

use crate::engine::Engine;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

/// Engines of a suite: two may wait while the third works.
pub const SIDE_BY_SIDE: usize = 3;

/// Who may work: one for each processor, and one whose turn is next.
pub struct Desks {
    free: Mutex<usize>,
    back: Condvar,
}

/// A place to work, given back when it is left.
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
    /// As a person names it: "28.5".
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

    /// One that nobody plays on; the error is a sentence for people.
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
