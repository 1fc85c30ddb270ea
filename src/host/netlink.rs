//! How the kernel is asked: one dump over a route netlink socket, blocking, bounded in time.
//!
//! [`Netlink::dump`] hands each message's payload to the caller as raw bytes and keeps none; it does not interpret them, so an attribute
//! of a newer kernel cannot make it fail. A dump that the kernel marks as interrupted (something changed meanwhile) is
//! repeated a few times and then taken as it is: on a busy machine a nearly right list is better than none.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, parse_i32,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::RecvFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// Dump all routes (rtnetlink's number).
pub(super) const RTM_GETROUTE: u16 = 26;
/// A route, in the answer.
pub(super) const RTM_NEWROUTE: u16 = 24;
/// Dump all addresses.
pub(super) const RTM_GETADDR: u16 = 22;
/// An address, in the answer.
pub(super) const RTM_NEWADDR: u16 = 20;

/// How long one answer of the kernel may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often an interrupted dump is asked for again.
const REPEATS: u32 = 4;
/// The kernel fills at most 32 KiB at once for a reader that offers more.
const BUFFER: usize = 64 * 1024;
/// `struct rtmsg` and `struct ifaddrmsg`: 12 and 8 bytes. The longer serves both: of the rest nothing is read.
const REQUEST_BODY: usize = 12;

/// A route netlink socket: ask it any number of times.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens the socket; nothing is sent yet.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Everything the kernel has of one kind: `get` for `family` (AF_INET, AF_INET6); `each` is handed the bodies of the
    /// messages of type `new` in the kernel's order, once more from the beginning where a dump was interrupted.
    pub(super) fn dump(
        &mut self,
        get: u16,
        new: u16,
        family: u8,
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut repeats = 0;
        while self.dump_once(get, new, family, each)? && repeats < REPEATS {
            repeats += 1;
        }
        Ok(())
    }

    /// The interface's name, or its number when it is gone or nameless.
    pub(super) fn interface(&self, index: u32) -> String {
        rustix::net::netdevice::index_to_name(&self.socket, index).unwrap_or_else(|_| format!("if{index}"))
    }

    /// Answers whether it was interrupted.
    fn dump_once(&mut self, get: u16, new: u16, family: u8, each: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(get, family, self.sequence);
        self.socket.send(&request, 0)?;
        let mut interrupted = false;
        let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER);
        loop {
            self.receive(&mut buffer)?;
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(invalid)?;
                let length = message.length() as usize;
                if message.sequence_number() == self.sequence {
                    interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                    match message.message_type() {
                        NLMSG_DONE | NLMSG_ERROR => {
                            return match code(message.payload()) {
                                0 => Ok(interrupted),
                                code => Err(io::Error::from_raw_os_error(code)),
                            };
                        }
                        kind if kind == new => each(message.payload()),
                        _ => {}
                    }
                }
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    /// One datagram of the kernel into `buffer`, whole.
    fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        let truncating = i32::try_from(RecvFlags::TRUNC.bits()).unwrap_or_default();
        let length = loop {
            match self.socket.recv(buffer, truncating) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let text = format!("no answer within {} s", PATIENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                other => break other?,
            }
        };
        match length {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel sent an empty message")),
            n if n > buffer.len() => Err(invalid(format!("a message of {n} bytes is longer than {BUFFER}"))),
            _ => Ok(()),
        }
    }
}

fn invalid(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

/// The kernel's error number as a positive one, 0 for success or an empty body.
fn code(payload: &[u8]) -> i32 {
    payload.get(..4).and_then(|bytes| parse_i32(bytes).ok()).map_or(0, |code| code.saturating_neg())
}

fn request(get: u16, family: u8, sequence: u32) -> Vec<u8> {
    let length = 16 + REQUEST_BODY;
    let mut bytes = vec![0; length];
    let mut message = NetlinkBuffer::new(&mut bytes);
    message.set_length(u32::try_from(length).unwrap_or_default());
    message.set_message_type(get);
    message.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    message.set_sequence_number(sequence);
    if let Some(first) = message.payload_mut().first_mut() {
        *first = family;
    }
    bytes
}
