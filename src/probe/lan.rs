//! A packet socket on one interface: sends probes, and passes on what machines on the LAN answer.
//!
//! Promises: the kernel passes only ARP and neighbour advertisements on; nothing blocks. Needs CAP_NET_RAW.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::bind;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::packets;
use crate::host::links::EthernetLink;
use crate::plan::request::Mac;

/// What was heard on a LAN: an address and its user, or why nothing more will be heard.
pub(super) type LanNews = Result<(IpAddr, Mac), (String, io::Error)>;

/// ETH_P_ALL: the filter selects.
const EVERY_PROTOCOL: u16 = 3;
/// Longer than any packet that counts.
const BUFFER: usize = 512;

/// An open socket. Dropping it ends its task.
#[derive(Debug)]
pub(super) struct LanSocket {
    pub(super) link: EthernetLink,
    socket: Rc<UnixDatagram>,
    listens: JoinHandle<()>,
}

impl Drop for LanSocket {
    fn drop(&mut self) {
        self.listens.abort();
    }
}

/// A packet socket that receives what the filter selects of this protocol on this interface.
pub(super) fn packet_socket(interface: &str, protocol: u16, filter: &[SockFilter]) -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(protocol.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    socket.attach_filter(filter)?;
    // The address of a packet socket cannot be written without `unsafe`, but the list of interfaces has it. Its protocol is
    // 0, which leaves the socket's own.
    let of_link = |it: &InterfaceAddress| {
        it.interface_name == interface && it.address.as_ref().is_some_and(|it| it.as_link_addr().is_some())
    };
    let place = getifaddrs()?.find(of_link).and_then(|it| it.address).ok_or(io::ErrorKind::NotFound)?;
    bind(socket.as_raw_fd(), &place)?;
    Ok(socket)
}

impl LanSocket {
    /// Opens the socket and a task that passes on what it hears. Must run inside a `LocalSet`.
    pub(super) fn open(link: EthernetLink, heard: mpsc::UnboundedSender<LanNews>) -> io::Result<Self> {
        let socket = packet_socket(&link.name, EVERY_PROTOCOL, &packets::filter())?;
        socket.set_nonblocking(true)?;
        // The runtime does not support packet sockets, but wakes up for any descriptor.
        let socket = Rc::new(UnixDatagram::from_std(OwnedFd::from(socket).into())?);
        let listens = tokio::task::spawn_local(listen(socket.clone(), link.name.clone(), heard));
        Ok(Self { link, socket, listens })
    }

    /// Sends a probe.
    pub(super) fn probe(&self, address: IpAddr) -> io::Result<()> {
        let frame = packets::probe(self.link.mac, address);
        send(&*self.socket, &frame, SendFlags::DONTWAIT)?;
        Ok(())
    }
}

async fn listen(socket: Rc<UnixDatagram>, name: String, heard: mpsc::UnboundedSender<LanNews>) {
    let mut buffer = [0; BUFFER];
    loop {
        let next = socket.readable().await;
        let read = || Ok(recv(&*socket, &mut buffer, RecvFlags::DONTWAIT)?.0);
        let received = next.and_then(|()| socket.try_io(Interest::READABLE, read));
        let sent = match received {
            Ok(length) => packets::user(&buffer[..length.min(BUFFER)]).map(|user| heard.send(Ok(user))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => {
                let _ = heard.send(Err((name, error)));
                return;
            }
        };
        if sent.is_some_and(|sent| sent.is_err()) {
            return;
        }
    }
}
