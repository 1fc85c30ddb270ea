//! Books, ledger and repair with a fake Engine: a socket that answers as Docker does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::ledger;
use gipam::clock::{Clock, Moment};
use gipam::docker::Callers;
use gipam::ledger::Ledger;
use gipam::plan::Plan;
use gipam::plan::change::Kind;
use gipam::plan::prefix::Prefix;
use gipam::plan::request::{AddressRequest, Dead, Mac, Reply, Request, Space, SubnetRequest, Wanted};
use gipam::plan::settings::{Base, PoolSettings, Settings};
use gipam::reconcile::{self, Finding, Handle, Reconciler};
use gipam::server::{DoorRefusal, Handler, HttpRequest, Limits, Listener, Response, Server};
use gipam::store::{Books, Reader};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// Starts well after the epoch, so that nothing is "long ago" by accident.
pub const START: u64 = 1_000_000_000;
pub const GRACE: u64 = 600_000;

/// Each test has its own clock, per thread: the ledger and the task read it through these functions.
#[macro_export]
macro_rules! clock {
    ($name:ident, $now:ident) => {
        static $name: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new($crate::world::START);
        fn $now() -> u64 {
            $name.load(std::sync::atomic::Ordering::SeqCst)
        }
    };
}

/// A clock that never steps: both of its times come from this function.
pub fn clock_of(now: fn() -> u64) -> Clock {
    Clock::new(move || Moment { wall: now(), steady: now() })
}

/// What the Engine shows for a network.
#[derive(Clone, Default)]
pub struct Network {
    pub subnet: String,
    pub gateway: String,
    pub range: String,
    pub auxiliary: BTreeMap<String, String>,
    /// Address and prefix length by container.
    pub endpoints: BTreeMap<String, String>,
    /// Other fields, such as `ConfigOnly`; they override those made from the fields above.
    pub fields: serde_json::Map<String, Value>,
}

/// Networks by name.
pub type Shown = BTreeMap<String, Network>;

/// Blocks the list of networks: the first notification says that it was requested, the second releases the
/// answer.
type Gate = Arc<(Notify, Notify)>;

/// A fake Engine: its networks, its containers as they are listed, its `/info`, and the gate that blocks it.
struct Engine(Arc<Mutex<Shown>>, Arc<Mutex<Vec<Value>>>, Arc<Mutex<Value>>, Arc<Mutex<Option<Gate>>>);

impl Handler for Engine {
    async fn handle(&self, asked: HttpRequest) -> Response {
        let gate = if asked.path() == "/networks" { self.3.lock().unwrap().take() } else { None };
        if let Some(gate) = gate {
            gate.0.notify_one();
            gate.1.notified().await;
        }
        let shown = self.0.lock().unwrap().clone();
        let network = |name: &String, shown: &Network| {
            // Swarm's own endpoints are listed by name, containers by id
            let endpoint = |(container, address): (&String, &String)| {
                let of_swarm = container.starts_with("lb-") || container == "ingress-sbox";
                let key = if of_swarm { container.clone() } else { format!("id-{container}") };
                (key, json!({"Name": container, "IPv4Address": address, "MacAddress": ""}))
            };
            let containers: serde_json::Map<String, Value> = shown.endpoints.iter().map(endpoint).collect();
            let config = json!({"Subnet": shown.subnet, "Gateway": shown.gateway, "IPRange": shown.range,
                "AuxiliaryAddresses": shown.auxiliary});
            let mut network = json!({"Name": name, "Id": name, "Scope": "local", "Containers": containers,
                "IPAM": {"Driver": "gipam", "Options": {"com.example": "x"}, "Config": [config]}});
            network.as_object_mut().unwrap().extend(shown.fields.clone());
            network
        };
        let body = match asked.path() {
            "/_ping" => json!("OK"),
            "/networks" => shown.iter().map(|(name, shown)| network(name, shown)).collect(),
            "/containers/json" => Value::Array(self.1.lock().unwrap().clone()),
            "/info" => {
                let mut info = self.2.lock().unwrap().clone();
                if info.is_null() {
                    return Response::new(403, "text/plain", "forbidden");
                }
                let count = self.1.lock().unwrap().len();
                info.as_object_mut().unwrap().entry("Containers").or_insert(json!(count));
                info
            }
            path => match path.strip_prefix("/networks/").and_then(|name| shown.get_key_value(name)) {
                Some((name, shown)) if !shown.fields.contains_key("Leaving") => network(name, shown),
                _ => return Response::new(404, "application/json", "{}"),
            },
        };
        Response::new(200, "application/json", body.to_string())
    }

    fn refuse(&self, why: DoorRefusal) -> Response {
        Response::new(why.status, "text/plain", why.to_string())
    }
}

/// Forwards everything to the fake Engine, except for its stream of events, which does not end.
async fn front(listener: UnixListener, behind: PathBuf, happens: Arc<Notify>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (behind, happens) = (behind.clone(), happens.clone());
        tokio::spawn(async move {
            let mut head = vec![0; 4_096];
            let read = stream.read(&mut head).await.unwrap();
            if !head.starts_with(b"GET /events") {
                let mut engine = UnixStream::connect(behind).await.unwrap();
                engine.write_all(&head[..read]).await.unwrap();
                return drop(copy_bidirectional(&mut stream, &mut engine).await);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            loop {
                happens.notified().await;
                stream.write_all(b"3\r\n{}\n\r\n").await.unwrap();
            }
        });
    }
}

pub struct World {
    _directory: tempfile::TempDir,
    pub books: PathBuf,
    pub ledger: Ledger,
    pub handle: Handle,
    pub callers: Arc<Callers>,
    pub shown: Arc<Mutex<Shown>>,
    containers: Arc<Mutex<Vec<Value>>>,
    /// The answer of /info; null means that it is forbidden.
    pub info: Arc<Mutex<Value>>,
    /// Whether containers are running, as `/proc` would show it.
    pub outlived: Arc<Mutex<Option<bool>>>,
    /// If set, the next list of networks waits at this gate.
    pub gate: Arc<Mutex<Option<Gate>>>,
    /// Signals that something happens to a network or a container.
    pub happens: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

pub fn pool() -> Settings {
    let base = Base::new(Prefix::parse("10.9.0.0/16").unwrap(), 24, Default::default());
    let pool = PoolSettings {
        name: "lan".to_owned(),
        v4: Some(base),
        v6: None,
        cooling: 0,
        subnet_cooling: 0,
        closed: false,
        provenance: Default::default(),
    };
    Settings { pools: vec![pool], ..Settings::default() }
}

impl World {
    pub fn new(now: fn() -> u64, only_engine: bool) -> Self {
        Self::patient(now, only_engine, GRACE)
    }

    pub fn patient(now: fn() -> u64, only_engine: bool, grace: u64) -> Self {
        Self::by(clock_of(now), only_engine, grace)
    }

    pub fn by(clock: Clock, only_engine: bool, grace: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("books.db");
        let mut books = Books::open(&path).unwrap();
        books.put_settings(&pool()).unwrap();
        books.commit().unwrap();
        let (ledger, _thread) = ledger::start(Plan::new(pool()), books, clock.clone(), drop);
        let (shown, containers) = <(Arc<Mutex<Shown>>, Arc<Mutex<Vec<Value>>>)>::default();
        let info = Arc::new(Mutex::new(json!({"ID": "engine", "DockerRootDir": "/var/lib/docker"})));
        let outlived = Arc::new(Mutex::new(Some(false)));
        let gate = Arc::new(Mutex::new(None));
        let (seen, happens) = (outlived.clone(), Arc::new(Notify::new()));
        let (socket, behind) = (directory.path().join("engine.sock"), directory.path().join("behind.sock"));
        let mut server = Server::new();
        server.add(
            Listener::unix(&behind, 0o600, None, None).unwrap(),
            Arc::new(Engine(shown.clone(), containers.clone(), info.clone(), gate.clone())),
            Limits::default(),
        );
        tokio::spawn(server.serve(std::future::pending(), Duration::ZERO));
        tokio::spawn(front(UnixListener::bind(&socket).unwrap(), behind, happens.clone()));
        let settings = reconcile::RepairSettings { engine: Some(socket), grace, only_engine };
        let drivers = vec!["gipam".to_owned()];
        let callers = Arc::new(Callers::new(
            ledger.clone(),
            Vec::new(),
            Some("boot".to_owned()),
            Box::new(move |_| *seen.lock().unwrap()),
        ));
        let (handle, task) =
            Reconciler::new(settings, drivers, ledger.clone(), path.clone(), callers.clone(), clock);
        let task = tokio::spawn(task.unwrap().run());
        Self {
            _directory: directory,
            books: path,
            ledger,
            handle,
            callers,
            shown,
            containers,
            info,
            outlived,
            gate,
            happens,
            task,
        }
    }

    pub async fn ask(&self, request: Request) -> Result<Reply, String> {
        self.ledger.ask(request).await.map(|granted| granted.reply).map_err(|refusal| refusal.text)
    }

    /// Adds one more network with this prefix, on purpose.
    pub async fn copy(&self, prefix: &str) {
        let overlap = ("overlap".to_owned(), "true".to_owned());
        self.granted(Space::Local, Some(prefix), [overlap].into()).await.unwrap();
    }

    pub async fn subnet(&self, prefix: Option<&str>) -> Result<String, String> {
        self.granted(Space::Local, prefix, BTreeMap::new()).await
    }

    /// Adds a network of the Swarm.
    pub async fn global(&self, prefix: &str) {
        self.granted(Space::Global, Some(prefix), BTreeMap::new()).await.unwrap();
    }

    async fn granted(
        &self,
        space: Space,
        prefix: Option<&str>,
        options: BTreeMap<String, String>,
    ) -> Result<String, String> {
        let wanted = match prefix {
            Some(text) => Wanted::Exact(Prefix::parse(text).unwrap()),
            None => Wanted::Any { size: None },
        };
        let request = SubnetRequest {
            space,
            family: gipam::plan::prefix::Family::V4,
            wanted,
            range: None,
            options,
            pools: None,
            in_use: [].into(),
            in_a_row: 0,
            dead: self.dead(),
            cannot: Default::default(),
        };
        match self.ask(Request::Subnet(request)).await? {
            Reply::Subnet { id, .. } => Ok(id),
            other => Err(format!("{other:?}")),
        }
    }

    /// Requests an endpoint's address: a MAC distinguishes endpoints from auxiliary addresses.
    pub async fn lease(&self, id: &str, address: Option<&str>, mac: u8) -> Result<IpAddr, String> {
        let request = AddressRequest {
            id: id.to_owned(),
            address: address.map(|text| text.parse().unwrap()),
            mac: Some(Mac([2, 0, 0, 0, 0, mac])),
            dead: self.dead(),
            ..AddressRequest::default()
        };
        match self.ask(Request::Address(request)).await? {
            Reply::Address { address, .. } => Ok(address),
            other => Err(format!("{other:?}")),
        }
    }

    pub async fn release(&self, id: &str, address: IpAddr) {
        let request = Request::Release { id: id.to_owned(), address: Some(address), generation: None };
        self.ask(request).await.unwrap();
    }

    pub async fn gateway(&self, id: &str) {
        let request = AddressRequest { id: id.to_owned(), gateway: true, ..AddressRequest::default() };
        self.ask(Request::Address(request)).await.unwrap();
    }

    pub fn dead(&self) -> Arc<Dead> {
        self.handle.proofs().read().unwrap().clone()
    }

    pub fn show(&self, network: &str, subnet: &str, endpoints: &[(&str, &str)]) {
        let endpoints =
            endpoints.iter().map(|(name, address)| ((*name).to_owned(), format!("{address}/24"))).collect();
        // P26: the Engine may hide the gateway
        let shown = Network { subnet: subnet.to_owned(), endpoints, ..Network::default() };
        self.shown.lock().unwrap().insert(network.to_owned(), shown);
    }

    /// Books and an Engine that shows one of their networks; otherwise, missing networks would not prove
    /// anything.
    pub async fn witnessed(now: fn() -> u64, only_engine: bool) -> Self {
        let world = Self::new(now, only_engine);
        world.subnet(Some("10.9.200.0/24")).await.unwrap();
        world.show("witness", "10.9.200.0/24", &[]);
        world
    }

    /// Adds a container that the Engine lists in this state and with this address.
    pub fn say(&self, container: &str, state: &str, network: &str, address: &str) {
        let attached = json!({"NetworkID": network, "IPAddress": address});
        self.containers.lock().unwrap().push(json!({"Id": format!("id-{container}"), "State": state,
            "Names": [format!("/{container}")], "NetworkSettings": {"Networks": {network: attached}}}));
    }

    /// Adds a container that the Engine lists in this way.
    pub fn say_all(&self, container: Value) {
        self.containers.lock().unwrap().push(container);
    }

    pub async fn look(&self) -> Vec<Finding> {
        self.handle.look(false).await.unwrap()
    }

    pub fn plan(&self) -> Plan {
        let reader = Reader::open(&self.books).unwrap();
        let mut plan = Plan::new(reader.settings().unwrap());
        reader.load(|change| plan.apply(&change)).unwrap();
        plan
    }

    /// Every lease in the durable books.
    pub fn leases(&self) -> Vec<(String, Kind)> {
        let plan = self.plan();
        let held: Vec<_> = plan.subnets().filter(|subnet| subnet.is_held()).collect();
        let leases = held.iter().flat_map(|subnet| {
            let leased = subnet.addresses.records().filter(|(_, record)| record.leased);
            leased.map(|(address, record)| (subnet.state.prefix.address(address).to_string(), record.kind))
        });
        leases.collect()
    }

    pub fn history(&self, of: &str) -> Vec<(String, Option<String>)> {
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

pub fn later(clock: &AtomicU64, millis: u64) {
    clock.fetch_add(millis, Ordering::SeqCst);
}
