//! WHAT THE VIEWS SHOW OF OTHER HOSTS: maps, counts and fullness, where several hosts divide a pool or share one LAN.
//!
//! Promises: the addresses of another host are never shown as reserved or as free, and add up with all others to the subnet;
//! only what this host has counts for how full it is.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use gipam::claims::division::{Division, HostPlan, SlicedPool};
use gipam::claims::{HostsPlan, PlanPlace};
use gipam::plan::Plan;
use gipam::plan::prefix::{Family, Prefix, number};
use gipam::plan::request::{AddressRequest, Reply, Request, SliceRequest, Space, SubnetRequest, Wanted};
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings, Shared};
use gipam::plan::slices::Cannot;
use gipam::store::Books;
use gipam::view::sink::Sink;
use gipam::view::views::View;
use serde_json::{Value, json};

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

/// The books of host a, and what it knows of host b.
struct Host {
    _directory: tempfile::TempDir,
    books: PathBuf,
    hosts: Option<HostsPlan>,
}

impl Host {
    /// A host with this pool, these slices, and its requests; host b has the others.
    fn new(base: Base, own: &[&str], others: &[&str], requests: &[Request]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gipam.db");
        let name = "lan".to_owned();
        let pool = PoolSettings {
            name,
            v4: Some(base),
            v6: None,
            cooling: 600_000,
            subnet_cooling: 0,
            closed: false,
            provenance: Default::default(),
        };
        let settings = Settings { pools: vec![pool], ..Settings::default() };
        let (mut plan, mut books) = (Plan::new(settings.clone()), Books::open(&path).unwrap());
        books.put_settings(&settings).unwrap();
        let owned = |slice: &&str| SliceRequest::Owned { prefix: prefix(slice), claim: "file".into() };
        let slices = own.iter().map(|slice| Request::Slice(Box::new(owned(slice))));
        for request in slices.chain(requests.iter().cloned()) {
            plan.advance(gipam::clock::now());
            let decision = plan.decide(&request, 7);
            assert!(!matches!(decision.reply.as_ref().unwrap(), Reply::Claim(_)), "{request:?}");
            for change in &decision.changes {
                books.write(&plan, change).unwrap();
                plan.apply(change);
            }
            books.write_counters(&plan).unwrap();
        }
        books.commit().unwrap();
        books.close().unwrap();
        let by_number = base.shared.and_then(|shared| shared.by_number);
        let pool = SlicedPool { base: base.base, slice: base.slice.unwrap(), shared: None, by_number };
        let host = |name: &str, slices: &[&str]| {
            let slices = slices.iter().map(|slice| prefix(slice)).collect();
            HostPlan { name: name.to_owned(), slices, ..HostPlan::default() }
        };
        let hosts = vec![host("a", own), host("b", others)];
        let hosts = HostsPlan {
            host: "a".to_owned(),
            id: None,
            place: PlanPlace::File("/etc/gipam/plan.toml".into()),
            division: Some(Arc::new(Division::new(vec![pool], hosts, BTreeSet::new()))),
            error: None,
            refused: BTreeMap::new(),
            store: None,
        };
        Self { _directory: directory, books: path, hosts: Some(hosts) }
    }

    fn view(&self, path: &str) -> Value {
        let mut none = |_| Ok(());
        let mut sink = Sink::new(&mut none);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let view = View::open(&self.books, gipam::clock::now()).unwrap();
        view.among(self.hosts.clone().map(Arc::new)).answer(path, query, &mut sink).unwrap();
        serde_json::from_slice(&sink.rest()).unwrap()
    }

    /// The segments of a map: from, to, state and host.
    fn segments(&self, of: &str) -> Vec<String> {
        let segment = |row: &Value| {
            let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            ["first", "last", "state", "host"].map(text).join(" ")
        };
        let map = self.view(&format!("/v1/map?of={of}"));
        map[0]["segments"].as_array().unwrap().iter().map(segment).collect()
    }

    fn legend(&self, of: &str) -> String {
        let map = self.view(&format!("/v1/map?of={of}&columns=64&lines=40"));
        let word = |row: &Value| format!("{} {}", row["words"].as_str().unwrap(), row["count"]);
        map[0]["legend"].as_array().unwrap().iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

fn subnet(wanted: Wanted) -> Request {
    Request::Subnet(SubnetRequest {
        space: Space::Local,
        family: Family::V4,
        wanted,
        range: None,
        options: BTreeMap::default(),
        pools: None,
        in_use: [].into(),
        in_a_row: 0,
        dead: Arc::default(),
        cannot: Cannot::default(),
    })
}

/// A pool of /24 in slices of /20.
fn divided() -> Base {
    Base { slice: Some(20), ..Base::new(prefix("10.8.0.0/16"), 24, AddressOrder::Sequential) }
}

/// One LAN in slices of /28, with a router and four addresses by number.
fn lan() -> Base {
    let shared = Some(Shared { by_number: Some(prefix("10.8.6.240/30")) });
    let gateway = Some(number("10.8.6.1".parse().unwrap()));
    let base = Base::new(prefix("10.8.6.0/24"), 24, AddressOrder::Sequential);
    Base { slice: Some(28), gateway, shared, ..base }
}

/// Host a on the LAN, with a slice and an address by number, and this many containers.
fn on_lan(containers: usize) -> Host {
    let exact = subnet(Wanted::Exact(prefix("10.8.6.0/24")));
    let own = ["10.8.6.16/28", "10.8.6.241/32"];
    let alone = Host::new(lan(), &own, &[], std::slice::from_ref(&exact));
    let id = alone.view("/v1/subnets")[0]["id"].as_str().unwrap().to_owned();
    let container = Request::Address(AddressRequest { id, ..AddressRequest::default() });
    let requests = [vec![exact], vec![container; containers]].concat();
    Host::new(lan(), &own, &["10.8.6.32/28", "10.8.6.242/32"], &requests)
}

#[test]
fn a_map_of_a_divided_pool_shows_the_slices_of_other_hosts_and_what_no_host_has() {
    let host = Host::new(
        divided(),
        &["10.8.0.0/20"],
        &["10.8.32.0/20", "10.8.48.0/20"],
        &[subnet(Wanted::Any { size: None })],
    );
    let expected = [
        "10.8.0.0 10.8.0.255 used -",
        "10.8.16.0 10.8.31.255 unclaimed -",
        "10.8.32.0 10.8.47.255 others b",
        "10.8.48.0 10.8.63.255 others b",
        "10.8.64.0 10.8.255.255 unclaimed -",
    ];
    assert_eq!(host.segments("lan"), expected, "the rest of the own slice is free");
    assert_eq!(host.legend("lan"), "used 1, of another host 32, of no host yet 208, free 15");
    let map = host.view("/v1/map?of=lan&columns=64&lines=40");
    let cell = &map[0]["lines"][0]["cells"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&cell["name"], &cell["text"], &cell["label"]),
        (&json!("b"), &json!("of host b, room for 16 subnets of /24"), &json!("10.8.48.0 – 10.8.63.255"))
    );
}

#[test]
fn where_no_plan_is_known_nothing_outside_the_own_slices_is_shown_as_free() {
    let host = Host { hosts: None, ..Host::new(divided(), &["10.8.0.0/20"], &[], &[]) };
    assert_eq!(host.segments("lan"), ["10.8.16.0 10.8.255.255 others -"]);
    assert_eq!(host.legend("lan"), "of another host 240, free 16");
}

#[test]
fn a_map_of_one_lan_tells_other_hosts_addresses_from_reserved_ones() {
    let host = on_lan(3);
    let expected = [
        "10.8.6.0 10.8.6.0 never -",
        "10.8.6.1 10.8.6.1 gateway -",
        "10.8.6.2 10.8.6.15 unclaimed -",
        "10.8.6.16 10.8.6.18 used -",
        "10.8.6.32 10.8.6.47 others b",
        "10.8.6.48 10.8.6.240 unclaimed -",
        "10.8.6.241 10.8.6.241 reserved -",
        "10.8.6.242 10.8.6.242 others b",
        "10.8.6.243 10.8.6.254 unclaimed -",
        "10.8.6.255 10.8.6.255 never -",
    ];
    assert_eq!(host.segments("10.8.6.0%2F24"), expected, "an own address by number is given only by number");
    assert_eq!(
        host.legend("10.8.6.0%2F24"),
        "used 3, gateway 1, reserved 1, of another host 17, never given 2, of no host yet 219, free 13"
    );
}

#[test]
fn only_the_own_slices_count_for_how_full_a_lan_is() {
    for (containers, free, full) in [(0, 16, "5%"), (4, 12, "29%"), (16, 0, "100%")] {
        let host = on_lan(containers);
        let [subnet, pool] = ["/v1/subnets", "/v1/pools"].map(|path| host.view(path)[0].clone());
        let counts = ["leases", "reserved", "others", "free"].map(|key| subnet[key].as_u64().unwrap());
        // The router is leased; network and broadcast are not given; the address by number only if it is requested.
        assert_eq!(counts, [containers as u64 + 1, 3, 236, free]);
        assert_eq!(
            (counts.iter().sum::<u64>(), &subnet["full"], &pool["full"]),
            (256, &json!(full), &json!(full))
        );
        let slices = host.view("/v1/slices");
        let own = slices.as_array().unwrap().iter().find(|row| row["slice"] == "10.8.6.16/28").unwrap();
        assert_eq!(
            (&own["used"], &own["room"], &own["of"]),
            (&json!(containers), &json!(free), &json!("addresses"))
        );
        assert_eq!(host.view("/v1/status")["reserved"], 1, "other hosts' addresses are not reserved");
    }
}
