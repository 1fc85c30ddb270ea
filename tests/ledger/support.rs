//! A ledger over books in a separate directory, with a clock that only the test advances and a gate in its
//! queue.
//!
//! Promises: whatever was started is stopped and joined. Does not use HTTP.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::ledger::start;
use gipam::clock::{Clock, Hands};
use gipam::ledger::{Altered, Fatal, Granted, Ledger, Refusal};
use gipam::plan::Plan;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{AddressRequest, Reply, Request, Space, SubnetRequest, Wanted};
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings};
use gipam::store::Books;

pub const START: u64 = 1_800_000_000_000;
/// A timeout that only a bug reaches.
const FOREVER: Duration = Duration::from_secs(60);

pub type Answer = Result<Granted, Refusal>;

pub fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

/// One pool, `lan`, with this IPv4 base and subnet size.
pub fn settings(base: &str, size: u8) -> Settings {
    let v4 = Some(Base::new(prefix(base), size, AddressOrder::Sequential));
    let lan = PoolSettings {
        name: "lan".into(),
        v4,
        v6: None,
        cooling: 600_000,
        subnet_cooling: 60_000,
        closed: false,
        provenance: Default::default(),
    };
    Settings { pools: vec![lan], storm_limit: 0, ..Settings::default() }
}

pub fn load(books: &Books, now: u64) -> Plan {
    let mut plan = Plan::new(books.settings().unwrap());
    books.load(|change| plan.apply(&change)).unwrap();
    plan.advance(now);
    plan
}

/// A running ledger.
pub struct House {
    pub ledger: Ledger,
    pub clock: Hands,
    pub path: PathBuf,
    ended: mpsc::Receiver<Result<(), Fatal>>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Removed together with the house.
    directory: Option<tempfile::TempDir>,
}

impl House {
    pub fn new(settings: &Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut house = Self::at(&directory.path().join("gipam.db"), settings);
        house.directory = Some(directory);
        house
    }

    pub fn at(path: &Path, settings: &Settings) -> Self {
        let mut books = Books::open(path).unwrap();
        books.put_settings(settings).unwrap();
        books.commit().unwrap();
        let (times, clock) = Clock::by_hand(START);
        let plan = load(&books, START);
        let (sender, ended) = mpsc::channel();
        let (ledger, thread) = start(plan, books, times, move |outcome| sender.send(outcome).unwrap());
        Self { ledger, clock, path: path.to_owned(), ended, thread: Some(thread), directory: None }
    }

    pub fn pass(&self, millis: u64) {
        self.clock.pass(millis);
    }

    /// Puts a request into the queue; the caller may wait for it later or not at all.
    pub fn begin(&self, request: Request) -> Pending<Answer> {
        let ledger = self.ledger.clone();
        Pending::new(async move { ledger.ask(request).await })
    }

    pub fn ask(&self, request: Request) -> Answer {
        self.begin(request).finish()
    }

    /// Puts a closure that reads the plan into the queue.
    pub fn begin_look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Plan) -> T + Send + 'static,
    ) -> Pending<Result<T, Refusal>> {
        let ledger = self.ledger.clone();
        Pending::new(async move { ledger.look(look).await })
    }

    /// The plan after everything in the queue was carried out.
    pub fn look(&self) -> Plan {
        self.begin_look(Plan::clone).finish().unwrap()
    }

    /// Puts a gate into the queue: requests before it are decided, those after it wait, and no batch is
    /// committed.
    pub fn gate(&self) -> Gate {
        let (entered, inside) = mpsc::channel();
        let (open, opened) = mpsc::channel::<()>();
        let stand = move |_: &Plan| {
            entered.send(()).unwrap();
            let _ = opened.recv_timeout(FOREVER);
            Ok((Altered::default(), ()))
        };
        let ledger = self.ledger.clone();
        let pending = Pending::new(async move { ledger.alter(stand).await });
        Gate { inside, open, pending }
    }

    /// A copy of the books as a power failure at this moment would leave them; returns its path.
    pub fn copy(&self) -> PathBuf {
        let gate = self.gate();
        gate.reached();
        let copy = self.path.with_file_name("copy");
        std::fs::create_dir_all(&copy).unwrap();
        for name in ["gipam.db", "gipam.db-wal"] {
            std::fs::copy(self.path.with_file_name(name), copy.join(name)).unwrap();
        }
        gate.open();
        copy.join("gipam.db")
    }

    /// Waits for the thread; returns how it ended.
    pub fn end(&mut self) -> Result<(), Fatal> {
        let outcome = self.ended.recv_timeout(FOREVER).unwrap();
        self.thread.take().unwrap().join().unwrap();
        outcome
    }

    pub fn stop(&mut self) {
        self.ledger.stop();
        self.end().unwrap();
    }

    pub fn subnet(&self) -> (String, Prefix) {
        subnet_of(&self.ask(any_subnet())).unwrap()
    }

    pub fn exact(&self, text: &str) -> String {
        subnet_of(&self.ask(exact_subnet(text))).unwrap().0
    }

    pub fn address(&self, id: &str) -> std::net::IpAddr {
        address_of(&self.ask(any_address(id))).unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.ledger.stop();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the ledger panicked");
        }
    }
}

/// A blocked queue.
pub struct Gate {
    inside: mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
    pending: Pending<Result<(), Refusal>>,
}

impl Gate {
    /// Waits until the thread is at the gate.
    pub fn reached(&self) {
        self.inside.recv_timeout(FOREVER).unwrap();
    }

    /// Opens the gate; returns when the batch was answered.
    pub fn open(self) {
        self.let_go();
        let _ = self.pending.finish();
    }

    /// Opens the gate without waiting; the batch may contain another one.
    pub fn let_go(&self) {
        self.open.send(()).unwrap();
    }
}

/// A future that was polled once, so that its request is in the queue.
pub struct Pending<T>(Result<T, Boxed<T>>);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T> Pending<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        let mut future: Boxed<T> = Box::pin(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Self(Ok(value)),
            Poll::Pending => Self(Err(future)),
        }
    }

    pub fn is_pending(&mut self) -> bool {
        let Err(future) = &mut self.0 else { return false };
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => {
                self.0 = Ok(value);
                false
            }
            Poll::Pending => true,
        }
    }

    pub fn finish(self) -> T {
        match self.0 {
            Ok(value) => value,
            Err(future) => runtime().block_on(async { tokio::time::timeout(FOREVER, future).await.unwrap() }),
        }
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

pub fn any_subnet() -> Request {
    wanted_subnet(Wanted::Any { size: None })
}

pub fn exact_subnet(text: &str) -> Request {
    wanted_subnet(Wanted::Exact(prefix(text)))
}

fn wanted_subnet(wanted: Wanted) -> Request {
    let (space, family) = (Space::Local, Family::V4);
    let (options, pools, in_use) = (Default::default(), None, [].into());
    Request::Subnet(SubnetRequest {
        space,
        family,
        wanted,
        range: None,
        options,
        pools,
        in_use,
        in_a_row: 0,
        dead: Default::default(),
        cannot: Default::default(),
    })
}

pub fn any_address(id: &str) -> Request {
    Request::Address(AddressRequest { id: id.to_owned(), ..AddressRequest::default() })
}

pub fn release_address(id: &str, address: std::net::IpAddr) -> Request {
    Request::Release { id: id.to_owned(), address: Some(address), generation: None }
}

pub fn release_subnet(id: &str) -> Request {
    Request::Release { id: id.to_owned(), address: None, generation: None }
}

pub fn subnet_of(answer: &Answer) -> Option<(String, Prefix)> {
    match &answer.as_ref().ok()?.reply {
        Reply::Subnet { id, prefix, .. } => Some((id.clone(), *prefix)),
        _ => None,
    }
}

pub fn address_of(answer: &Answer) -> Option<std::net::IpAddr> {
    match &answer.as_ref().ok()?.reply {
        Reply::Address { address, .. } => Some(*address),
        _ => None,
    }
}
