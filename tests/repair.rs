//! Repair: books, ledger and a made-up Engine, with a clock that the test turns.
//!
//! Holds: *fenced*, patient, only what is provably dead, adoption of the living, explicit requests over the dead.
//! The Engine here is a socket that answers as Docker does; real Engines are in `tests/engines`.

#![cfg(test)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gipam::docker::Callers;
use gipam::ledger::{self, Ledger};
use gipam::plan::Plan;
use gipam::plan::change::Kind;
use gipam::plan::prefix::Prefix;
use gipam::plan::request::{AddressRequest, Dead, Reply, Request, Space, SubnetRequest, Wanted};
use gipam::plan::settings::{Base, PoolSettings, Settings};
use gipam::reconcile::{self, Finding, Handle, Reconciler};
use gipam::server::{Door, Handler, Limits, Peer, Refusal, Request as Asked, Response, Server};
use gipam::store::{Books, Reader};
use serde_json::{Value, json};

/// Begins well after the epoch, so that nothing is "long ago" by accident.
const START: u64 = 1_000_000_000;
const GRACE: u64 = 600_000;

/// Each test has a clock of its own, by thread: the ledger and the task are told through these.
macro_rules! clock {
    ($name:ident, $now:ident) => {
        static $name: AtomicU64 = AtomicU64::new(START);
        fn $now() -> u64 {
            $name.load(Ordering::SeqCst)
        }
    };
}

/// What the Engine shows: network name to (subnet, gateway, endpoints by container).
type Shown = BTreeMap<String, (String, String, BTreeMap<String, String>)>;

/// A made-up Engine.
struct Engine(Arc<Mutex<Shown>>);

impl Handler for Engine {
    async fn handle(&self, asked: Asked) -> Response {
        let shown = self.0.lock().unwrap().clone();
        let network =
            |name: &String, (subnet, gateway, endpoints): &(String, String, BTreeMap<String, String>)| {
                let endpoint = |(container, address): (&String, &String)| {
                    (
                        format!("id-{container}"),
                        json!({"Name": container, "IPv4Address": address, "MacAddress": ""}),
                    )
                };
                let containers: serde_json::Map<String, Value> = endpoints.iter().map(endpoint).collect();
                json!({"Name": name, "Id": name, "Scope": "local", "Containers": containers,
                   "IPAM": {"Driver": "gipam", "Config": [{"Subnet": subnet, "Gateway": gateway}]}})
            };
        let body = match asked.path.as_str() {
            "/_ping" => json!("OK"),
            "/networks" => shown.iter().map(|(name, shown)| network(name, shown)).collect(),
            "/containers/json" => json!([]),
            "/info" => json!({"LiveRestoreEnabled": shown.contains_key("live-restore")}),
            path => match path.strip_prefix("/networks/").and_then(|name| shown.get_key_value(name)) {
                Some((name, shown)) => network(name, shown),
                None => return Response::new(404, "application/json", "{}"),
            },
        };
        Response::new(200, "application/json", body.to_string())
    }

    fn refuse(&self, why: Refusal) -> Response {
        Response::new(why.status(), "text/plain", why.to_string())
    }
}

struct World {
    _directory: tempfile::TempDir,
    books: PathBuf,
    ledger: Ledger,
    handle: Handle,
    callers: Arc<Callers>,
    shown: Arc<Mutex<Shown>>,
    task: tokio::task::JoinHandle<()>,
}

fn pool() -> Settings {
    let base = Base { base: Prefix::parse("10.9.0.0/16").unwrap(), size: 24, addresses: Default::default() };
    let pool = PoolSettings {
        name: "lan".to_owned(),
        v4: Some(base),
        v6: None,
        cooling: 0,
        subnet_cooling: 0,
        closed: false,
    };
    Settings { pools: vec![pool], ..Settings::default() }
}

impl World {
    fn new(now: fn() -> u64, only_engine: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("books.db");
        let mut books = Books::open(&path).unwrap();
        books.put_settings(&pool()).unwrap();
        books.commit().unwrap();
        let (ledger, _thread) = ledger::start(Plan::new(pool()), books, Box::new(now), |_| {}).unwrap();
        let shown: Arc<Mutex<Shown>> = Arc::default();
        let socket = directory.path().join("engine.sock");
        let mut server = Server::new();
        server.add(Door::unix(&socket).open().unwrap(), Arc::new(Engine(shown.clone())), Limits::default());
        tokio::spawn(server.serve(std::future::pending(), Duration::ZERO));
        let settings = reconcile::Settings { engine: Some(socket), grace: GRACE, only_engine };
        let drivers = vec!["gipam".to_owned()];
        let callers = Arc::new(Callers::new(ledger.clone(), Vec::new(), Some("boot".to_owned())));
        let (handle, task) =
            Reconciler::new(settings, drivers, ledger.clone(), path.clone(), callers.clone(), now);
        let task = tokio::spawn(task.unwrap().run());
        Self { _directory: directory, books: path, ledger, handle, callers, shown, task }
    }

    async fn ask(&self, request: Request) -> Result<Reply, String> {
        self.ledger.ask(request).await.map(|granted| granted.reply).map_err(|refusal| refusal.text)
    }

    async fn subnet(&self, prefix: Option<&str>) -> Result<String, String> {
        let wanted = match prefix {
            Some(text) => Wanted::Exact(Prefix::parse(text).unwrap()),
            None => Wanted::Any { size: None },
        };
        let request = SubnetRequest {
            space: Space::Local,
            family: gipam::plan::prefix::Family::V4,
            wanted,
            range: None,
            options: BTreeMap::new(),
            pools: None,
            in_use: Arc::from([]),
            dead: self.dead(),
        };
        match self.ask(Request::Subnet(request)).await? {
            Reply::Subnet { id, .. } => Ok(id),
            other => Err(format!("{other:?}")),
        }
    }

    /// An endpoint's address: MACs tell endpoints from auxiliary addresses.
    async fn lease(&self, id: &str, address: Option<&str>, mac: u8) -> Result<IpAddr, String> {
        let request = AddressRequest {
            id: id.to_owned(),
            address: address.map(|text| text.parse().unwrap()),
            mac: Some([2, 0, 0, 0, 0, mac]),
            dead: self.dead(),
            ..AddressRequest::default()
        };
        match self.ask(Request::Address(request)).await? {
            Reply::Address { address, .. } => Ok(address),
            other => Err(format!("{other:?}")),
        }
    }

    async fn gateway(&self, id: &str) {
        let request = AddressRequest { id: id.to_owned(), gateway: true, ..AddressRequest::default() };
        self.ask(Request::Address(request)).await.unwrap();
    }

    fn dead(&self) -> Arc<Dead> {
        self.handle.proofs().read().unwrap().clone()
    }

    fn show(&self, network: &str, subnet: &str, endpoints: &[(&str, &str)]) {
        let endpoints =
            endpoints.iter().map(|(name, address)| ((*name).to_owned(), format!("{address}/24"))).collect();
        let gateway = String::new(); // P26: the Engine may hide it
        self.shown.lock().unwrap().insert(network.to_owned(), (subnet.to_owned(), gateway, endpoints));
    }

    async fn look(&self) -> Vec<Finding> {
        self.handle.look(false).await.unwrap()
    }

    fn plan(&self) -> Plan {
        let reader = Reader::open(&self.books).unwrap();
        let mut plan = Plan::new(reader.settings().unwrap());
        reader.load(|change| plan.apply(&change)).unwrap();
        plan
    }

    /// Every lease in the durable books.
    fn leases(&self) -> Vec<(String, Kind)> {
        let plan = self.plan();
        let held: Vec<_> = plan.subnets().filter(|subnet| subnet.is_held()).collect();
        let leases = held.iter().flat_map(|subnet| {
            let leased = subnet.addresses.records().filter(|(_, record)| record.leased);
            leased.map(|(address, record)| (subnet.state.prefix.address(address).to_string(), record.kind))
        });
        leases.collect()
    }

    fn history(&self, of: &str) -> Vec<(String, Option<String>)> {
        let lines = Reader::open(&self.books).unwrap().history(Some(of), 100).unwrap();
        lines.into_iter().map(|line| (line.event, line.why)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
        self.ledger.stop();
    }
}

fn later(clock: &AtomicU64, millis: u64) {
    clock.fetch_add(millis, Ordering::SeqCst);
}

#[tokio::test]
async fn p20_a_leaked_endpoint_is_freed_after_two_looks_a_grace_time_apart() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    world.gateway(&id).await;
    let live = world.lease(&id, None, 1).await.unwrap().to_string();
    let leaked = world.lease(&id, None, 2).await.unwrap().to_string();
    world.show("web", "10.9.0.0/24", &[("one", &live)]);
    later(&CLOCK, 60_000);
    let findings = world.look().await;
    assert_eq!(
        findings.iter().map(|found| found.address.clone().unwrap()).collect::<Vec<_>>(),
        std::slice::from_ref(&leaked)
    );
    later(&CLOCK, GRACE - 1);
    world.look().await;
    assert_eq!(world.leases().len(), 3, "one millisecond early nothing is freed");
    later(&CLOCK, 1);
    // The task's own look is due at this very moment, too: whichever comes first frees it, the books say so.
    world.look().await;
    let expected = vec![("10.9.0.1".to_owned(), Kind::Gateway), (live, Kind::Endpoint)];
    assert_eq!(world.leases(), expected, "the gateway that the Engine hides (P26) and the living stay");
    let (event, why) = world.history(&leaked).remove(0);
    assert_eq!(event, "released");
    assert!(
        why.unwrap().starts_with("no running endpoint of network web at "),
        "the evidence is in the history"
    );
}

#[tokio::test]
async fn fenced_a_lease_granted_anew_between_two_looks_is_left_alone() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    let address = world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    later(&CLOCK, 60_000);
    world.look().await;
    world.ask(Request::ReleaseAddress { id: id.clone(), address, generation: None }).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
    later(&CLOCK, GRACE);
    world.look().await;
    assert_eq!(world.leases().len(), 1, "the new lease was seen dead once only");
}

const ANOTHERS: &str = "report: another Engine may own it; gipam release SUBNET --force frees it";

#[tokio::test]
async fn gc_apply_frees_an_unknown_subnet_where_there_is_one_engine() {
    clock!(CLOCK, now);
    let world = World::new(now, true);
    world.subnet(Some("10.9.8.0/24")).await.unwrap();
    for _ in 0..2 {
        later(&CLOCK, 60_000);
        world.look().await;
    }
    assert_eq!(
        world.plan().subnets().filter(|subnet| subnet.is_held()).count(),
        1,
        "the grace time is not over"
    );
    assert_eq!(world.handle.look(true).await.unwrap()[0].action, "freed");
    assert_eq!(world.plan().subnets().filter(|subnet| subnet.is_held()).count(), 0);
}

#[tokio::test]
async fn auxiliary_and_unknown_networks_are_reported_never_freed() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(Some("10.9.7.0/24")).await.unwrap();
    let auxiliary =
        AddressRequest { id: id.clone(), address: Some("10.9.7.5".parse().unwrap()), ..Default::default() };
    world.ask(Request::Address(auxiliary)).await.unwrap();
    world.show("aux", "10.9.7.0/24", &[]);
    world.subnet(Some("10.9.8.0/24")).await.unwrap();
    for _ in 0..3 {
        later(&CLOCK, GRACE);
        world.look().await;
    }
    assert_eq!(world.leases(), vec![("10.9.7.5".to_owned(), Kind::Auxiliary)]);
    let findings = world.look().await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].what.as_str(), findings[0].subnet.as_str()), ("subnet", "10.9.8.0/24"));
    assert!(world.plan().subnets().filter(|subnet| subnet.is_held()).count() == 2);
    assert_eq!(world.handle.look(true).await.unwrap()[0].action, ANOTHERS);
    let held = world.plan().subnets().filter(|subnet| subnet.is_held()).count();
    assert_eq!(held, 2, "another Engine may own it: gc --apply leaves it, too");
}

#[tokio::test]
async fn an_address_that_the_engine_shows_live_is_adopted_at_once() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.77")]);
    world.look().await;
    assert_eq!(world.leases(), vec![("10.9.0.77".to_owned(), Kind::Endpoint)]);
    assert!(world.lease(&id, Some("10.9.0.77"), 1).await.unwrap_err().contains("already in use"));
    world.look().await;
    let reader = Reader::open(&world.books).unwrap();
    let names = reader.names().unwrap();
    let (_, shown) = names.values().next().unwrap();
    assert_eq!((shown.container.as_ref(), shown.network.as_ref()), ("one", "web"));
}

#[tokio::test]
async fn fenced_an_address_just_released_is_not_adopted() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    let address = world.lease(&id, None, 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("stopping", &address.to_string())]);
    world.ask(Request::ReleaseAddress { id, address, generation: None }).await.unwrap();
    world.look().await;
    assert_eq!(world.leases(), vec![], "the Engine's list lags behind its releases");
    later(&CLOCK, 60_001);
    world.look().await;
    assert_eq!(world.leases().len(), 1, "a minute later it is alive indeed");
}

#[tokio::test]
async fn a_dead_holder_does_not_block_an_explicit_request() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    later(&CLOCK, 60_000);
    world.look().await;
    assert!(world.lease(&id, Some("10.9.0.9"), 2).await.is_err(), "one look proves nothing");
    later(&CLOCK, 60_000);
    world.look().await;
    world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
    let events: Vec<String> = world.history("10.9.0.9").into_iter().map(|(event, _)| event).collect();
    assert_eq!(events, ["leased", "released", "leased"], "newest first, the replacement is written down");
    assert!(world.lease(&id, Some("10.9.0.9"), 3).await.is_err(), "the proof was of the old generation");
}

#[tokio::test]
async fn a_dead_subnet_does_not_block_where_there_is_one_engine() {
    for only_engine in [false, true] {
        clock!(CLOCK, now);
        let world = World::new(now, only_engine);
        let old = world.subnet(Some("10.9.3.0/24")).await.unwrap();
        for _ in 0..2 {
            later(&CLOCK, 60_000);
            world.look().await;
        }
        let again = world.subnet(Some("10.9.3.0/24")).await;
        if only_engine {
            assert_ne!(again.unwrap(), old, "the old PoolID stays harmless");
            world.ask(Request::ReleaseSubnet { id: old, generation: None }).await.unwrap();
            assert_eq!(world.plan().subnets().filter(|subnet| subnet.is_held()).count(), 1);
        } else {
            assert!(again.unwrap_err().contains("pool overlaps"));
        }
    }
}

#[tokio::test]
async fn an_engine_that_does_not_answer_changes_nothing() {
    clock!(CLOCK, now);
    let world = World::new(now, true);
    let id = world.subnet(None).await.unwrap();
    world.lease(&id, None, 1).await.unwrap();
    let settings = reconcile::Settings {
        engine: Some(world.books.with_file_name("nobody.sock")),
        grace: GRACE,
        only_engine: true,
    };
    let drivers = vec!["gipam".to_owned()];
    let (handle, task) = Reconciler::new(
        settings,
        drivers,
        world.ledger.clone(),
        world.books.clone(),
        world.callers.clone(),
        now,
    );
    let task = tokio::spawn(task.unwrap().run());
    later(&CLOCK, GRACE * 2);
    assert!(handle.look(true).await.unwrap_err().contains("nobody.sock"));
    assert_eq!(world.leases().len(), 1);
    task.abort();
}

/// A process that stands for dockerd, as the door sees it.
struct Dockerd(std::process::Child);

impl Dockerd {
    fn start() -> Self {
        Self(std::process::Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn peer(&self) -> Peer {
        let pid = i32::try_from(self.0.id()).unwrap();
        Peer::Unix { uid: 0, gid: 0, pid: Some(pid), started: gipam::processes::started(pid) }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_lease_of_a_dockerd_that_has_gone_is_replaced_at_once_unless_containers_outlive_it() {
    for live_restore in [false, true] {
        clock!(CLOCK, now);
        let world = World::new(now, false);
        let first = Dockerd::start();
        world.callers.saw(first.peer()).await.unwrap();
        let id = world.subnet(None).await.unwrap();
        world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
        let refused = world.lease(&id, Some("10.9.0.9"), 2).await.unwrap_err();
        assert!(refused.contains("address already in use"), "its dockerd lives: {refused}");
        if live_restore {
            world.show("live-restore", "192.0.2.0/24", &[]);
        }
        world.show("web", "10.9.0.0/24", &[]);
        world.look().await;
        drop(first);
        let second = Dockerd::start();
        world.callers.saw(second.peer()).await.unwrap();
        let again = world.lease(&id, Some("10.9.0.9"), 2).await;
        assert_eq!(again.is_err(), live_restore, "{again:?}");
        let why: Vec<_> = world.history("10.9.0.9").into_iter().filter_map(|(_, why)| why).collect();
        assert_eq!(
            why.iter().any(|why| why.starts_with("the dockerd that asked for it was gone at ")),
            !live_restore
        );
        let third = world.lease(&id, Some("10.9.0.9"), 3).await.unwrap_err();
        assert!(third.contains("address already in use"), "the new lease is of the living: {third}");
    }
}

#[tokio::test]
async fn fenced_a_lease_that_the_engine_shows_alive_is_not_taken_for_that_of_the_gone() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let first = Dockerd::start();
    world.callers.saw(first.peer()).await.unwrap();
    let id = world.subnet(None).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9")]);
    world.look().await;
    drop(first);
    let second = Dockerd::start();
    world.callers.saw(second.peer()).await.unwrap();
    world.look().await;
    assert!(world.lease(&id, Some("10.9.0.9"), 2).await.unwrap_err().contains("already in use"));
    world.show("web", "10.9.0.0/24", &[]);
    world.look().await;
    world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
}
