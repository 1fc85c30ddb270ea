//! Follows this machine's addresses and routes: reads them once, then applies the kernel's notifications of
//! changes.
//!
//! Promises: [`RouteWatch::catch_up`] includes every change made before it was called, because the kernel
//! queues the notification before it answers the process that made the change. If notifications were lost
//! (queue overflow), it returns `None`, and a new watch must be started. Keeps only the entries of interest.
//! A call can take as long as it takes to read the kernel's list, so use a separate thread. Changes nothing
//! and needs no privilege; `CAP_NET_ADMIN` allows a longer queue.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_REPLACE, parse_u32};
use netlink_packet_route::AddressFamily;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::HostError;
use super::kept::{Kept, Minds, RouteChange};
use super::netlink::{
    BUFFER, Netlink, RTM_GETADDR, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWROUTE, messages, receive,
};
use super::routes::attributes;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_DELADDR: u16 = 21;
pub(crate) const RTM_DELROUTE: u16 = 25;
const RTM_DELNEXTHOP: u16 = 105;
const NHA_ID: u16 = 1;
/// A message of netlink itself: some notifications were lost.
const NLMSG_OVERRUN: u16 = 4;
/// The multicast groups of links, and of addresses and routes of both families.
pub(crate) const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];
/// The group of nexthop objects, which kernels before 5.3 do not have.
const NEXT_HOPS: u32 = 32;
/// `IFF_UP`.
const UP: u32 = 1;

/// The size of the queue, for about a hundred thousand notifications. Without privilege, the kernel grants
/// less.
const QUEUE: usize = 64 << 20;
/// If notifications arrive faster than they are read for this long, they count as lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// The dumps with which a watch starts.
const DUMPS: [(&str, u16, u16, AddressFamily); 4] = [
    ("IPv4 addresses", RTM_GETADDR, RTM_NEWADDR, AddressFamily::Inet),
    ("IPv6 addresses", RTM_GETADDR, RTM_NEWADDR, AddressFamily::Inet6),
    ("IPv4 routes", RTM_GETROUTE, RTM_NEWROUTE, AddressFamily::Inet),
    ("IPv6 routes", RTM_GETROUTE, RTM_NEWROUTE, AddressFamily::Inet6),
];

/// The name of the notifications in messages.
pub const CHANGES: &str = "changes of addresses and routes";

/// A socket that receives every change, and the state known from it.
#[derive(Debug)]
pub struct RouteWatch {
    notices: Socket,
    names: Netlink,
    kept: Kept,
    buffer: Vec<u8>,
}

impl RouteWatch {
    /// Subscribes, then reads everything. `minds` decides which prefixes are of interest, now and later.
    pub fn begin(minds: &dyn Fn(&IpNet) -> bool) -> Result<Self, HostError> {
        let open = || {
            let mut notices = Socket::new(NETLINK_ROUTE)?;
            notices.bind_auto()?;
            if set_socket_recv_buffer_size_force(&notices, QUEUE).is_err() {
                // The size without privilege is enough for typical machines, and lost notifications cause a
                // new read.
                let _ = set_socket_recv_buffer_size(&notices, QUEUE);
            }
            for group in GROUPS {
                notices.add_membership(group)?;
            }
            let _ = notices.add_membership(NEXT_HOPS);
            notices.set_non_blocking(true)?;
            Ok((notices, Netlink::open()?, Netlink::open()?))
        };
        let (notices, names, mut netlink) = open().map_err(HostError::netlink(CHANGES))?;
        let mut kept = Kept::default();
        let ask = |index| names.interface(index);
        for (what, get, new, family) in DUMPS {
            let mut each = |payload: &[u8]| match get {
                RTM_GETADDR => kept.address(payload, minds, &ask),
                _ => kept.route(payload, false, minds, &ask),
            };
            netlink.dump(get, new, family.into(), &mut each).map_err(HostError::netlink(what))?;
        }
        Ok(Self { notices, names, kept, buffer: Vec::with_capacity(BUFFER) })
    }

    /// The changes since the last call, or everything at the first call; `None` if notifications were lost.
    pub fn catch_up(
        &mut self,
        minds: &dyn Fn(&IpNet) -> bool,
    ) -> Result<Option<Vec<RouteChange>>, HostError> {
        Ok(self.read(minds)?.then(|| self.kept.changes()))
    }

    /// A second descriptor of the queue, only for waiting; [`RouteWatch::catch_up`] reads the notifications.
    pub fn bell(&self) -> io::Result<OwnedFd> {
        self.notices.as_fd().try_clone_to_owned()
    }

    /// Whether a reported route may have been removed without a notification. If so, start a new watch.
    pub fn is_unsure(&self) -> bool {
        self.kept.is_unsure()
    }

    /// Everything found when the watch began, if neither this nor `catch_up` was called before.
    pub fn begun(&mut self) -> Vec<RouteChange> {
        self.kept.changes()
    }

    /// Reads the queued notifications; false if some were lost.
    fn read(&mut self, minds: Minds<'_>) -> Result<bool, HostError> {
        let (begun, mut count) = (Instant::now(), 0u32);
        loop {
            match receive(&self.notices, &mut self.buffer) {
                Ok(()) if self.take(minds) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                // The queue has overflowed, or a message cannot be read.
                Ok(()) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => return Ok(false),
                Err(error) => return Err(HostError::netlink(CHANGES)(error)),
            }
            count = count.wrapping_add(1);
            if count.is_multiple_of(1024) && begun.elapsed() > PATIENCE {
                return Ok(false);
            }
        }
    }

    /// Applies the messages in the buffer; returns whether all could be read.
    fn take(&mut self, minds: Minds<'_>) -> bool {
        let Self { names, kept, buffer, .. } = self;
        let ask = |index| names.interface(index);
        for message in messages(buffer) {
            let Ok(message) = message else { return false };
            let payload = message.payload();
            match message.message_type() {
                RTM_NEWADDR => kept.address(payload, minds, &ask),
                RTM_DELADDR => kept.address_gone(payload),
                RTM_NEWROUTE => kept.route(payload, message.flags() & NLM_F_REPLACE != 0, minds, &ask),
                RTM_DELROUTE => kept.route_gone(payload),
                kind @ (RTM_NEWLINK | RTM_DELLINK) => {
                    if let Some(interface) = down(payload, kind) {
                        kept.down(interface);
                    }
                }
                RTM_DELNEXTHOP => {
                    if let Some(object) = object(payload) {
                        kept.object_gone(object);
                    }
                }
                NLMSG_OVERRUN => return false,
                _ => {}
            }
        }
        true
    }
}

/// The interface that is down or removed. `struct ifinfomsg` has the family at byte 0 (another one for bridge
/// ports), the interface at byte 4, flags at byte 8.
pub(crate) fn down(payload: &[u8], kind: u16) -> Option<u32> {
    let word = |at: usize| Some(u32::from_ne_bytes(payload.get(at..at + 4)?.try_into().ok()?));
    let (family, interface, flags) = (*payload.first()?, word(4)?, word(8)?);
    (family == 0 && (kind == RTM_DELLINK || flags & UP == 0)).then_some(interface)
}

/// The nexthop object that a message is about. `struct nhmsg` has 8 bytes.
fn object(payload: &[u8]) -> Option<u32> {
    attributes(payload.get(8..)?).find_map(|(kind, value)| (kind == NHA_ID).then(|| parse_u32(value).ok())?)
}
