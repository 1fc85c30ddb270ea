//! Asks the router of an uplink how it sends packets to addresses of a prefix: it looks for each of them on the link, or sends them
//! to this host.
//!
//! For each prefix, this sends echo requests from an address that nobody has, so that the router must answer to that address, and
//! listens for what the router does. An echo request does not make the router store the address (RFC 4861, 7.2.3); looking for it
//! in vain does, until the router gives up.
//!
//! Promises: ends after [`TIMES`] tries of [`APART`] ms, or as soon as everything is known; never answers a router that looks for
//! the address. Only `gipam doctor` uses this, never the daemon. Needs CAP_NET_RAW.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};

use nix::net::if_::if_nametoindex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, Socket, Type};

use super::echo::{self, EchoSign};
use super::lan;
use super::packets::{IPV6, solicited_group};
use crate::clock::steady;
use crate::host::links::ethernet_links;
use crate::plan::settings::Millis;

/// How often each packet is sent, at most.
const TIMES: Millis = 3;
/// How long to listen after each time.
const APART: Millis = 350;
/// The hop limit of packets to the router, and of those that are to end at the first router, wherever they lead.
const FAR: u8 = 64;
const HERE: u8 = 1;
/// A destination behind the router, of a part of the address space that is not assigned. A packet to it ends at the router, which
/// reports that: some routers do that, but do not answer echo requests.
const BEHIND: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);
/// IPPROTO_RAW: packets have their own IPv6 header.
const WITH_HEADER: i32 = 255;
/// Longer than any packet that counts.
const BUFFER: usize = 512;
/// The step that a host without CAP_NET_RAW cannot take, and the one that a firewall can prevent.
const LISTENING: &str = "listening";
const SENDING: &str = "sending";

/// A prefix about which the router is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterQuestion {
    /// An address of it that nobody has.
    pub unused: Ipv6Addr,
    /// This host's address in it.
    pub own: Option<Ipv6Addr>,
}

/// How the router sends packets to the unused address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterAnswer {
    /// It looks for the address on the link.
    Solicits,
    /// It sends them to this host.
    SendsHere,
    /// Unknown: it answers this host's own address, but not the unused one.
    OnlyOwn,
    /// Unknown: it answers nothing.
    Silent,
}

/// Why the router was not asked.
#[derive(Debug, thiserror::Error)]
pub enum RouterProbeError {
    #[error("{0} is not an Ethernet interface")]
    NotEthernet(String),
    #[error("run this as root (it needs CAP_NET_RAW)")]
    NoRight,
    #[error("a firewall of this host drops echo requests from unused addresses on {0}")]
    Firewall(String),
    #[error("{step} on {uplink} failed: {source}")]
    Step { step: &'static str, uplink: String, source: io::Error },
}

/// The sockets of one run.
#[derive(Debug)]
struct RouterProbe {
    hears: Socket,
    sends: Socket,
    /// Is in the multicast groups of the unused addresses, as a host that has them would be: a switch may pass a solicitation only
    /// to members.
    _groups: Socket,
    index: u32,
}

/// Asks the router; the answers are in the order of the questions.
pub fn ask_router(
    uplink: &str,
    router: Ipv6Addr,
    questions: &[RouterQuestion],
) -> Result<Vec<RouterAnswer>, RouterProbeError> {
    let failed = |step: &'static str, source: io::Error| match source.kind() {
        io::ErrorKind::PermissionDenied if step == LISTENING => RouterProbeError::NoRight,
        // The kernel reports a packet that a rule drops on its way out so.
        io::ErrorKind::PermissionDenied if step == SENDING => RouterProbeError::Firewall(uplink.to_owned()),
        _ => RouterProbeError::Step { step, uplink: uplink.to_owned(), source },
    };
    let links = ethernet_links().map_err(|error| failed("reading the interfaces", error))?;
    let link = links.into_iter().find(|link| link.name == uplink);
    let own = link.ok_or_else(|| RouterProbeError::NotEthernet(uplink.to_owned()))?.mac;
    let mut identifier = [0; 2];
    rustix::rand::getrandom(&mut identifier, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| failed("getting a random number", error.into()))?;
    let probe = RouterProbe::open(uplink, questions, &failed)?;
    let mut answers = vec![RouterAnswer::Silent; questions.len()];
    let begun = steady();
    for time in 1..=TIMES {
        probe.send(router, questions, identifier).map_err(|error| failed(SENDING, error))?;
        let mut heard = |frame: &[u8]| {
            if let Some(sign) = echo::sign(frame, own, identifier) {
                questions
                    .iter()
                    .zip(&mut answers)
                    .for_each(|(question, answer)| answer.learn(*question, sign));
            }
            answers.iter().all(|answer| answer.is_known())
        };
        let is_over = probe.listen(begun + time * APART, &mut heard);
        if is_over.map_err(|error| failed(LISTENING, error))? {
            break;
        }
    }
    Ok(answers)
}

impl RouterProbe {
    fn open(
        uplink: &str,
        questions: &[RouterQuestion],
        failed: &dyn Fn(&'static str, io::Error) -> RouterProbeError,
    ) -> Result<Self, RouterProbeError> {
        let hears = lan::packet_socket(uplink, u16::from_be_bytes(IPV6), &echo::filter())
            .map_err(|error| failed(LISTENING, error))?;
        let sends = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(WITH_HEADER)))?;
            socket.bind_device(Some(uplink.as_bytes()))?;
            Ok(socket)
        };
        let sends = sends().map_err(|error| failed("opening a socket", error))?;
        let join = || -> io::Result<(Socket, u32)> {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
            let index = if_nametoindex(uplink)?;
            for question in questions {
                socket.join_multicast_v6(&solicited_group(question.unused), index)?;
            }
            Ok((socket, index))
        };
        let (groups, index) = join().map_err(|error| failed("joining a multicast group", error))?;
        Ok(Self { hears, sends, _groups: groups, index })
    }

    /// Sends each packet once. The kernel finds the MAC of the router.
    fn send(&self, router: Ipv6Addr, questions: &[RouterQuestion], identifier: [u8; 2]) -> io::Result<()> {
        let sources = questions.iter().flat_map(|question| [Some(question.unused), question.own]);
        for from in sources.flatten() {
            for (to, hop_limit) in [(router, FAR), (BEHIND, HERE)] {
                let packet = echo::echo_request(from, to, hop_limit, identifier);
                let scope = if to.is_unicast_link_local() { self.index } else { 0 };
                self.sends.send_to(&packet, &SocketAddrV6::new(to, 0, 0, scope).into())?;
            }
        }
        Ok(())
    }

    /// Passes on what arrives until this time, or until the caller has heard enough; returns whether it has.
    fn listen(&self, until: Millis, heard: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let mut buffer = [0; BUFFER];
        loop {
            let left = until.saturating_sub(steady());
            if left == 0 {
                return Ok(false);
            }
            self.hears.set_read_timeout(Some(std::time::Duration::from_millis(left)))?;
            match recv(&self.hears, &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) if heard(&buffer[..length.min(BUFFER)]) => return Ok(true),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl RouterAnswer {
    const fn is_known(self) -> bool {
        matches!(self, Self::Solicits | Self::SendsHere)
    }

    /// A router that has looked for an address in vain may still report that to the address itself: a solicitation counts more.
    fn learn(&mut self, question: RouterQuestion, sign: EchoSign) {
        match sign {
            EchoSign::Solicitation(target) if target == question.unused => *self = Self::Solicits,
            EchoSign::Answer(to) if to == question.unused && *self != Self::Solicits => {
                *self = Self::SendsHere
            }
            EchoSign::Answer(to) if Some(to) == question.own && *self == Self::Silent => {
                *self = Self::OnlyOwn
            }
            EchoSign::Solicitation(_) | EchoSign::Answer(_) => {}
        }
    }
}
