//! The kernel, as all kinds of objects use it: one socket for requests, and one that receives every change.
//!
//! Promises: a notification of a change that gipam itself made is left out. If notifications were lost, the caller learns it. Calls
//! block until the kernel answers, at most two seconds. Knows no kind of objects.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::Emitable;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

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
        Ok(Self { port: netlink.port()?, netlink, notices, buffer: Vec::with_capacity(BUFFER) })
    }

    /// A second descriptor of the queue of notifications, only for waiting.
    pub(super) fn bell(&self) -> io::Result<OwnedFd> {
        self.notices.as_fd().try_clone_to_owned()
    }

    /// Reads all queued notifications.
    pub(super) fn news(&mut self, each: &mut dyn FnMut(Notice<'_>)) -> io::Result<()> {
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
