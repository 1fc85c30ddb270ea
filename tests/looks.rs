//! Detailed views of the books: `map`, `who`, `explain`, and the filters of `leases` and `history`.
//!
//! Checks: *conserved* (a map shows every address once), and that an explanation ends with what the plan
//! would do.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::IpAddr;
use std::path::PathBuf;

use gipam::plan::Plan;
use gipam::plan::change::ShownHolder;
use gipam::plan::error::ErrorKind;
use gipam::plan::prefix::{AddressRange, Family, Prefix, number};
use gipam::plan::request::{AddressRequest, Mac, Repair, Reply, Request, Space, SubnetRequest, Wanted};
use gipam::plan::settings::{Base, PoolSettings, Settings};
use gipam::store::Books;
use serde_json::{Value, json};

use crate::offline::whole_answer;

#[path = "support/daemon.rs"]
mod daemon;
#[path = "page/engine.rs"]
#[allow(dead_code, reason = "only the page's tests use all of it")]
mod engine;
#[path = "support/http.rs"]
mod http;
#[path = "support/offline.rs"]
mod offline;

/// Books with a pool `lan`, a network 192.0.2.0/28, a gateway, web (.2, leased), db (.3, released a moment
/// ago), and an address that was once requested by number (.9, leased).
struct Trial {
    _directory: tempfile::TempDir,
    path: PathBuf,
    plan: Plan,
    books: Books,
}

fn settings() -> Settings {
    let base = Base::new(Prefix::parse("192.0.2.0/24").unwrap(), 28, Default::default());
    let pool = PoolSettings {
        name: "lan".to_owned(),
        v4: Some(base),
        v6: None,
        cooling: 3_600_000,
        subnet_cooling: 0,
        closed: false,
        provenance: Default::default(),
    };
    let reserved = ["192.0.2.12-192.0.2.13", "192.0.2.128/25"].map(|text| AddressRange::parse(text).unwrap());
    Settings { pools: vec![pool], reserved: reserved.to_vec(), ..Settings::default() }
}

fn mac(last: u8) -> Option<Mac> {
    Some(Mac([2, 0, 0, 0, 0, last]))
}

impl Trial {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gipam.db");
        let mut books = Books::open(&path).unwrap();
        books.put_settings(&settings()).unwrap();
        books.commit().unwrap();
        let mut trial = Self { _directory: directory, path, plan: Plan::new(settings()), books };
        let id = trial.subnet();
        let asked = |name: Option<&str>, address: Option<&str>, last: u8| AddressRequest {
            id: id.clone(),
            name: name.map(Into::into),
            address: address.map(|text| text.parse().unwrap()),
            mac: mac(last),
            ..AddressRequest::default()
        };
        trial.ask(&Request::Address(AddressRequest { gateway: true, mac: None, ..asked(None, None, 0) }));
        trial.ask(&Request::Address(asked(Some("web"), None, 1)));
        trial.ask(&Request::Address(asked(Some("db"), None, 2)));
        trial.ask(&Request::Address(asked(None, Some("192.0.2.9"), 9)));
        let address = "192.0.2.3".parse().unwrap();
        trial.ask(&Request::Release { id, address: Some(address), generation: None });
        trial
    }

    fn subnet(&mut self) -> String {
        let request = SubnetRequest {
            space: Space::Local,
            family: Family::V4,
            wanted: Wanted::Any { size: None },
            range: None,
            options: Default::default(),
            pools: None,
            in_use: [].into(),
            in_a_row: 0,
            dead: Default::default(),
            cannot: Default::default(),
        };
        match self.ask(&Request::Subnet(request)) {
            Reply::Subnet { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, request: &Request) -> Reply {
        self.plan.advance(gipam::clock::now());
        let decision = self.plan.decide(request, 7);
        for change in &decision.changes {
            self.books.write(&self.plan, change).unwrap();
            self.plan.apply(change);
        }
        self.books.write_counters(&self.plan).unwrap();
        self.books.commit().unwrap();
        decision.reply.unwrap()
    }

    /// Sets the Engine's names for the holder of an address.
    fn named(&mut self, text: &str, container: &str, container_id: &str, network: &str) {
        let subnet = self.plan.subnets().next().unwrap();
        let address = subnet.number_of(text.parse().unwrap()).unwrap();
        let (serial, generation) = (subnet.state.serial, subnet.addresses.get(address).unwrap().generation);
        let shown = ShownHolder {
            container: container.into(),
            container_id: container_id.into(),
            network: network.into(),
        };
        let wish = Repair::Name { serial, address, generation, shown };
        assert_eq!(self.ask(&Request::Repair(Box::new(wish))), Reply::Done);
    }

    fn look(&self, path: &str) -> Value {
        serde_json::from_slice(&whole_answer(&self.path, path).unwrap()).unwrap()
    }

    fn addresses(&self, query: &str) -> Vec<String> {
        let rows = self.look(&format!("/v1/leases{query}"));
        rows.as_array().unwrap().iter().map(|row| row["address"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn conserved_a_map_of_a_subnet_shows_every_address_once() {
    let trial = Trial::new();
    let map = trial.look("/v1/map?of=192.0.2.0/28");
    let states: Vec<(String, String, String)> = map[0]["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            (text("first"), text("last"), text("state"))
        })
        .collect();
    let expected = [
        ("192.0.2.0", "192.0.2.0", "never"),
        ("192.0.2.1", "192.0.2.1", "gateway"),
        ("192.0.2.2", "192.0.2.2", "used"),
        ("192.0.2.3", "192.0.2.3", "cooling"),
        ("192.0.2.9", "192.0.2.9", "used"),
        ("192.0.2.12", "192.0.2.13", "reserved"),
        ("192.0.2.15", "192.0.2.15", "never"),
    ];
    let owned =
        |(first, last, state): (&str, &str, &str)| (first.to_owned(), last.to_owned(), state.to_owned());
    assert_eq!(states, expected.map(owned));
    let subnet = trial.plan.subnets().next().unwrap();
    let counts = trial.plan.count_addresses(subnet);
    let shown: u128 = states
        .iter()
        .map(|(first, last, _)| {
            let place = |text: &str| number(text.parse::<IpAddr>().unwrap());
            place(last) - place(first) + 1
        })
        .sum();
    assert_eq!(shown + counts.free, 16);
}

#[test]
fn a_map_of_a_pool_shows_subnets_and_reservations() {
    let trial = Trial::new();
    for path in ["/v1/map", "/v1/map?of=lan", "/v1/map?of=192.0.2.0%2F24"] {
        let map = trial.look(path);
        let segments = map[0]["segments"].as_array().unwrap();
        let states: Vec<&str> = segments.iter().map(|row| row["state"].as_str().unwrap()).collect();
        assert_eq!(
            states,
            ["used", "reserved"],
            "two reserved addresses lie in a subnet that is used: {path}"
        );
        assert_eq!(segments[1]["last"], "192.0.2.255");
    }
    let error = whole_answer(&trial.path, "/v1/map?of=wan").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Missing);
}

#[test]
fn who_distinguishes_leased_cooling_and_free() {
    let trial = Trial::new();
    let who = |address: &str| trial.look(&format!("/v1/who?address={address}"))[0].clone();
    let web = who("192.0.2.2");
    assert_eq!((&web["state"], &web["lease"]["holder"]), (&Value::from("leased"), &Value::from("web")));
    assert_eq!(web["history"][0]["event"], "leased");
    let db = who("192.0.2.3");
    assert_eq!((&db["state"], &db["last_holder"]), (&Value::from("cooling"), &Value::from("db")));
    let free = who("192.0.2.100");
    assert_eq!((&free["state"], &free["subnet"]), (&Value::from("free"), &Value::Null));
    assert_eq!(free["pool"], "lan");
    assert_eq!(who("192.0.2.200")["reserved"], true);
    let unknown = whole_answer(&trial.path, "/v1/who?address=198.51.100.1").unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::Missing);
    assert_eq!(who("web")["address"], "192.0.2.2", "`who` finds the holder by the name that Docker sent");
    assert_eq!(who("db")["state"], "cooling", "a former holder is shown with its last address");
    let nobody = whole_answer(&trial.path, "/v1/who?address=nobody").unwrap_err();
    assert!(nobody.text.contains("gipam history nobody"), "{nobody}");
}

#[test]
fn leases_are_filtered_by_subnet_holder_state_and_time() {
    let trial = Trial::new();
    assert_eq!(trial.addresses(""), ["192.0.2.1", "192.0.2.2", "192.0.2.9"]);
    assert_eq!(trial.addresses("?all=true").len(), 4);
    assert_eq!(trial.addresses("?state=cooling"), ["192.0.2.3"]);
    assert_eq!(trial.addresses("?holder=web"), ["192.0.2.2"]);
    assert_eq!(trial.addresses("?holder=02:00:00:00:00:09"), ["192.0.2.9"]);
    assert_eq!(trial.addresses("?subnet=192.0.2.0%2F28").len(), 3);
    assert_eq!(trial.addresses("?subnet=192.0.2.16%2F28").len(), 0);
    assert_eq!(trial.addresses("?since=1h").len(), 3);
    assert_eq!(trial.addresses("?since=2999-01-01T00:00:00Z").len(), 0);
    assert_eq!(trial.look("/v1/history?since=1h&limit=2").as_array().unwrap().len(), 2);
    assert_eq!(trial.look("/v1/history?since=2999-01-01T00:00:00Z").as_array().unwrap().len(), 0);
    for wrong in ["/v1/leases?state=gone", "/v1/leases?since=then", "/v1/history?limit=many"] {
        assert_eq!(whole_answer(&trial.path, wrong).unwrap_err().kind, ErrorKind::Invalid, "{wrong}");
    }
}

#[test]
fn the_engines_names_find_holders_and_networks_everywhere() {
    let mut trial = Trial::new();
    let id = "4f5e6a7b8c9d0e1f2a3b";
    trial.named("192.0.2.9", "cache", id, "front");
    trial.named("192.0.2.2", "web", "77aa88bb99cc", "front");
    let networks = |trial: &Trial| -> Vec<Value> {
        trial.look("/v1/leases").as_array().unwrap().iter().map(|row| row["network"].clone()).collect()
    };
    // Even if several networks share a subnet, the network of a container is known.
    assert_eq!(networks(&trial), [Value::Null, "front".into(), "front".into()]);
    assert_eq!(trial.addresses("?holder=front"), ["192.0.2.2", "192.0.2.9"]);
    let lines = |trial: &Trial, of: &str| {
        let rows = trial.look(&format!("/v1/history?of={of}"));
        let line = |row: &Value| (row["event"].to_string(), row["address"].to_string());
        rows.as_array().unwrap().iter().map(line).collect::<Vec<_>>()
    };
    let line = |event: &str, address: &str| (format!("{event:?}"), format!("{address:?}"));
    let cache = [line("named", "192.0.2.9"), line("leased", "192.0.2.9")];
    assert_eq!(lines(&trial, "cache"), cache);
    assert_eq!(lines(&trial, &id[..12]), cache, "the history finds the container by the beginning of its id");
    assert_eq!(lines(&trial, "front"), [cache.as_slice(), &[line("leased", "192.0.2.2")]].concat());
    assert!(lines(&trial, &id[..11]).is_empty());
    let who = |of: &str| trial.look(&format!("/v1/who?address={of}"));
    for of in [id, &id[..12], "cache", "02:00:00:00:00:09", "0200.0000.0009"] {
        assert_eq!(
            (&who(of)[0]["address"], &who(of)[0]["lease"]["network"]),
            (&"192.0.2.9".into(), &"front".into())
        );
    }
    for of in ["4f5e6a7b8c9", "77aa88bb99cd"] {
        assert_eq!(
            whole_answer(&trial.path, &format!("/v1/who?address={of}")).unwrap_err().kind,
            ErrorKind::Missing
        );
    }
    // The network of the whole subnet: the gateway gets it, too.
    let state = &trial.plan.subnets().next().unwrap().state;
    let (serial, generation, network) = (state.serial, state.generation, "front".into());
    trial.ask(&Request::Repair(Box::new(Repair::NameNetwork { serial, generation, network })));
    assert_eq!(networks(&trial), ["front", "front", "front"]);
    assert_eq!(trial.addresses("?holder=front"), ["192.0.2.1", "192.0.2.2", "192.0.2.9"]);
    let who = trial.look("/v1/who?address=front");
    assert_eq!(who.as_array().unwrap().len(), 3, "{who}");
}

#[test]
fn an_explanation_ends_with_the_decision() {
    let mut trial = Trial::new();
    let next = trial.look("/v1/explain?pool=lan")[0]["given"].clone();
    assert_eq!(next, "192.0.2.16/28");
    let dynamic = trial.look("/v1/explain?pool=192.0.2.0%2F28&address=any")[0].clone();
    assert_eq!(dynamic["given"], "192.0.2.3/28", "as for a restart: the only one released just now");
    let why = dynamic["steps"].to_string();
    assert!(
        why.contains("the only one released just now") && why.contains("still cooling: it would be given"),
        "{why}"
    );
    let own = trial.look("/v1/explain?pool=192.0.2.0%2F28&holder=db")[0].clone();
    assert_eq!(own["given"], "192.0.2.3/28", "the holder's own address, cooling or not: {own}");
    let taken = trial.look("/v1/explain?address=192.0.2.2")[0].clone();
    assert!(
        taken["refused"]
            .as_str()
            .unwrap()
            .contains("address already in use: 192.0.2.2 is held by container web")
    );
    let never = trial.look("/v1/explain?address=192.0.2.0")[0].clone();
    assert!(never["refused"].as_str().unwrap().contains("is the network address"));
    let overlap = trial.look("/v1/explain?pool=192.0.2.0%2F25")[0].clone();
    assert!(overlap["refused"].as_str().unwrap().contains("pool overlaps"));
    let large = trial.look("/v1/explain?pool=lan&size=8")[0].clone();
    assert!(large["refused"].as_str().unwrap().contains("has no room for a /8"), "{large}");
    for (wrong, kind) in [
        ("pool=wan", ErrorKind::Missing),
        ("address=198.51.100.7", ErrorKind::Missing),
        ("holder=web", ErrorKind::Invalid),
        ("pool=192.0.2.0%2F28&mac=zz", ErrorKind::Invalid),
    ] {
        assert_eq!(
            whole_answer(&trial.path, &format!("/v1/explain?{wrong}")).unwrap_err().kind,
            kind,
            "{wrong}"
        );
    }
    trial.subnet();
    let prefixes: Vec<String> = trial.plan.subnets().map(|subnet| subnet.state.prefix.to_string()).collect();
    assert!(
        prefixes.contains(&next.as_str().unwrap().to_owned()),
        "the explanation matches the grant: {prefixes:?}"
    );
}

/// The steps of an explanation whose text contains this.
fn steps(explained: &Value, part: &str) -> Vec<String> {
    let steps = explained[0]["steps"].as_array().unwrap().iter().map(ToString::to_string);
    steps.filter(|step| step.contains(part)).collect()
}

#[test]
fn an_explanation_names_the_network_whose_subnet_is_skipped_because_the_books_lack_it() {
    let house = daemon::House::with_toml("");
    let shown = engine::start(&house.path("engine"));
    let network = |name: &str, subnet: &str| {
        let ipam = json!({"Driver": "other", "Config": [{"Subnet": subnet}]});
        (name.to_owned(), json!({"Name": name, "Id": name, "Scope": "local", "Containers": {}, "IPAM": ipam}))
    };
    shown.lock().unwrap().extend([network("lost", "198.18.7.0/28"), network("over", "198.18.0.0/15")]);
    house.configure(&format!(
        "storm_limit = 0\n[gc]\nengine = \"{}\"\n[[pool]]\nname = \"lan\"\nv4 = {{ base = \"198.18.7.0/27\", size = 28 }}\n",
        house.path("engine").display()
    ));
    let daemon = house.start();
    house.json(&["gc"]);
    let over = "198.18.7.0/28 of Docker's network lost";
    let explained = house.json(&["explain", "--pool", "lan"]);
    assert_eq!(explained[0]["given"], "198.18.7.16/28", "as for a new network: {explained}");
    assert_eq!(
        steps(&explained, "skipped").len(),
        1,
        "a network that covers the whole pool does not count: {explained}"
    );
    assert!(steps(&explained, over)[0].contains("in use, skipped: "), "{explained}");
    let (_, given) = daemon.wire().subnet(false);
    assert_eq!(given, "198.18.7.16/28");
    let explained = house.json(&["explain", "--pool", "lan"]);
    let refused = explained[0]["refused"].as_str().unwrap();
    assert!(refused.contains(&format!("(subnets held: 1, in use here: {over})")), "{refused}");
    let explained = house.json(&["explain", "--pool", "198.18.7.0/29"]);
    assert_eq!(explained[0]["given"], "198.18.7.0/29", "a person may request the prefix: {explained}");
    assert_eq!(steps(&explained, over).len(), 1, "{explained}");
    shown.lock().unwrap().clear();
    house.json(&["gc"]);
    let explained = house.json(&["explain", "--pool", "lan"]);
    assert_eq!(explained[0]["given"], "198.18.7.0/28", "the network that used it is gone: {explained}");
    assert_eq!(steps(&explained, "the books lack"), Vec::<String>::new());
    daemon.stop();
}

#[test]
fn an_explanation_without_a_daemon_says_that_it_does_not_know_the_engines_networks() {
    let explained = Trial::new().look("/v1/explain?pool=lan");
    let said = steps(&explained, "networks that the books lack");
    assert!(
        said.len() == 1 && said[0].contains("unknown, because the Engine's list was not read"),
        "{explained}"
    );
}
