//! The routes in the kernel: reads gipam's own, adds and removes single ones, and understands notifications.
//!
//! Promises: a route belongs to gipam if it has gipam's protocol number, is in the main table and lies in a pool; its metric says of
//! which kind it is. No other one is ever read as gipam's, replaced or removed. Adding never replaces a route: if the place of a route is taken, the kernel
//! refuses it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, parse_ip, parse_u32};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteScope, RouteType,
};
use rustix::io::Errno;

use super::difference::KernelObject;
use super::kernel::{KernelSockets, News, Notice, RTM_NEWNETCONF, bytes, is};
use super::kind::ObjectCalls;
use super::routes::{RouteTarget, SliceRoute};
use crate::host::netlink::{RTM_GETROUTE, RTM_NEWROUTE};
use crate::host::routes::attributes;
use crate::host::watch::{RTM_DELADDR, RTM_DELLINK, RTM_DELROUTE, RTM_NEWLINK, down};
use crate::plan::prefix::{Family, Prefix};
use crate::view::routes::{DISCARD_METRIC, METRIC, PROTOCOL};

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_PREF: u16 = 20;
/// `struct rtmsg`.
const ROUTE_HEADER: usize = 12;

/// How often an interrupted dump is repeated at most.
const TRIES: u32 = 5;

/// The words for a person if gipam may not change routes.
pub(super) const FORBIDDEN: &str = "gipam may not change the routes of this host: it needs CAP_NET_ADMIN; install the drop-in kernel-routes.conf (see docs/install.md)";

/// Where a next hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// On the network of this interface.
    Link(u32),
    /// It is an address of this host itself.
    Here,
    /// Behind another router, or nowhere.
    Far,
}

/// Which routes of gipam are meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum OwnRoutes<'a> {
    /// Those to slices in these pools.
    Slices(&'a BTreeSet<Prefix>),
    /// The discard routes for these whole pools.
    Discards(&'a BTreeSet<Prefix>),
}

impl OwnRoutes<'_> {
    /// Whether a route of gipam in the main table is meant.
    fn contain(self, prefix: Prefix, metric: u32) -> bool {
        match self {
            Self::Slices(pools) => metric != DISCARD_METRIC && pools.iter().any(|pool| pool.contains(prefix)),
            Self::Discards(pools) => metric == DISCARD_METRIC && pools.contains(&prefix),
        }
    }
}

/// The calls that read and change these routes.
pub(super) struct RouteCalls<'a> {
    pub(super) kernel: &'a mut KernelSockets,
    pub(super) meant: OwnRoutes<'a>,
    /// Where the next hops are.
    pub(super) reach: &'a BTreeMap<IpAddr, Reach>,
}

impl ObjectCalls<SliceRoute> for RouteCalls<'_> {
    fn found(&mut self) -> io::Result<Vec<KernelObject<SliceRoute>>> {
        self.kernel.routes(self.meant, self.reach)
    }

    fn add(&mut self, route: &SliceRoute) -> io::Result<()> {
        self.kernel.add_route(route)
    }

    fn remove(&mut self, raw: &[u8]) -> io::Result<()> {
        self.kernel.remove_route(raw)
    }
}

impl KernelSockets {
    /// Where this next hop is now.
    pub(super) fn reach(&mut self, via: IpAddr) -> io::Result<Reach> {
        let family = Family::of(via);
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: of_family(family),
            destination_prefix_length: family.bits(),
            ..RouteHeader::default()
        };
        message.attributes = vec![RouteAttribute::Destination(address(via))];
        let mut reach = Reach::Far;
        match self.netlink.ask(RTM_GETROUTE, 0, &bytes(&message), &mut |_, payload| reach = reached(payload))
        {
            // The kernel has no route to it.
            Err(error) if error.raw_os_error().is_some() => Ok(Reach::Far),
            done => done.map(|_| reach),
        }
    }

    /// These routes of gipam. One whose next hop is now on the network of another interface is not as wanted.
    pub(super) fn routes(
        &mut self,
        meant: OwnRoutes<'_>,
        reach: &BTreeMap<IpAddr, Reach>,
    ) -> io::Result<Vec<KernelObject<SliceRoute>>> {
        let mut found = Vec::new();
        for address_family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let header = RouteHeader { address_family, protocol: PROTOCOL.into(), ..RouteHeader::default() };
            let filter = bytes(&header);
            for _ in 0..TRIES {
                let mut all = Vec::new();
                let mut each = |_, payload: &[u8]| all.extend(own(payload, meant, reach));
                let is_interrupted = self.netlink.ask(RTM_GETROUTE, NLM_F_DUMP, &filter, &mut each)?;
                if !is_interrupted {
                    found.append(&mut all);
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Removes exactly this route. It may be gone already.
    pub(super) fn remove_route(&mut self, raw: &[u8]) -> io::Result<()> {
        match self.netlink.ask(RTM_DELROUTE, 0, raw, &mut |_, _| {}) {
            Err(error) if is(&error, Errno::SRCH) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Adds a route, if its place is free.
    pub(super) fn add_route(&mut self, route: &SliceRoute) -> io::Result<()> {
        let body = bytes(&message(route));
        self.netlink.ask(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &body, &mut |_, _| {}).map(drop)
    }
}

const fn of_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

const fn metric_of(to: &RouteTarget) -> u32 {
    match to {
        RouteTarget::Unreachable => DISCARD_METRIC,
        RouteTarget::Discard | RouteTarget::Via(_) => METRIC,
    }
}

/// A route as it is sent to the kernel.
fn message(route: &SliceRoute) -> RouteMessage {
    let SliceRoute { prefix, to } = route;
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: of_family(prefix.family()),
        destination_prefix_length: prefix.length(),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: PROTOCOL.into(),
        scope: RouteScope::Universe,
        kind: match to {
            RouteTarget::Discard => RouteType::BlackHole,
            RouteTarget::Unreachable => RouteType::Unreachable,
            RouteTarget::Via(_) => RouteType::Unicast,
        },
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(address(prefix.address(prefix.first()))),
        RouteAttribute::Priority(metric_of(to)),
    ];
    if let RouteTarget::Via(via) = to {
        message.attributes.push(RouteAttribute::Gateway(address(*via)));
    }
    message
}

fn address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

/// A route of gipam that is meant; `None` for all others.
fn own(
    payload: &[u8],
    meant: OwnRoutes<'_>,
    reach: &BTreeMap<IpAddr, Reach>,
) -> Option<KernelObject<SliceRoute>> {
    let header = RouteHeader::parse(payload).ok()?;
    let (mut destination, mut table, mut metric) = (None, u32::from(header.table), 0);
    let (mut via, mut interface) = (None, None);
    let mut is_plain = header.tos == 0 && header.source_prefix_length == 0;
    for (kind, value) in attributes(payload.get(ROUTE_HEADER..)?) {
        match kind {
            RTA_DST => destination = parse_ip(value).ok(),
            RTA_TABLE => table = parse_u32(value).unwrap_or(table),
            RTA_PRIORITY => metric = parse_u32(value).unwrap_or_default(),
            RTA_GATEWAY => via = parse_ip(value).ok(),
            RTA_OIF => interface = parse_u32(value).ok(),
            RTA_CACHEINFO | RTA_PREF => {}
            _ => is_plain = false,
        }
    }
    let prefix = IpNet::new(destination?, header.destination_prefix_length).ok()?;
    let prefix = Prefix::from_net(prefix);
    let is_main = table == u32::from(RouteHeader::RT_TABLE_MAIN);
    let is_own = u8::from(header.protocol) == PROTOCOL && !header.flags.contains(RouteFlags::Cloned);
    if !is_own || !is_main || !meant.contain(prefix, metric) {
        return None;
    }
    let to = match (header.kind, via) {
        (RouteType::BlackHole, None) => Some(RouteTarget::Discard),
        (RouteType::Unreachable, None) => Some(RouteTarget::Unreachable),
        (RouteType::Unicast, Some(via)) => match (reach.get(&via), interface) {
            (Some(Reach::Link(now)), Some(then)) if *now != then => None,
            _ => Some(RouteTarget::Via(via)),
        },
        _ => None,
    };
    let is = to.filter(|to| is_plain && metric == metric_of(to)).map(|to| SliceRoute { prefix, to });
    Some(KernelObject { is, raw: payload.to_vec() })
}

/// Where the kernel's answer says that an address is.
fn reached(payload: &[u8]) -> Reach {
    let Ok(header) = RouteHeader::parse(payload) else { return Reach::Far };
    let rest = payload.get(ROUTE_HEADER..).unwrap_or_default();
    let is_behind = attributes(rest).any(|(kind, _)| kind == RTA_GATEWAY || kind == RTA_VIA);
    let interface = attributes(rest).find(|(kind, _)| *kind == RTA_OIF);
    match (header.kind, interface.and_then(|(_, value)| parse_u32(value).ok())) {
        (RouteType::Local, _) => Reach::Here,
        (RouteType::Unicast, Some(interface)) if !is_behind => Reach::Link(interface),
        _ => Reach::Far,
    }
}

/// What a notification means for the routes of gipam.
pub(super) fn news(notice: Notice<'_>) -> News {
    match notice {
        Notice::Changed(kind, payload) => change(kind, payload),
        Notice::Table => News::Nothing,
        Notice::Lost => News::Doubtful,
    }
}

/// What a change means for the routes of gipam. The kernel does not report the IPv4 routes that go with an interface or with its last
/// address.
fn change(kind: u16, payload: &[u8]) -> News {
    let is_own = |payload: &[u8]| {
        RouteHeader::parse(payload).is_ok_and(|header| u8::from(header.protocol) == PROTOCOL)
    };
    match kind {
        RTM_NEWROUTE | RTM_DELROUTE if is_own(payload) => News::Doubtful,
        RTM_DELADDR => News::Doubtful,
        RTM_NEWLINK | RTM_DELLINK if down(payload, kind).is_some() => News::Doubtful,
        RTM_NEWNETCONF => News::Nothing,
        _ => News::Hopeful,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    fn pools() -> BTreeSet<Prefix> {
        ["10.8.0.0/16", "2001:db8:8::/48"].map(prefix).into()
    }

    fn route(text: &str, via: Option<&str>) -> SliceRoute {
        let to = via.map_or(RouteTarget::Discard, |via| RouteTarget::Via(via.parse().unwrap()));
        SliceRoute { prefix: prefix(text), to }
    }

    /// What is read of a route that gipam sends, after a change.
    fn read(route: &SliceRoute, change: impl FnOnce(&mut RouteMessage)) -> Option<Option<SliceRoute>> {
        let mut message = message(route);
        change(&mut message);
        own(&bytes(&message), OwnRoutes::Slices(&pools()), &BTreeMap::new()).map(|object| object.is)
    }

    #[test]
    fn a_route_that_gipam_sends_is_read_as_the_same_route() {
        for route in [
            route("10.8.16.0/20", Some("192.0.2.12")),
            route("10.8.0.0/20", None),
            route("2001:db8:8:1000::/52", Some("2001:db8::12")),
            route("2001:db8:8::/52", None),
        ] {
            assert_eq!(read(&route, |_| {}), Some(Some(route)));
        }
    }

    #[test]
    fn routes_of_others_outside_of_the_pools_or_in_other_tables_are_not_read() {
        let inside = route("10.8.16.0/20", Some("192.0.2.12"));
        assert_eq!(read(&inside, |message| message.header.protocol = 4.into()), None);
        assert_eq!(read(&inside, |message| message.header.table = 100), None);
        assert_eq!(read(&inside, |message| message.attributes.push(RouteAttribute::Table(1_000))), None);
        assert_eq!(read(&route("10.9.0.0/20", Some("192.0.2.12")), |_| {}), None);
        assert_eq!(read(&route("10.0.0.0/8", None), |_| {}), None, "around a pool");
    }

    #[test]
    fn a_route_of_gipam_that_somebody_changed_is_not_as_wanted() {
        let via = route("10.8.16.0/20", Some("192.0.2.12"));
        assert_eq!(read(&via, |message| message.header.tos = 4), Some(None));
        assert_eq!(read(&via, |message| message.header.kind = RouteType::Unreachable), Some(None));
        assert_eq!(read(&via, |message| message.attributes[1] = RouteAttribute::Priority(7)), Some(None));
        assert_eq!(read(&via, |message| message.attributes.push(RouteAttribute::NhId(5))), Some(None));
        let source = RouteAttribute::PrefSource(address("192.0.2.11".parse().unwrap()));
        assert_eq!(read(&via, |message| message.attributes.push(source)), Some(None));
    }

    #[test]
    fn a_route_by_another_interface_than_its_next_hop_is_not_as_wanted() {
        let via = route("10.8.16.0/20", Some("192.0.2.12"));
        let mut sent = message(&via);
        sent.attributes.push(RouteAttribute::Oif(7));
        for (now, expected) in [(Reach::Link(7), Some(via)), (Reach::Link(8), None), (Reach::Far, Some(via))]
        {
            let reach = BTreeMap::from([("192.0.2.12".parse().unwrap(), now)]);
            assert_eq!(
                own(&bytes(&sent), OwnRoutes::Slices(&pools()), &reach).map(|object| object.is),
                Some(expected)
            );
        }
    }

    #[test]
    fn discard_routes_and_routes_to_slices_are_told_apart() {
        let of = |text: &str, to| SliceRoute { prefix: prefix(text), to };
        for base in ["10.8.0.0/16", "2001:db8:8::/48"] {
            let (discard, slice) = (of(base, RouteTarget::Unreachable), of(base, RouteTarget::Discard));
            let read = |route: &SliceRoute| {
                let (sent, pools) = (bytes(&message(route)), pools());
                [OwnRoutes::Slices(&pools), OwnRoutes::Discards(&pools)]
                    .map(|meant| own(&sent, meant, &BTreeMap::new()).map(|object| object.is))
            };
            assert_eq!(read(&discard), [None, Some(Some(discard))]);
            assert_eq!(read(&slice), [Some(Some(slice)), None]);
        }
        let inside = bytes(&message(&of("10.8.16.0/20", RouteTarget::Unreachable)));
        assert_eq!(own(&inside, OwnRoutes::Discards(&pools()), &BTreeMap::new()), None, "not a whole pool");
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(kind in 0u16..120, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = own(&bytes, OwnRoutes::Slices(&pools()), &BTreeMap::new());
            let _ = (reached(&bytes), change(kind, &bytes));
        }
    }
}
