//! The kernel, as all kinds of objects use it: one socket for requests, and one that receives every change; two more for nftables, if
//! a kind needs them.
//!
//! Promises: a notification of a change that gipam itself made is left out. If notifications were lost, the caller learns it. Calls
//! block until the kernel answers, at most two seconds. Knows no kind of objects.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::Emitable;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::event::epoll;
use rustix::io::{Errno, ioctl_fionbio};

use super::nft_socket::NftSocket;
use crate::host::netlink::{BUFFER, Netlink, messages, receive};
use crate::host::watch::GROUPS;

/// Changes of the settings of interfaces, such as proxy_ndp.
pub(super) const RTM_NEWNETCONF: u16 = 80;
/// Their group for IPv6.
const NETCONF: u32 = 25;

/// What a notification says about the objects of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// Nothing.
    Nothing,
    /// An object that the kernel refused may be possible now.
    Hopeful,
    /// An object of gipam may be gone or changed.
    Doubtful,
}

/// A notification: the type of the message, and its body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice<'a> {
    Changed(u16, &'a [u8]),
    /// gipam's nftables table may have changed.
    Table,
    /// Some notifications were lost, so anything may have changed.
    Lost,
}

/// A socket for requests, and one that receives every change.
#[derive(Debug)]
pub(super) struct KernelSockets {
    pub(super) netlink: Netlink,
    /// The number of `netlink` in notifications.
    port: u32,
    notices: Socket,
    buffer: Vec<u8>,
    /// Becomes readable with any of the queues of notifications.
    queues: OwnedFd,
    tables: Option<NftSocket>,
}

impl KernelSockets {
    pub(super) fn open() -> io::Result<Self> {
        let netlink = Netlink::open()?;
        netlink.be_strict();
        let mut notices = Socket::new(NETLINK_ROUTE)?;
        notices.bind_auto()?;
        for group in GROUPS {
            notices.add_membership(group)?;
        }
        notices.add_membership(NETCONF)?;
        notices.set_non_blocking(true)?;
        let queues = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        ioctl_fionbio(&queues, true)?;
        follow(&queues, &notices)?;
        let buffer = Vec::with_capacity(BUFFER);
        Ok(Self { port: netlink.port()?, netlink, notices, buffer, queues, tables: None })
    }

    /// A descriptor of the queues of notifications, only for waiting.
    pub(super) fn bell(&self) -> io::Result<OwnedFd> {
        self.queues.try_clone()
    }

    /// The nftables of this host.
    pub(super) fn tables(&mut self) -> io::Result<&mut NftSocket> {
        let tables = match self.tables.take() {
            Some(tables) => tables,
            None => {
                let tables = NftSocket::open()?;
                follow(&self.queues, tables.notices())?;
                tables
            }
        };
        Ok(self.tables.insert(tables))
    }

    /// Reads all queued notifications.
    pub(super) fn news(&mut self, each: &mut dyn FnMut(Notice<'_>)) -> io::Result<()> {
        if let Some(tables) = &mut self.tables
            && tables.is_doubtful()?
        {
            each(Notice::Table);
        }
        loop {
            match receive(&self.notices, &mut self.buffer) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is(&error, Errno::NOBUFS) => {
                    each(Notice::Lost);
                    continue;
                }
                Err(error) => return Err(error),
            }
            for message in messages(&self.buffer) {
                match message {
                    Ok(message) if message.port_number() == self.port => {}
                    Ok(message) => each(Notice::Changed(message.message_type(), message.payload())),
                    Err(_) => each(Notice::Lost),
                }
            }
        }
    }
}

/// Adds a queue of notifications.
fn follow(queues: &OwnedFd, queue: impl AsFd) -> io::Result<()> {
    let (any, readable) = (epoll::EventData::new_u64(0), epoll::EventFlags::IN);
    Ok(epoll::add(queues, queue, any, readable)?)
}

/// A message as it is sent.
pub(super) fn bytes(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}

/// Whether the kernel answered with this error.
pub(super) fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
