//! Requests to the kernel: one at a time over a netlink socket, blocking, with a time limit.
//!
//! The payload of each answer goes to the caller as raw bytes and is not stored or interpreted, so attributes of
//! a newer kernel cannot make a request fail. If the kernel marks a dump as interrupted (by a change meanwhile),
//! it is repeated a few times and then used as it is: on a busy machine an almost correct list is better than
//! none. [`Netlink::ask`] also sends requests that change something; `host` itself does not.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, parse_i32,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::RecvFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// The request to dump all routes (rtnetlink's number).
pub(crate) const RTM_GETROUTE: u16 = 26;
/// A route, in the answer.
pub(crate) const RTM_NEWROUTE: u16 = 24;
/// The request to dump all addresses.
pub(crate) const RTM_GETADDR: u16 = 22;
/// An address, in the answer.
pub(crate) const RTM_NEWADDR: u16 = 20;

/// How long to wait for one answer from the kernel.
const PATIENCE: Duration = Duration::from_secs(2);
/// Maximum number of times that an interrupted dump is repeated.
const REPEATS: u32 = 4;
/// The kernel sends at most 32 KiB at once, even to a reader with a larger buffer.
pub(crate) const BUFFER: usize = 64 * 1024;
/// `struct rtmsg` has 12 bytes, `struct ifaddrmsg` 8. The larger size works for both, because the rest is
/// ignored.
const REQUEST_BODY: usize = 12;
/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// A netlink socket, for any number of requests.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket for links, addresses and routes; does not send anything yet.
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_for(NETLINK_ROUTE)
    }

    /// Opens a socket of another protocol of netlink.
    pub(crate) fn open_for(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Dumps everything of one kind: `get` for `family` (AF_INET, AF_INET6); calls `each` with the bodies of
    /// the messages of type `new`, in the kernel's order, and again from the beginning if a dump was
    /// interrupted.
    pub(crate) fn dump(
        &mut self,
        get: u16,
        new: u16,
        family: u8,
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut body = [0; REQUEST_BODY];
        body[0] = family;
        let mut repeats = 0;
        let mut of_kind = |kind: u16, payload: &[u8]| {
            if kind == new {
                each(payload);
            }
        };
        while self.ask(get, NLM_F_DUMP, &body, &mut of_kind)? && repeats < REPEATS {
            repeats += 1;
        }
        Ok(())
    }

    /// The interface's name, or its number if the interface has been removed or has no name.
    pub(crate) fn interface(&self, index: u32) -> String {
        rustix::net::netdevice::index_to_name(&self.socket, index).unwrap_or_else(|_| format!("if{index}"))
    }

    /// The number of the interface with this name, if there is one.
    pub(crate) fn index_of(&self, name: &str) -> Option<u32> {
        rustix::net::netdevice::name_to_index(&self.socket, name).ok()
    }

    /// Lets the kernel check requests strictly and apply the fields of a dump's request as a filter; kernels before 4.20 do not
    /// know this and send everything.
    pub(crate) fn be_strict(&self) {
        let _ = self.socket.set_netlink_get_strict_chk(true);
    }

    /// The number by which the kernel names this socket in notifications of changes that it made.
    pub(crate) fn port(&self) -> io::Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// Sends one request, waits for its end, and calls `each` with the type and body of every message before that; returns
    /// whether a dump was interrupted. An error of the kernel has its number.
    pub(crate) fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(kind, flags | NLM_F_ACK, body, self.sequence), 0)?;
        self.answer(self.sequence, each)
    }

    /// Sends several requests at once, which the kernel of this protocol carries out as a whole or not at all; returns the first
    /// error. Each has its type, flags and body.
    pub(crate) fn ask_all(&mut self, requests: &[(u16, u16, Vec<u8>)]) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for (kind, flags, body) in requests {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(request(*kind, *flags, body, self.sequence));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.socket.send(&bytes, 0)?;
        self.answer(first, &mut |_, _| {}).map(drop)
    }

    /// Receives the answers to the requests with this sequence number and higher ones, up to the first that ends one.
    fn answer(&self, first: u32, each: &mut dyn FnMut(u16, &[u8])) -> io::Result<bool> {
        let mut interrupted = false;
        let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER);
        loop {
            receive(&self.socket, &mut buffer).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => {
                    let text = format!("no answer within {} s", PATIENCE.as_secs());
                    io::Error::new(io::ErrorKind::TimedOut, text)
                }
                _ => error,
            })?;
            for message in messages(&buffer) {
                let message = message?;
                if !(first..=self.sequence).contains(&message.sequence_number()) {
                    continue;
                }
                interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
                match message.message_type() {
                    NLMSG_DONE | NLMSG_ERROR => {
                        return match code(message.payload()) {
                            0 => Ok(interrupted),
                            code => Err(io::Error::from_raw_os_error(code)),
                        };
                    }
                    kind => each(kind, message.payload()),
                }
            }
        }
    }
}

/// Receives one whole datagram from the kernel into `buffer`, which has room for [`BUFFER`] bytes.
pub(crate) fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    let truncating = i32::try_from(RecvFlags::TRUNC.bits()).unwrap_or_default();
    let length = loop {
        buffer.clear();
        match socket.recv(buffer, truncating) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    match length {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the kernel sent an empty message")),
        n if n > buffer.len() => Err(invalid(format!("a message of {n} bytes is longer than {BUFFER}"))),
        _ => Ok(()),
    }
}

/// The messages in a datagram; an error for a truncated one, which is then the last.
pub(crate) fn messages(mut rest: &[u8]) -> impl Iterator<Item = io::Result<NetlinkBuffer<&[u8]>>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = NetlinkBuffer::new_checked(rest).map_err(invalid);
        let length = message.as_ref().map_or(rest.len(), |message| message.length() as usize);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn invalid(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

/// The kernel's error number, made positive; 0 for success or an empty body.
fn code(payload: &[u8]) -> i32 {
    payload.get(..4).and_then(|bytes| parse_i32(bytes).ok()).map_or(0, |code| code.saturating_neg())
}

fn request(kind: u16, flags: u16, body: &[u8], sequence: u32) -> Vec<u8> {
    let length = HEADER + body.len();
    let mut bytes = vec![0; length];
    bytes[HEADER..].copy_from_slice(body);
    let mut message = NetlinkBuffer::new(&mut bytes);
    message.set_length(u32::try_from(length).unwrap_or_default());
    message.set_message_type(kind);
    message.set_flags(NLM_F_REQUEST | flags);
    message.set_sequence_number(sequence);
    bytes
}
