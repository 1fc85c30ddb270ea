//! Adopted networks that share a prefix: *unique* over both, and the network to which a PoolID belongs.

use gipam::plan::change::Kind;
use gipam::plan::error::Refusal;
use gipam::plan::request::{Adoption, Fence, Repair, Reply, Request, ShownLease};

use crate::desk::*;

const LAN: &str = "10.77.0.0/24";
const FIRST: &str = "local/10.77.0.0/24#00000000deadbeef";
const SECOND: &str = "local/10.77.0.0/24#0123456789abcdef";

fn seen(desk: &Desk, range: Option<&str>, leases: &[(&str, &str)]) -> Adoption {
    let lease = |(name, text): &(&str, &str)| ShownLease {
        address: gipam::plan::prefix::number(ip(text)),
        kind: if *name == "router" { Kind::Gateway } else { Kind::Endpoint },
        name: (*name != "router").then(|| (*name).into()),
        mac: None,
        evidence: "seen".into(),
    };
    Adoption {
        prefix: prefix(LAN),
        range: range.map(prefix),
        options: Default::default(),
        id: None,
        leases: leases.iter().map(lease).collect(),
        read: Fence { generation: desk.plan.counters().0, at: desk.now },
        evidence: "seen".into(),
    }
}

fn adopt(desk: &mut Desk, all: Vec<Adoption>) -> Result<Reply, Refusal> {
    desk.ask(Request::Repair(Box::new(Repair::AdoptSubnets(all))))
}

/// Two networks with one router, and a container in each.
fn adopted() -> Desk {
    let mut desk = Desk::new(lan());
    let first = seen(&desk, Some("10.77.0.64/26"), &[("router", "10.77.0.1"), ("a", "10.77.0.65")]);
    let second = seen(&desk, Some("10.77.0.128/26"), &[("router", "10.77.0.1"), ("b", "10.77.0.129")]);
    assert_eq!(adopt(&mut desk, vec![first, second]), Ok(Reply::Done));
    desk
}

/// (id, leased addresses) of each held subnet.
fn books(desk: &Desk) -> Vec<(String, Vec<String>)> {
    let held = desk.plan.subnets().filter(|subnet| subnet.is_held());
    let row = |subnet: &gipam::plan::Subnet| {
        let leased = subnet.addresses.records().filter(|(_, record)| record.leased);
        let texts = leased.map(|(address, _)| subnet.state.prefix.address(address).to_string());
        (subnet.state.id.clone(), texts.collect())
    };
    held.map(row).collect()
}

#[test]
fn unique_networks_that_share_a_prefix_are_adopted_each_with_its_own_leases() {
    let desk = adopted();
    let row = |id: &str, own: &str| (id.to_owned(), vec!["10.77.0.1".to_owned(), own.to_owned()]);
    let expected = [
        row("local/10.77.0.0/24#?10.77.0.64/26", "10.77.0.65"),
        row("local/10.77.0.0/24#?10.77.0.128/26", "10.77.0.129"),
    ];
    assert_eq!(books(&desk), expected);
}

#[test]
fn p19_a_pool_id_of_one_of_several_is_never_guessed() {
    let mut desk = adopted();
    let refused = desk.gave(address(FIRST));
    assert!(
        refused.contains(&format!("gipam adopt 10.77.0.64/26 {FIRST:?} (or 10.77.0.128/26)")),
        "{refused}"
    );
    // A late release of an earlier grant belongs to neither, and a release of the whole subnet does not free
    // anything.
    desk.free(SECOND, "10.77.0.200");
    desk.release(SECOND);
    assert!(desk.gave(address(SECOND)).starts_with("address pool not found"));
    assert_eq!(books(&desk).iter().map(|(_, leased)| leased.len()).sum::<usize>(), 4);
    // A restart releases first, which shows to which subnet the PoolID belongs; the other PoolID belongs to
    // the other subnet.
    desk.free(SECOND, "10.77.0.129");
    assert_eq!(books(&desk).iter().map(|(_, leased)| leased.len()).sum::<usize>(), 4);
    assert_eq!(desk.host(named(SECOND, "b")), "10.77.0.129");
    assert_eq!(desk.host(named(FIRST, "c")), "10.77.0.64");
    let ids: Vec<String> = books(&desk).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [FIRST, SECOND]);
    assert!(
        desk.gave(number(SECOND, "10.77.0.65")).starts_with("address already in use"),
        "an address is leased in only one of the two networks"
    );
    desk.release(SECOND);
    assert_eq!(
        books(&desk)[0].1,
        ["10.77.0.1", "10.77.0.64", "10.77.0.65"],
        "the other subnet's lease stays"
    );
}

/// PoolIDs as gipam makes them for networks with a range.
const OF_FIRST: &str = "local/10.77.0.0/24/10.77.0.64/26#00000000deadbeef";
const OF_SECOND: &str = "local/10.77.0.0/24/10.77.0.128/26#0123456789abcdef";

#[test]
fn p19_a_pool_id_contains_the_range_and_identifies_one_of_several_adopted_networks() {
    let mut desk = Desk::new(lan());
    let given = desk.subnet(exact(LAN).range("10.77.0.64/26"));
    assert_eq!(given, "local/10.77.0.0/24/10.77.0.64/26#0000000000000001");
    let mut desk = adopted();
    for wrong in [
        "local/10.77.0.0/24/10.77.0.0/26#00000000deadbeef",
        "local/10.77.0.0/24/10.77.0.65/26#00000000deadbeef",
        "local/10.77.0.0/24/#00000000deadbeef",
        "local/10.77.0.0/24/10.77.0.64/26/10.77.0.64/26#00000000deadbeef",
        "global/10.77.0.0/24/10.77.0.64/26#00000000deadbeef",
        "local/10.77.0.0/24/10.77.0.64/26#deadbeef",
    ] {
        assert!(desk.gave(address(wrong)).contains("no subnet is granted under PoolID"), "{wrong}");
    }
    // A new container in each, the second network first; no container was restarted.
    assert_eq!(desk.host(named(OF_SECOND, "c")), "10.77.0.128");
    assert_eq!(desk.host(named(OF_FIRST, "d")), "10.77.0.64");
    let ids: Vec<String> = books(&desk).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [OF_FIRST, OF_SECOND]);
    // A PoolID of another grant with the same range does not match any subnet.
    let late = OF_FIRST.replace("dead", "bead");
    assert!(desk.gave(address(&late)).starts_with("address pool not found"));
}

#[test]
fn p19_a_person_cannot_set_the_pool_id_of_another_range() {
    let mut desk = adopted();
    let name = |desk: &mut Desk, text: &str, id: &str| {
        let (prefix, id) = (prefix(text), id.to_owned());
        desk.ask(Request::Repair(Box::new(Repair::NameSubnet { prefix, id })))
    };
    let refused = name(&mut desk, "10.77.0.64/26", OF_SECOND).unwrap_err().to_string();
    let expected = "invalid request: the PoolID names local/10.77.0.0/24/10.77.0.128/26, not local/10.77.0.0/24/10.77.0.64/26";
    assert_eq!(refused, expected);
    assert_eq!(name(&mut desk, "10.77.0.128/26", OF_SECOND), Ok(Reply::Done));
    assert_eq!(
        name(&mut desk, "10.77.0.64/26", FIRST),
        Ok(Reply::Done),
        "a PoolID without a range, from an earlier version"
    );
}

#[test]
fn a_person_selects_the_network_of_a_pool_id_by_its_range() {
    let mut desk = adopted();
    let name = |desk: &mut Desk, text: &str| {
        let (prefix, id) = (prefix(text), FIRST.to_owned());
        desk.ask(Request::Repair(Box::new(Repair::NameSubnet { prefix, id })))
    };
    let refused = name(&mut desk, LAN).unwrap_err().to_string();
    assert!(refused.contains("several networks share 10.77.0.0/24"), "{refused}");
    assert_eq!(name(&mut desk, "10.77.0.128/26"), Ok(Reply::Done));
    assert_eq!(desk.host(address(FIRST)), "10.77.0.128");
    assert_eq!(desk.host(address(SECOND)), "10.77.0.64");
}

#[test]
fn networks_that_share_a_prefix_are_adopted_together_or_not_at_all() {
    let mut desk = Desk::new(lan());
    let range = |desk: &Desk, text: Option<&str>| seen(desk, text, &[]);
    let (first, all) = (range(&desk, Some("10.77.0.64/26")), range(&desk, None));
    let refusal = adopt(&mut desk, vec![first.clone(), all]).unwrap_err();
    assert!(refusal.text.starts_with("address pool overlaps"), "{refusal}");
    assert_eq!(books(&desk), []);
    let copy = Adoption { options: [("overlap".to_owned(), "true".to_owned())].into(), ..first.clone() };
    assert!(adopt(&mut desk, vec![first, copy]).is_err(), "copies made on purpose are adopted one at a time");
}

#[test]
fn unique_a_lease_that_a_sibling_kept_for_safety_moves_to_its_own_network() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact(LAN).range("10.77.0.64/26"));
    desk.gave(number(&id, "10.77.0.129"));
    desk.gave(number(&id, "10.77.0.130"));
    let mut second = seen(&desk, Some("10.77.0.128/26"), &[("b", "10.77.0.129"), ("late", "10.77.0.140")]);
    desk.gave(number(&id, "10.77.0.140"));
    second.read.generation = desk.plan.counters().0 - 1;
    assert_eq!(adopt(&mut desk, vec![second]), Ok(Reply::Done));
    let leased = books(&desk);
    assert_eq!(leased[0].1, ["10.77.0.130", "10.77.0.140"], "fenced: later grants stay");
    assert_eq!(leased[1].1, ["10.77.0.129"]);
}
