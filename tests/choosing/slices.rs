//! Pools that several hosts share: what a host gives from its own slices, and what it has to claim first.
//!
//! Promises: the invariant *owned*, with examples. Does not claim anything: each test decides which slices
//! the host owns.

use gipam::plan::prefix::Prefix;
use gipam::plan::request::{AddressRequest, Reply, Request, SliceRequest, SubnetRequest, Want};
use gipam::plan::settings::{Base, PoolSettings, Settings, Shared};

use crate::desk::*;

/// A pool of /24 subnets in slices of /20, before an ordinary pool.
fn private() -> Settings {
    let sliced = pool("sliced", "10.20.0.0/16:24", "");
    let v4 = sliced.v4.map(|base| Base { slice: Some(20), ..base });
    pools(&[PoolSettings { v4, ..sliced }, pool("own", "192.0.2.0/24:28", "")])
}

/// A LAN that hosts share in slices of /28, with the router at .1 and a /29 that is given only by number.
fn shared() -> Settings {
    let lan = pool("lan", "192.0.2.0/24:24", "");
    let by_number = Some(prefix("192.0.2.240/29"));
    let (gateway, shared) = (Some(prefix("192.0.2.1/32").first()), Some(Shared { by_number }));
    let v4 = lan.v4.map(|base| Base { slice: Some(28), gateway, shared, ..base });
    reserve(pools(&[PoolSettings { v4, ..lan }]), &["192.0.2.2"])
}

impl Desk {
    fn own(&mut self, text: &str) {
        let request = SliceRequest::Owned { prefix: prefix(text), claim: "claim".into() };
        assert_eq!(self.ask(Request::Slice(Box::new(request))), Ok(Reply::Done));
    }

    fn wants(&mut self, request: Request) -> Want {
        match self.ask(request) {
            Ok(Reply::Claim(want)) => want,
            other => panic!("{other:?}"),
        }
    }
}

fn room(text: &str) -> Want {
    Want::Room { base: prefix(text) }
}

fn these(text: &str) -> Want {
    Want::These(prefix(text))
}

fn without(request: impl Into<Asked>, want: Want) -> Request {
    let Asked(mut request) = request.into();
    request.note_cannot(want, "host b has it");
    request
}

/// A request for a subnet or for an address.
struct Asked(Request);

impl From<SubnetRequest> for Asked {
    fn from(request: SubnetRequest) -> Self {
        Self(Request::Subnet(request))
    }
}

impl From<AddressRequest> for Asked {
    fn from(request: AddressRequest) -> Self {
        Self(Request::Address(request))
    }
}

#[test]
fn owned_subnets_come_only_from_slices_of_this_host() {
    let mut desk = Desk::new(private());
    assert_eq!(desk.wants(Request::Subnet(any(V4))), room("10.20.0.0/16"));
    desk.own("10.20.48.0/20");
    let given: Vec<String> = (0..16).map(|_| desk.said(any(V4))).collect();
    assert!(given.iter().all(|text| prefix("10.20.48.0/20").contains(prefix(text))), "{given:?}");
    assert_eq!(
        desk.wants(Request::Subnet(any(V4))),
        room("10.20.0.0/16"),
        "a claim comes before the next pool"
    );
    let without_more = without(any(V4), room("10.20.0.0/16"));
    let Ok(Reply::Subnet { prefix: next, .. }) = desk.ask(without_more) else { panic!("the next pool") };
    assert_eq!(next, prefix("192.0.2.0/28"));
}

#[test]
fn owned_also_by_number_and_over_adjacent_slices() {
    let mut desk = Desk::new(private());
    desk.own("10.20.0.0/20");
    assert_eq!(desk.said(exact("10.20.3.0/24")), "10.20.3.0/24");
    assert_eq!(desk.wants(Request::Subnet(exact("10.20.16.0/24"))), these("10.20.16.0/24"));
    assert_eq!(desk.wants(Request::Subnet(exact("10.20.0.0/19"))), these("10.20.0.0/19"));
    let refusal = desk.ask(without(exact("10.20.16.0/24"), these("10.20.16.0/24"))).unwrap_err();
    assert_eq!(refusal.text, "no available pool: 10.20.16.0/24 does not belong to this host: host b has it");
    desk.own("10.20.32.0/20");
    desk.own("10.20.48.0/20");
    assert_eq!(desk.said(exact("10.20.32.0/19")), "10.20.32.0/19", "the subnet covers two slices");
}

/// A network whose slice another host has by now.
fn with_lost_slice(desk: &mut Desk) -> String {
    desk.own("10.20.48.0/20");
    let id = desk.subnet(exact("10.20.50.0/24"));
    assert_eq!(desk.host(gateway(&id)), "10.20.50.1");
    assert_eq!(desk.host(named(&id, "web")), "10.20.50.2");
    assert_eq!(desk.host(named(&id, "db")), "10.20.50.3");
    id
}

fn lose(desk: &mut Desk, text: &str) {
    let lost = SliceRequest::Lost { prefix: prefix(text) };
    assert_eq!(desk.ask(Request::Slice(Box::new(lost))), Ok(Reply::Done));
}

#[test]
fn in_a_lost_slice_containers_keep_their_addresses_and_nobody_gets_a_new_one() {
    let mut desk = Desk::new(private());
    let id = with_lost_slice(&mut desk);
    lose(&mut desk, "10.20.48.0/20");
    for _ in 0..2 {
        desk.free(&id, "10.20.50.2");
        desk.pass(60 * MINUTE);
        assert_eq!(desk.host(named(&id, "web")), "10.20.50.2", "a restart");
    }
    desk.free(&id, "10.20.50.3");
    let by_number = AddressRequest { name: Some("db".into()), ..number(&id, "10.20.50.3") };
    assert_eq!(desk.host(by_number), "10.20.50.3", "a restart with --ip");
    let new = AddressRequest { name: Some("new".into()), ..number(&id, "10.20.50.9") };
    assert_eq!(desk.wants(Request::Address(new)), these("10.20.48.0/20"));
    assert_eq!(desk.wants(Request::Address(named(&id, "new"))), these("10.20.48.0/20"));
    let refusal = desk.ask(without(named(&id, "new"), these("10.20.48.0/20"))).unwrap_err();
    assert_eq!(
        refusal.text,
        "no available addresses on this pool: this host has lost slice 10.20.48.0/20 around 10.20.50.0/24, so only containers that \
         had an address there get theirs again: host b has it; for a new container use another network, or recreate this one: \
         docker network rm, then docker network create"
    );
    desk.own("10.20.48.0/20");
    assert_eq!(desk.host(named(&id, "new")), "10.20.50.4", "the slice is this host's again");
}

/// Engines before 29 do not say whose an address is: a restarted container looks like a new one.
#[test]
fn in_a_lost_slice_nameless_containers_share_the_addresses_that_the_network_gave_before() {
    let mut desk = Desk::new(private());
    let id = with_lost_slice(&mut desk);
    lose(&mut desk, "10.20.48.0/20");
    desk.free(&id, "10.20.50.2");
    desk.free(&id, "10.20.50.3");
    let given: Vec<String> = (0..2).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["10.20.50.2", "10.20.50.3"], "after a restart of the machine");
    assert_eq!(desk.wants(Request::Address(address(&id))), these("10.20.48.0/20"));
    let other = number(&id, "10.20.50.77");
    assert_eq!(desk.wants(Request::Address(other)), these("10.20.48.0/20"));
}

#[test]
fn a_swarm_manager_gets_no_dynamic_subnet_of_a_divided_pool() {
    let mut desk = Desk::new(private());
    desk.own("10.20.0.0/20");
    assert_eq!(
        desk.said(any(V4).from(&["sliced"]).global()),
        "10.20.0.0/24",
        "the subnet comes from a slice of this host"
    );
    let full = Desk::new(private()).said(any(V4).from(&["sliced"]).global());
    assert!(full.contains("has no free /24"), "{full}");
}

#[test]
fn a_shared_subnet_gives_only_addresses_of_own_slices() {
    let mut desk = Desk::new(shared());
    assert!(desk.said(any(V4)).contains("no free IPv4 subnet"), "the pool only serves requests that name it");
    let id = desk.subnet(exact("192.0.2.0/24"));
    assert_eq!(desk.host(gateway(&id)), "192.0.2.1");
    assert_eq!(desk.wants(Request::Address(address(&id))), room("192.0.2.0/24"));
    desk.own("192.0.2.32/28");
    let given: Vec<String> = (0..16).map(|_| desk.host(address(&id))).collect();
    assert_eq!((given[0].as_str(), given[15].as_str()), ("192.0.2.32", "192.0.2.47"));
    assert_eq!(desk.wants(Request::Address(address(&id))), room("192.0.2.0/24"));
    let refusal = desk.ask(without(address(&id), room("192.0.2.0/24"))).unwrap_err();
    assert!(
        refusal.text.contains("(slices: 1, leases: ") && refusal.text.ends_with("host b has it"),
        "{refusal}"
    );
}

#[test]
fn a_shared_subnet_claims_a_slice_before_it_gives_a_cooling_address() {
    let mut desk = Desk::new(shared());
    let id = desk.subnet(exact("192.0.2.0/24"));
    desk.own("192.0.2.32/28");
    (0..16).for_each(|_| drop(desk.host(address(&id))));
    desk.free(&id, "192.0.2.40");
    let other = AddressRequest { mac: Some(gipam::plan::request::Mac([2, 0, 0, 0, 0, 9])), ..address(&id) };
    desk.pass(60_000);
    assert_eq!(desk.wants(Request::Address(other.clone())), room("192.0.2.0/24"));
    let Ok(Reply::Address { address: given, .. }) = desk.ask(without(other, room("192.0.2.0/24"))) else {
        panic!("the cooling address")
    };
    assert_eq!(given, ip("192.0.2.40"));
}

#[test]
fn a_shared_address_by_number_needs_its_slice_unless_every_host_has_it() {
    let mut desk = Desk::new(shared());
    let id = desk.subnet(exact("192.0.2.0/24"));
    let router = AddressRequest { gateway: true, ..number(&id, "192.0.2.1") };
    assert_eq!(desk.host(router), "192.0.2.1", "the router is the same on every host");
    assert_eq!(desk.host(number(&id, "192.0.2.2")), "192.0.2.2", "--aux-address of a reserved address");
    let service = AddressRequest { name: Some("web".into()), ..number(&id, "192.0.2.241") };
    assert_eq!(desk.wants(Request::Address(service.clone())), these("192.0.2.241/32"));
    desk.own("192.0.2.241/32");
    assert_eq!(desk.host(service), "192.0.2.241");
    assert_eq!(
        desk.wants(Request::Address(address(&id))),
        room("192.0.2.0/24"),
        "addresses for requests by number are never chosen dynamically"
    );
    let refusal = desk.ask(without(named_number(&id, "192.0.2.242"), these("192.0.2.242/32"))).unwrap_err();
    assert_eq!(
        refusal.text,
        "no available addresses on this pool: 192.0.2.242 does not belong to this host: host b has it"
    );
}

fn named_number(id: &str, text: &str) -> AddressRequest {
    AddressRequest { name: Some("db".into()), ..number(id, text) }
}

#[test]
fn a_shared_slice_is_in_use_while_an_address_in_it_is_leased_or_cools() {
    let mut desk = Desk::new(shared());
    let id = desk.subnet(exact("192.0.2.0/24"));
    desk.own("192.0.2.32/28");
    desk.own("192.0.2.64/28");
    desk.own("192.0.2.241/32");
    assert_eq!(desk.host(address(&id)), "192.0.2.32");
    assert_eq!(desk.host(named_number(&id, "192.0.2.241")), "192.0.2.241");
    let end = |desk: &mut Desk, change: SliceRequest| match desk.ask(Request::Slice(Box::new(change))) {
        Ok(_) => "done".to_owned(),
        Err(refusal) => refusal.text,
    };
    let gone = |text: &str| SliceRequest::Gone { prefix: prefix(text) };
    let leave = |text: &str| SliceRequest::Leave { prefix: prefix(text) };
    assert_eq!(end(&mut desk, gone("192.0.2.64/28")), "done", "although its subnet is held");
    assert_eq!(end(&mut desk, gone("192.0.2.32/28")), "slice 192.0.2.32/28 is in use: 192.0.2.32 is leased");
    desk.free(&id, "192.0.2.32");
    assert_eq!(
        end(&mut desk, leave("192.0.2.32/28")),
        "slice 192.0.2.32/28 is in use: 192.0.2.32 is still cooling"
    );
    assert!(end(&mut desk, leave("192.0.2.241/32")).contains("192.0.2.241 is leased"));
    desk.free(&id, "192.0.2.241");
    assert_eq!(end(&mut desk, leave("192.0.2.241/32")), "done", "by number, an address moves at once");
    desk.pass(10 * MINUTE);
    assert_eq!(end(&mut desk, leave("192.0.2.32/28")), "done");
    assert_eq!(desk.wants(Request::Address(address(&id))), room("192.0.2.0/24"));
}

#[test]
fn a_range_of_a_shared_subnet_claims_inside_the_range() {
    let mut desk = Desk::new(shared());
    let wide = desk.subnet(exact("192.0.2.0/24").range("192.0.2.128/26"));
    assert_eq!(desk.wants(Request::Address(address(&wide))), room("192.0.2.128/26"));
    desk.release(&wide);
    let narrow = desk.subnet(exact("192.0.2.0/24").range("192.0.2.64/29"));
    assert_eq!(desk.wants(Request::Address(address(&narrow))), these("192.0.2.64/29"));
}

#[test]
fn impossible_geometry_is_refused() {
    let wrong = |change: fn(&mut Base)| {
        let mut settings = shared();
        change(settings.pools[0].v4.as_mut().unwrap());
        settings.check().unwrap_err().to_string()
    };
    assert!(wrong(|base| base.slice = None).contains("also needs slice = LENGTH"));
    assert!(wrong(|base| base.slice = Some(23)).contains("slice /23 does not fit"));
    assert!(wrong(|base| base.size = 26).contains("it is one subnet"));
    let outside =
        |base: &mut Base| base.shared = Some(Shared { by_number: Prefix::parse("198.51.100.0/29") });
    assert!(wrong(outside).contains("198.51.100.0/29 lies outside 192.0.2.0/24"));
    let mut settings = private();
    settings.pools[0].v4 = settings.pools[0].v4.map(|base| Base { slice: Some(25), ..base });
    assert!(settings.check().unwrap_err().to_string().contains("give a length from 16 to 24"));
}
