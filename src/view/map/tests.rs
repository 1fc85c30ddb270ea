//! Tests of maps that are drawn from real plans.

use std::collections::BTreeMap;

use super::*;
use crate::plan::prefix::AddressRange;
use crate::plan::quarantine::ProbeResult;
use crate::plan::request::{
    AddressRequest, InUse, InUseKind, Mac, Reply, Request, Space, SubnetRequest, Wanted,
};
use crate::plan::settings::{AddressOrder, Settings};

const SIZE: Size = Size { columns: 64, lines: 40 };

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

fn plan(base: &str, size: u8, reserved: &[&str]) -> Plan {
    let base = Some(Base::new(prefix(base), size, AddressOrder::Sequential));
    let (v4, v6) = match base.as_ref().map(|base| base.base.family()) {
        Some(Family::V4) => (base, None),
        _ => (None, base),
    };
    let pool = PoolSettings {
        name: "lan".to_owned(),
        v4,
        v6,
        cooling: 60_000,
        subnet_cooling: 0,
        closed: false,
        provenance: Default::default(),
    };
    let reserved = reserved.iter().map(|range| AddressRange::of(prefix(range))).collect();
    Plan::new(Settings { pools: vec![pool], reserved, storm_limit: 0, ..Settings::default() })
}

fn ask(plan: &mut Plan, request: Request, random: u64) -> Reply {
    plan.advance(1);
    let decision = plan.decide(&request, random);
    decision.changes.iter().for_each(|change| plan.apply(change));
    decision.reply.unwrap()
}

fn subnet(plan: &mut Plan, wanted: Wanted, space: Space, random: u64) -> String {
    let family = match &wanted {
        Wanted::Exact(prefix) => prefix.family(),
        Wanted::Any { .. } => Family::V4,
    };
    let overlap = matches!(wanted, Wanted::Exact(_));
    let request = SubnetRequest {
        space,
        family,
        wanted,
        range: None,
        options: BTreeMap::from([("overlap".to_owned(), overlap.to_string())]),
        pools: None,
        in_use: HostUse::default(),
        in_a_row: 0,
        dead: Default::default(),
        cannot: Default::default(),
    };
    match ask(plan, Request::Subnet(request), random) {
        Reply::Subnet { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

fn exact(plan: &mut Plan, text: &str) -> String {
    subnet(plan, Wanted::Exact(prefix(text)), Space::Local, 7)
}

fn address(plan: &mut Plan, id: &str, gateway: bool) {
    let request =
        AddressRequest { id: id.to_owned(), gateway, name: Some("web".into()), ..AddressRequest::default() };
    ask(plan, Request::Address(request), 0);
}

fn maps(plan: &Plan, of: Option<&str>, size: Option<Size>, in_use: &HostUse) -> Vec<MapRow> {
    let mut drawings = Drawing::find(plan, of, size, in_use);
    for drawing in &mut drawings {
        while !drawing.bite(plan, || true) {}
    }
    drawings.into_iter().map(|drawing| drawing.finish(&|_| None)).collect()
}

fn map(plan: &Plan, of: &str, size: Option<Size>) -> MapRow {
    let mut found = maps(plan, Some(of), size, &HostUse::default());
    assert_eq!(found.len(), 1, "{of}");
    found.remove(0)
}

/// The legend as text, such as `used 3, free 9`.
fn legend(map: &MapRow) -> String {
    let words: Vec<String> = map.legend.iter().map(|row| format!("{} {}", row.words, row.count.0)).collect();
    words.join(", ")
}

/// The lines of a map: a character for each place, and the state of folded lines.
fn drawn(map: &MapRow) -> Vec<String> {
    let cells = |cells: &[CellRow]| -> String {
        cells.iter().map(|cell| String::from(sign_of(&cell.state).0).repeat(cell.span.into())).collect()
    };
    let line = |line: &LineRow| match line.lines.0 {
        1 => cells(&line.cells),
        lines => format!("{lines} lines {}", line.cells[0].state),
    };
    map.lines.iter().map(line).collect()
}

#[test]
fn a_small_subnet_is_shown_address_by_address() {
    let mut plan = plan("192.0.2.0/24", 28, &["192.0.2.12/31"]);
    let id = exact(&mut plan, "192.0.2.0/28");
    address(&mut plan, &id, true);
    address(&mut plan, &id, false);
    address(&mut plan, &id, false);
    let map = map(&plan, "192.0.2.0/28", Some(SIZE));
    assert_eq!(drawn(&map), ["xG##........==.x"]);
    assert_eq!(legend(&map), "used 2, gateway 1, reserved 2, never given 2, free 9");
    assert_eq!(map.lines[0].cells[2].name.as_deref(), Some("web"));
    assert_eq!(map.within, ["192.0.2.0/24", "192.0.2.0/28"]);
    assert_eq!((map.scale, map.unit), (32, 32));
    let part = self::map(&plan, "192.0.2.8/29", Some(SIZE));
    assert_eq!((drawn(&part), part.of.as_str()), (vec!["....==.x".to_owned()], "subnet"));
    assert_eq!(part.within, ["192.0.2.0/24", "192.0.2.0/28", "192.0.2.8/29"]);
}

#[test]
fn empty_parts_of_a_wide_pool_are_folded_and_counts_stay_exact() {
    let mut plan = plan("2001:db8::/48", 64, &["2001:db8:0:8000::/56"]);
    exact(&mut plan, "2001:db8::/64");
    let map = map(&plan, "lan", Some(SIZE));
    let free = ".".repeat(63);
    assert_eq!(
        drawn(&map),
        [format!("#{free}").as_str(), "511 lines free", "4 lines reserved", "508 lines free"]
    );
    let firsts: Vec<String> = map.lines.iter().map(|line| line.first.to_string()).collect();
    assert_eq!(firsts, ["2001:db8::", "2001:db8:0:40::", "2001:db8:0:8000::", "2001:db8:0:8100::"]);
    assert_eq!(map.lines[1].cells[0].last.to_string(), "2001:db8:0:7fff:ffff:ffff:ffff:ffff");
    assert_eq!(legend(&map), "used 1, reserved 256, free 65279");
    let cell = &map.lines[0].cells[0];
    assert_eq!((cell.of.as_deref(), cell.span), (Some("2001:db8::/64"), 1));
}

#[test]
fn subnets_that_share_a_place_are_one_cell_that_can_be_opened() {
    let mut plan = plan("10.0.0.0/8", 24, &[]);
    for at in 0..2_048u32 {
        exact(&mut plan, &format!("10.{}.{}.0/24", at / 8, at % 8 * 32));
    }
    let map = map(&plan, "10.0.0.0/8", Some(SIZE));
    assert!(map.lines.len() <= 40 && map.scale == 19, "{} {}", map.lines.len(), map.scale);
    assert_eq!(legend(&map), "used 2048, free 63488");
    let small = self::map(&plan, "10.0.0.0/8", Some(Size { columns: 16, lines: 16 }));
    let cell = &small.lines[0].cells[0];
    assert_eq!((small.scale, cell.things, cell.label.as_str()), (16, 8, "10.0.0.0/16"));
    assert_eq!((cell.text.as_str(), cell.of.as_deref()), ("8 subnets used", Some("10.0.0.0/16")));
    assert_eq!(cell.share, Some(Fullness(8.0 / 256.0)));
    let part = self::map(&plan, "10.0.0.0/16", Some(SIZE));
    assert_eq!((drawn(&part).len(), part.unit, part.of.as_str()), (4, 24, "pool"));
    assert_eq!(drawn(&part)[0], format!("#{0}#{0}", ".".repeat(31)));
}

#[test]
fn a_subnet_larger_than_a_place_is_drawn_to_scale_and_smaller_ones_can_be_found() {
    let mut plan = plan("10.0.0.0/16", 24, &[]);
    exact(&mut plan, "10.0.32.0/19");
    exact(&mut plan, "10.0.1.0/28");
    exact(&mut plan, "10.0.1.64/28");
    let map = map(&plan, "10.0.0.0/16", Some(SIZE));
    assert_eq!(drawn(&map)[0], format!(".#{}{}", ".".repeat(30), "#".repeat(32)));
    let cells = &map.lines[0].cells;
    assert_eq!((cells[1].things, cells[1].of.as_deref()), (2, Some("10.0.1.0/24")));
    assert_eq!((cells[3].span, cells[3].label.as_str()), (32, "10.0.32.0/19"));
    let part = self::map(&plan, "10.0.1.0/24", Some(SIZE));
    assert_eq!(drawn(&part), [format!("####{}####{}", ".".repeat(12), ".".repeat(44))]);
}

#[test]
fn all_of_ipv6_can_be_drawn() {
    let plan = plan("::/0", 64, &[]);
    let map = map(&plan, "lan", Some(SIZE));
    assert_eq!(map.lines.len(), 1);
    assert_eq!(map.lines[0].cells[0].last.to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
}

#[test]
fn bites_draw_what_one_look_draws() {
    let mut plan = plan("10.0.0.0/8", 24, &["10.64.0.0/12"]);
    let mut first = String::new();
    for random in 0..300 {
        let id = subnet(&mut plan, Wanted::Any { size: None }, Space::Local, random);
        first = if random == 0 { id } else { first };
    }
    for _ in 0..100 {
        address(&mut plan, &first, false);
    }
    for of in ["lan", first.as_str()] {
        let whole = |size| {
            let mut drawing = Drawing::find(&plan, Some(of), size, &HostUse::default()).remove(0);
            let (mut bites, mut more) = (1, !drawing.bite(&plan, || false));
            assert!(!more, "one bite draws everything");
            let mut bitten = Drawing::find(&plan, Some(of), size, &HostUse::default()).remove(0);
            more = !bitten.bite(&plan, || true);
            while more {
                (bites, more) = (bites + 1, !bitten.bite(&plan, || true));
            }
            assert!(bites > 5, "{bites}");
            assert_eq!(bitten.finish(&|_| None), drawing.finish(&|_| None));
        };
        [None, Some(SIZE), Some(Size { columns: 16, lines: 2 })].into_iter().for_each(whole);
    }
    // A release of the subnet between two bites ends its drawing.
    let mut drawing = Drawing::find(&plan, Some(&first), Some(SIZE), &HostUse::default()).remove(0);
    assert!(!drawing.bite(&plan, || true));
    ask(&mut plan, Request::Release { id: first, address: None, generation: None }, 0);
    assert!(drawing.bite(&plan, || true));
    assert!(!drawing.finish(&|_| None).lines.is_empty());
}

#[test]
fn each_address_is_drawn_once_where_subnets_are_nested() {
    let mut plan = plan("10.0.0.0/16", 24, &["10.0.0.0/20"]);
    exact(&mut plan, "10.0.4.0/22");
    subnet(&mut plan, Wanted::Exact(prefix("10.0.5.0/24")), Space::Global, 1);
    subnet(&mut plan, Wanted::Exact(prefix("10.0.4.0/22")), Space::Global, 2);
    exact(&mut plan, "10.0.255.0/24");
    let map = map(&plan, "lan", None);
    let shown: Vec<(String, String, &str)> = map
        .segments
        .iter()
        .map(|row| (row.first.to_string(), row.last.to_string(), row.state.as_str()))
        .collect();
    let owned = |(first, last, state): (&str, &str, &'static str)| (first.to_owned(), last.to_owned(), state);
    let expected = [
        ("10.0.0.0", "10.0.3.255", "reserved"),
        ("10.0.4.0", "10.0.7.255", "used"),
        ("10.0.8.0", "10.0.15.255", "reserved"),
        ("10.0.255.0", "10.0.255.255", "used"),
    ];
    assert_eq!(shown, expected.map(owned));
}

#[test]
fn subnets_outside_all_pools_are_places_in_a_separate_row() {
    let mut plan = plan("10.0.0.0/16", 24, &[]);
    for text in ["192.0.2.0/24", "9.0.0.0/24", "10.0.1.0/24", "2001:db8::/64", "10.0.0.0/15"] {
        exact(&mut plan, text);
    }
    assert_eq!(
        maps(&plan, None, None, &HostUse::default()).len(),
        1,
        "without a size, only pools are listed"
    );
    let rows = maps(&plan, None, Some(SIZE), &HostUse::default());
    let [_, outside] = rows.as_slice() else { panic!("{rows:?}") };
    let labels: Vec<&str> = outside.lines[0].cells.iter().map(|cell| cell.label.as_str()).collect();
    assert_eq!(labels, ["9.0.0.0/24", "10.0.0.0/15", "192.0.2.0/24", "2001:db8::/64"]);
    assert_eq!((outside.of.as_str(), legend(outside)), ("outside", "used 4".to_owned()));
    let few = maps(&plan, None, Some(Size { columns: 2, lines: 1 }), &HostUse::default()).remove(1);
    assert_eq!(few.lines[0].cells[0].label, "2 subnets");
}

#[test]
fn a_pool_that_the_host_uses_has_no_free_space() {
    let plan = plan("198.51.100.0/24", 28, &[]);
    let used = InUse {
        prefix: prefix("198.51.100.0/24"),
        kind: InUseKind::OnLinkV4Route,
        text: "198.51.100.0/24 dev lo".to_owned(),
    };
    let rows = maps(&plan, None, Some(SIZE), &[used].into_iter().collect());
    assert_eq!(drawn(&rows[0]), ["x".repeat(16)]);
    assert!(rows[0].unusable.is_some() && legend(&rows[0]) == "never given 16");
}

/// A stranger answers for this address.
fn answer(plan: &mut Plan, address: &str) {
    let mac = Mac::parse("02:00:00:00:00:77").unwrap();
    let answered = ProbeResult::Answered { address: address.parse().unwrap(), mac, began: plan.counters().0 };
    ask(plan, Request::Probed(answered), 0);
}

#[test]
fn an_address_in_quarantine_has_its_own_sign_and_the_mac_of_the_stranger() {
    let mut settings = plan("192.0.2.0/24", 28, &[]).settings().clone();
    settings.pools[0].v4.as_mut().unwrap().probe = true;
    let mut plan = Plan::new(settings);
    exact(&mut plan, "192.0.2.0/28");
    ["192.0.2.3", "192.0.2.8", "192.0.2.9"].iter().for_each(|address| answer(&mut plan, address));
    let whole = map(&plan, "192.0.2.0/28", Some(SIZE));
    assert_eq!(drawn(&whole), ["xo.!....!!.....x"]);
    assert_eq!(legend(&whole), "in quarantine 3, kept for the gateway 1, never given 2, free 10");
    let cell = whole.lines[0].cells.iter().find(|cell| cell.state == "quarantined").unwrap();
    let text = "in quarantine: 02:00:00:00:00:77, which is not a container of this host, has it";
    assert_eq!((cell.text.as_str(), cell.label.as_str(), cell.share), (text, "192.0.2.3", None));
    let small = map(&plan, "192.0.2.0/28", Some(Size { columns: 8, lines: 1 }));
    let texts: Vec<&str> = small.lines[0].cells.iter().map(|cell| cell.text.as_str()).collect();
    assert!(texts.contains(&"2 addresses in quarantine"), "{texts:?}");
}

#[test]
fn a_subnet_on_an_earlier_prefix_of_its_pool_says_so_outside_all_pools() {
    let mut plan = plan("2001:db8:a::/56", 64, &[]);
    for at in ["2001:db8:a:1::/64", "2001:db8:a:2::/64", "2001:db8:9::/64"] {
        exact(&mut plan, at);
    }
    let mut settings = plan.settings().clone();
    let before = settings.pools[0].clone();
    settings.pools[0].v6.as_mut().unwrap().base = prefix("2001:db8:b::/56");
    settings.pools[0].remember_former(&before);
    plan.configure(settings);
    let rows = maps(&plan, None, Some(SIZE), &HostUse::default());
    let [pool, outside] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!(legend(pool), "free 256");
    let cells = &outside.lines[0].cells;
    let shown: Vec<(&str, bool)> = cells.iter().map(|cell| (cell.label.as_str(), cell.stale)).collect();
    let expected = [("2001:db8:9::/64", false), ("2001:db8:a:1::/64", true), ("2001:db8:a:2::/64", true)];
    assert_eq!(shown, expected);
    assert!(cells[1].text.ends_with(", on an earlier prefix of pool lan"), "{}", cells[1].text);
    assert!(!cells[0].text.contains("earlier"), "{}", cells[0].text);
}

#[test]
fn a_pool_that_is_one_subnet_is_as_full_as_that_subnet() {
    let mut plan = plan("192.0.2.0/24", 24, &[]);
    let row = |plan: &Plan| {
        crate::view::subnets::pool_row(plan, (0, Family::V4), &HostUse::default()).unwrap().share.percent()
    };
    assert_eq!(row(&plan), 0);
    let id = exact(&mut plan, "192.0.2.0/24");
    (0..20).for_each(|_| address(&mut plan, &id, false));
    assert_eq!(row(&plan), 7, "20 of 253 addresses, and not all space for subnets");
}
