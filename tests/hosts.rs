//! THE HOSTS OF A PLAN: what the views say of a plan whose hosts claim slices in a store, and what the commands say of hosts.
//!
//! Promises: hosts of every kind are there (active, absent, forgotten, without a record), with the store's health; nothing that
//! is unknown is shown as free; without a daemon the commands say what the books know. Needs no store.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::path::Path;
use std::sync::Arc;

use daemon::House;
use gipam::claims::from_store::Signs;
use gipam::claims::machine::calls::Pairs;
use gipam::claims::machine::event::HostIdentity;
use gipam::claims::machine::listing::{Glimpse, PlanListing};
use gipam::claims::machine::records::{
    HostRecord, PLAN, PlanRecord, PoolRecord, SliceRecord, host_key, pool_key, slice_key, written,
};
use gipam::claims::{HostsPlan, PlanPlace, StoreHealth};
use gipam::plan::prefix::Prefix;
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings};
use gipam::store::Books;
use gipam::view::sink::Sink;
use gipam::view::views::View;
use serde_json::{Value, json};

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

fn settings() -> Settings {
    let base = Base {
        base: prefix("10.20.0.0/16"),
        size: 24,
        addresses: AddressOrder::Sequential,
        slice: Some(20),
        gateway: None,
        probe: false,
        shared: None,
    };
    let name = "routed".to_owned();
    let pool = PoolSettings {
        name,
        v4: Some(base),
        v6: None,
        cooling: 0,
        subnet_cooling: 0,
        closed: false,
        provenance: Default::default(),
    };
    Settings { pools: vec![pool], ..Settings::default() }
}

/// Four hosts: a (this one), b with a slice, c that was forgotten with one, and d that has not arrived; and one slice of a later
/// version.
fn known() -> HostsPlan {
    let mut records = Pairs::from([(PLAN.to_owned(), written(&PlanRecord::first("p", "m")))]);
    let pool = PoolRecord { slice: 20, shared: false, by_number: None };
    records.insert(pool_key(prefix("10.20.0.0/16")), written(&pool));
    for (id, name, fenced, epoch) in [
        ("1", "a", None, 1),
        ("2", "b", None, 1),
        ("3", "c", Some(1_767_323_000_000), 1),
        ("4", "d", None, 0),
    ] {
        let via = vec![format!("192.0.2.1{id}")];
        let record =
            HostRecord { via, beat: 7, epoch, mark: "m".to_owned(), ..HostRecord::missing(name, fenced) };
        records.insert(host_key(id), written(&record));
    }
    for (slice, host) in [("10.20.16.0/20", "2"), ("10.20.32.0/20", "3")] {
        let record = SliceRecord { host: host.to_owned(), seq: 1, epoch: 1, run: String::new() };
        records.insert(slice_key(prefix(slice)), written(&record));
    }
    records.insert(slice_key(prefix("10.20.48.0/20")), "of a later version".to_owned());
    let own =
        HostIdentity { id: "1".to_owned(), name: "a".to_owned(), via: Vec::new(), machine: String::new() };
    let (listing, glimpse) = (PlanListing::of(&records), Glimpse::of(&records, "1"));
    let mut signs = Signs::default();
    signs.note(&PlanListing::default(), 0);
    let place = PlanPlace::Etcd(vec!["http://192.0.2.1:2379".to_owned()]);
    let plan = HostsPlan::from_store(&own, place, (&listing, &glimpse), &signs, &settings());
    let trouble = Some("http://192.0.2.1:2379: connection refused".to_owned());
    let health = StoreHealth {
        joined: true,
        answered: Some(1_767_323_000_000),
        trouble,
        stale_since: Some(1_767_323_045_000),
        awaited: vec!["d".to_owned()],
        stopped: None,
    };
    HostsPlan { store: Some(health), ..plan }
}

/// The answer of a view of new books.
fn view(path: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gipam.db");
    let mut books = Books::open(&file).unwrap();
    books.put_settings(&settings()).unwrap();
    books.commit().unwrap();
    books.close().unwrap();
    let mut none = |_| Ok(());
    let mut sink = Sink::new(&mut none);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let view = View::open(&file, gipam::clock::now()).unwrap().among(Some(Arc::new(known())));
    view.answer(path, query, &mut sink).unwrap();
    serde_json::from_slice(&sink.rest()).unwrap()
}

/// These fields of each row, in one text.
fn texts(rows: &Value, keys: &[&str]) -> Vec<String> {
    let text = |row: &Value| {
        keys.iter().map(|key| row[*key].to_string().replace('"', "")).collect::<Vec<_>>().join(" ")
    };
    rows.as_array().unwrap().iter().map(text).collect()
}

#[test]
fn hosts_are_listed_with_their_state_their_slices_and_the_address_that_leads_to_them() {
    let rows = view("/v1/hosts");
    assert_eq!(
        texts(&rows, &["host", "own", "state", "via", "slices", "id", "beat"]),
        [
            "a true active [192.0.2.11] 0 1 7",
            "b false active [192.0.2.12] 1 2 7",
            "c false forgotten [192.0.2.13] 1 3 7",
            "d false absent [192.0.2.14] 0 4 7",
        ]
    );
    assert_eq!(rows[2]["forgotten"], "2026-01-02T03:03:20Z");
}

#[test]
fn slices_of_a_forgotten_host_and_of_a_later_version_are_not_free() {
    assert_eq!(
        texts(&view("/v1/slices"), &["slice", "host", "state"]),
        [
            "10.20.0.0/20 null free",
            "10.20.16.0/20 b held",
            "10.20.32.0/20 c forgotten",
            "10.20.48.0/20 null unclear",
            "10.20.64.0/18 null free",
            "10.20.128.0/17 null free",
        ]
    );
}

#[test]
fn the_status_has_the_hosts_the_slices_of_all_and_how_the_store_does() {
    let plan = &view("/v1/status")["plan"];
    assert_eq!(
        plan,
        &json!({"host": "a", "file": "etcd at http://192.0.2.1:2379", "error": null, "held": 0, "leaving": 0, "lost": 0,
            "room": 0, "hosts": 3, "others": 2, "free": 13, "store": {"joined": true, "answered": "2026-01-02T03:03:20Z",
            "trouble": "http://192.0.2.1:2379: connection refused", "stale_since": "2026-01-02T03:04:05Z", "awaited": ["d"],
            "stopped": null}})
    );
}

#[test]
fn who_names_the_host_and_no_route_leads_to_a_forgotten_one() {
    let who = view("/v1/who?address=10.20.17.9");
    assert_eq!((&who[0]["host"], &who[0]["slice"]), (&json!("b"), &json!("10.20.16.0/20")));
    assert_eq!(texts(&view("/v1/routes"), &["prefix", "host", "kind"]), ["10.20.16.0/20 b via"]);
}

/// What a command prints: exit code, output, and messages.
fn said(house: &House, arguments: &[&str]) -> (i32, String, String) {
    let output = house.gipam(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn among_two(directory: &Path) -> House {
    let plan = directory.join("plan.toml");
    let text = "[[pool]]\nbase = \"10.20.0.0/16\"\nslice = 20\n[[host]]\nname = \"a\"\nvia = [\"192.0.2.11\"]\n\
        slices = [\"10.20.0.0/20\"]\n[[host]]\nname = \"b\"\nvia = [\"192.0.2.12\"]\nslices = [\"10.20.16.0/20\"]\n";
    std::fs::write(&plan, text).unwrap();
    House::with_toml(&format!(
        "[gc]\nengine = \"\"\n[plan]\nfile = {plan:?}\nhost = \"a\"\n[[pool]]\nname = \"routed\"\n\
         v4 = {{ base = \"10.20.0.0/16\", size = 24, slice = 20 }}\n"
    ))
}

#[test]
fn the_hosts_of_a_plan_file_are_listed_and_none_of_them_is_forgotten_by_a_command() {
    let directory = tempfile::tempdir().unwrap();
    let house = among_two(directory.path());
    let daemon = house.start();
    let (code, hosts, _) = said(&house, &["hosts"]);
    let rows: Vec<String> =
        hosts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected =
        ["HOST STATE VIA SLICES LAST SIGN", "a this host 192.0.2.11 1 -", "b active 192.0.2.12 1 -"];
    assert_eq!((code, rows), (0, expected.map(str::to_owned).to_vec()));
    let (code, _, error) = said(&house, &["hosts", "forget", "b"]);
    assert_eq!(code, 2);
    assert!(error.contains("host b is not forgotten: nobody can type its name here"), "{error}");
    let (code, _, error) = said(&house, &["hosts", "forget", "b", "--yes"]);
    assert_ne!(code, 0);
    assert!(
        error.contains("remove the [[host]] from ") && error.contains("then run gipam reload"),
        "{error}"
    );
    let (code, _, error) = said(&house, &["hosts", "forget", "z"]);
    assert_eq!(code, 3);
    assert!(error.contains("the plan has no host z; see gipam hosts"), "{error}");
    daemon.stop();
    let (code, _, error) = said(&house, &["hosts", "forget", "b", "--yes"]);
    assert_eq!(code, 6, "{error}");
}

#[test]
fn a_host_alone_has_no_list_of_hosts() {
    let house = House::with_toml(
        "[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\nv4 = { base = \"10.20.0.0/16\", size = 24 }\n",
    );
    let _daemon = house.start();
    let (code, _, error) = said(&house, &["hosts"]);
    assert_eq!(code, 3);
    assert!(error.contains("no plan of several hosts is configured"), "{error}");
}

#[test]
fn without_a_daemon_the_books_name_the_hosts_that_were_seen_and_nothing_is_shown_as_free() {
    let house = House::with_toml(
        "[gc]\nengine = \"\"\n[plan]\netcd = [\"http://192.0.2.1:2379\"]\nhost = \"a\"\nvia = [\"192.0.2.11\"]\n\
         [[pool]]\nname = \"routed\"\nv4 = { base = \"10.20.0.0/16\", size = 24, slice = 20 }\n",
    );
    let mut books = Books::open(&house.path("gipam.db")).unwrap();
    books.put_settings(&settings()).unwrap();
    let claims =
        r#"{"id":"1","plan":"p","epoch":1,"mark":"m","intended":7,"acknowledged":7,"seq":0,"older":false}"#;
    books.put_meta("claims", claims).unwrap();
    let hosts =
        r#"{"1":{"name":"a","fenced":null},"2":{"name":"b","fenced":null},"3":{"name":"c","fenced":5}}"#;
    books.put_meta("claims.hosts", hosts).unwrap();
    books.commit().unwrap();
    books.close().unwrap();
    let [configuration, books] =
        ["gipam.toml", "gipam.db"].map(|name| house.path(name).display().to_string());
    let options = ["--config", &configuration, "--file", &books];
    let said = |arguments: &[&str]| said(&house, &[arguments, &options].concat());
    let (code, hosts, note) = said(&["hosts", "--json"]);
    assert_eq!(code, 0, "{note}");
    let rows: Value = serde_json::from_str(&hosts).unwrap();
    assert_eq!(
        texts(&rows, &["host", "own", "state", "slices"]),
        ["a true active 0", "b false active null", "c false forgotten null"]
    );
    assert!(note.contains("slices of other hosts are unknown without the daemon"), "{note}");
    let (code, slices, note) = said(&["slices"]);
    assert_eq!((code, slices.as_str()), (0, ""), "{note}");
    let status: Value = serde_json::from_str(&said(&["status", "--json"]).1).unwrap();
    let plan = &status["plan"];
    assert_eq!((&plan["hosts"], &plan["others"], &plan["free"]), (&json!(2), &Value::Null, &Value::Null));
}
