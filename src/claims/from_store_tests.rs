//! The plan of all hosts, from records of every kind: good ones, missing ones, and ones that this version cannot read.

use super::*;
use crate::claims::machine::calls::Pairs;
use crate::claims::machine::records::{
    PLAN, PlanRecord, SliceRecord, host_key, pool_key, slice_key, written,
};
use crate::plan::settings::{AddressOrder, Base, PoolSettings};

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

fn me() -> HostIdentity {
    let via = vec!["192.0.2.11".to_owned()];
    HostIdentity { id: "1".to_owned(), name: "a".to_owned(), via, machine: String::new() }
}

/// A store, written as hosts write it.
struct Records(Pairs);

impl Records {
    fn new() -> Self {
        let plan = written(&PlanRecord::first("p", "m"));
        let mut records = Self(Pairs::from([(PLAN.to_owned(), plan)]));
        records.pool("10.20.0.0/16", PoolRecord { slice: 20, shared: false, by_number: None });
        records
    }

    fn pool(&mut self, base: &str, record: PoolRecord) {
        self.0.insert(pool_key(prefix(base)), written(&record));
    }

    fn host(&mut self, id: &str, name: &str, change: impl FnOnce(&mut HostRecord)) {
        let mut record = HostRecord::missing(name, None);
        (record.via, record.beat) = (vec![format!("192.0.2.1{id}"), "not an address".to_owned()], 7);
        (record.epoch, record.mark) = (1, "m".to_owned());
        change(&mut record);
        self.0.insert(host_key(id), written(&record));
    }

    fn slice(&mut self, slice: &str, host: &str) {
        let record = SliceRecord { host: host.to_owned(), seq: 1, epoch: 1, run: "r".to_owned() };
        self.0.insert(slice_key(prefix(slice)), written(&record));
    }

    fn plan(&self, settings: &Settings) -> HostsPlan {
        let (listing, glimpse) = (PlanListing::of(&self.0), Glimpse::of(&self.0, "1"));
        let place = PlanPlace::Etcd(vec!["192.0.2.1:2379".to_owned()]);
        HostsPlan::from_store(&me(), place, (&listing, &glimpse), &Signs::default(), settings)
    }
}

fn pool(base: &str, slice: Option<u8>) -> Settings {
    let base = Base { slice, ..Base::new(prefix(base), 24, AddressOrder::Sequential) };
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

/// Name, state and slices of each host.
fn shown(plan: &HostsPlan) -> Vec<(String, &'static str, Vec<String>)> {
    let hosts = &plan.division.as_ref().unwrap().hosts;
    let row = |host: &HostPlan| {
        let slices = host.slices.iter().map(ToString::to_string).collect();
        (host.name.clone(), host.record.as_ref().unwrap().state.name(), slices)
    };
    hosts.iter().map(row).collect()
}

fn row(name: &str, state: &'static str, slices: &[&str]) -> (String, &'static str, Vec<String>) {
    (name.to_owned(), state, slices.iter().map(|slice| (*slice).to_owned()).collect())
}

#[test]
fn hosts_of_every_kind_are_there_with_their_slices() {
    let mut records = Records::new();
    records.host("1", "a", |_| {});
    records.host("2", "b", |host| (host.fenced, host.beat) = (Some(9), 812));
    records.host("3", "c", |host| host.mark = "before the restore".to_owned());
    records.0.insert(host_key("4"), "{\"of\":\"a later version\"}".to_owned());
    records.slice("10.20.0.0/20", "1");
    records.slice("10.20.16.0/20", "2");
    records.slice("10.20.32.0/20", "4");
    records.slice("10.20.48.0/20", "nobody-knows");
    records.0.insert(slice_key(prefix("10.20.64.0/20")), "[]".to_owned());
    let plan = records.plan(&pool("10.20.0.0/16", Some(20)));
    let all = [
        row("4", "unreadable", &["10.20.32.0/20"]),
        row("a", "active", &["10.20.0.0/20"]),
        row("b", "forgotten", &["10.20.16.0/20"]),
        row("c", "absent", &[]),
        row("nobody-knows", "unrecorded", &["10.20.48.0/20"]),
    ];
    assert_eq!((shown(&plan), &plan.error), (all.to_vec(), &None));
    let division = plan.division.as_ref().unwrap();
    assert_eq!(division.unclear, BTreeSet::from([prefix("10.20.64.0/20")]));
    let holes = division.holes(&division.pools[0]);
    assert_eq!(
        holes,
        ["10.20.80.0/20", "10.20.96.0/19", "10.20.128.0/17"].map(prefix),
        "others' are not free"
    );
    let forgotten = division.host("b").unwrap();
    assert_eq!(forgotten.via, ["192.0.2.12".parse::<std::net::IpAddr>().unwrap()]);
    let record = forgotten.record.as_ref().unwrap();
    assert_eq!((&*record.id, record.beat, record.fenced, record.arrived), ("2", 812, Some(9), true));
    assert_eq!(plan.own().map(|host| &*host.name), Some("a"));
    assert_eq!(plan.other_owner(prefix("10.20.16.7/32")).unwrap().0.name, "b");
    assert!(plan.other_owner(prefix("10.20.0.7/32")).is_none(), "this host's own");
    assert_eq!(plan.wanted(), None, "the books follow the claims, not this list");
}

#[test]
fn two_hosts_of_one_name_are_told_apart() {
    let mut records = Records::new();
    records.host("0", "A", |host| host.fenced = Some(5));
    records.host("1", "a", |_| {});
    records.host("2", "a", |_| {});
    records.host("3", "b", |host| host.fenced = Some(5));
    records.host("4", "b", |_| {});
    let names: Vec<_> = shown(&records.plan(&Settings::default())).into_iter().map(|row| row.0).collect();
    assert_eq!(names, ["a", "a (2)", "A (0)", "b", "b (3)"]);
}

#[test]
fn a_pool_that_is_cut_differently_is_refused_with_both_values() {
    let records = Records::new();
    let refused = |settings| records.plan(&settings).refused.into_iter().next();
    assert_eq!(refused(pool("10.20.0.0/16", Some(20))), None);
    assert_eq!(refused(pool("10.30.0.0/16", Some(20))), None, "the first claim puts it into the store");
    assert_eq!(refused(pool("10.30.0.0/16", None)), None, "it belongs to this host alone");
    let text = "make the settings of this host the same, then run gipam reload";
    let etcd = "etcd at 192.0.2.1:2379";
    for (base, slice, said) in [
        ("10.20.0.0/16", Some(22), "pool routed is 10.20.0.0/16 in slices of /22"),
        ("10.20.0.0/16", None, "pool routed is 10.20.0.0/16 without slices"),
        ("10.20.0.0/17", Some(20), "pool routed is 10.20.0.0/17 in slices of /20"),
    ] {
        let said = format!("{said}, but {etcd} has 10.20.0.0/16 in slices of /20; {text}");
        let plan = records.plan(&pool(base, slice));
        assert_eq!(plan.refused, BTreeMap::from([(prefix(base), said.clone())]));
        assert_eq!(plan.error, Some(said));
    }
}

#[test]
fn one_lan_and_many_networks_in_the_same_pool_are_refused() {
    let mut records = Records::new();
    records.pool(
        "10.20.0.0/16",
        PoolRecord { slice: 20, shared: true, by_number: Some("10.20.240.0/20".into()) },
    );
    let refused = records.plan(&pool("10.20.0.0/16", Some(20))).refused.into_values().next().unwrap();
    assert!(
        refused.contains("has 10.20.0.0/16 in slices of /20 of one LAN and 10.20.240.0/20 by number"),
        "{refused}"
    );
}

#[test]
fn a_pool_record_of_a_later_version_is_refused_with_its_text() {
    for value in ["{\"cut\":\"unevenly\"}", "{\"slice\":12,\"shared\":false,\"by_number\":null}"] {
        let mut records = Records::new();
        records.0.insert(pool_key(prefix("10.20.0.0/16")), value.to_owned());
        let refused = records.plan(&pool("10.20.0.0/16", Some(20))).refused.into_values().next().unwrap();
        assert!(refused.contains(value), "{refused}");
    }
}

#[test]
fn a_store_without_a_plan_or_with_one_of_a_later_version_says_so() {
    let mut records = Records::new();
    records.0.insert(PLAN.to_owned(), "{}".to_owned());
    let error = records.plan(&Settings::default()).error.unwrap();
    assert!(error.contains("newer gipam"), "{error}");
    records.0.remove(PLAN);
    let plan = records.plan(&Settings::default());
    assert_eq!(plan.error.unwrap(), "etcd at 192.0.2.1:2379 has no plan; create it: gipam join --new");
    assert_eq!(plan.host, "a", "which has not joined");
}

#[test]
fn a_sign_is_dated_when_it_is_seen_to_change() {
    let mut records = Records::new();
    let (mut signs, at) = (Signs::default(), |signs: &Signs, id| signs.at(id));
    records.host("1", "a", |_| {});
    signs.note(&PlanListing::of(&records.0), 100);
    assert_eq!(at(&signs, "1"), None, "it may be days old");
    records.host("1", "a", |host| host.beat = 8);
    records.host("2", "b", |_| {});
    signs.note(&PlanListing::of(&records.0), 200);
    signs.note(&PlanListing::of(&records.0), 300);
    assert_eq!([at(&signs, "1"), at(&signs, "2")], [Some(200), Some(200)]);
    records.0.remove(&host_key("2"));
    signs.note(&PlanListing::of(&records.0), 400);
    assert_eq!(at(&signs, "2"), None);
}
