//! A provider's router, this host, and containers, each in a network namespace: what is on both sides of a translation.
//!
//! Promises: packets are real, and pass a firewall that follows connections, as Docker's does. Namespaces end with the test.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::daemon::until;
use super::support::ip;

/// A server in the Internet; it is the router itself.
pub const INTERNET: &str = "2001:db8:ffff::1";
/// The port that the host's firewall opens towards containers.
pub const OPEN: u16 = 8080;
/// How long a packet may be on its way.
const SHORT: Duration = Duration::from_secs(2);

/// Makes the router and two containers. The host has the link `eth7` to the router, and `fd00:8:0:N::1` for container `cN`.
pub fn world() {
    for words in [
        "netns add router",
        "link set peer7 netns router",
        "netns exec router ip link set lo up",
        "netns exec router ip link set peer7 up",
        "netns exec router ip -6 address add 2001:db8::1/64 dev peer7 nodad",
        "netns exec router ip -6 address add 2001:db8:ffff::1/128 dev lo",
        "-6 route add default via 2001:db8::1",
    ] {
        ip(words);
    }
    for number in ["1", "2"] {
        for words in [
            "netns add cN",
            "link add brN type veth peer name eth0 netns cN",
            "link set brN up",
            "-6 address add fd00:8:0:N::1/64 dev brN nodad",
            "netns exec cN ip link set lo up",
            "netns exec cN ip link set eth0 up",
            "netns exec cN ip -6 address add fd00:8:0:N::10/64 dev eth0 nodad",
            "netns exec cN ip -6 route add default via fd00:8:0:N::1",
        ] {
            ip(&words.replace('N', number));
        }
    }
    for namespace in ["", "netns exec router "] {
        if namespace.is_empty() {
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        } else {
            within("router", || std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")).unwrap();
        }
    }
    nft(FIREWALL);
    // The kernel does not ask for a neighbour before it has checked its own address.
    for namespace in ["", "netns exec router ", "netns exec c1 ", "netns exec c2 "] {
        let tentative = format!("{namespace}ip -6 address show tentative");
        let tentative = tentative.strip_prefix("ip ").unwrap_or(&tentative);
        until("no address is tentative", || ip(tentative).is_empty().then_some(()));
    }
}

/// Lets containers out, and others only to their open port, by following connections.
const FIREWALL: &str = "table ip6 foreign {
    set known { type ipv6_addr; elements = { 2001:db8::1, fd00:8:0:1::10 } }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state invalid counter drop
        ct state established,related accept
        iifname \"br*\" accept
        tcp dport 8080 accept
        udp dport 8080 accept
        icmpv6 type echo-request accept
    }
    chain source { type nat hook postrouting priority srcnat; ip6 saddr fd00:9::/64 masquerade; }
}
table inet gipam {
    chain input { type filter hook input priority 0; }
}
";

/// Runs nft with these commands; returns what it prints.
pub fn nft(commands: &str) -> String {
    let mut child = Command::new("nft")
        .args(["-a", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft: {commands}");
    String::from_utf8(output.stdout).unwrap()
}

/// The provider sends this prefix to the host from now on, and none that it had sent before.
pub fn delegate(prefix: &str) {
    let routes = ip("netns exec router ip -6 route show via 2001:db8::11");
    for route in routes.lines().filter_map(|line| line.split(' ').next()) {
        ip(&format!("netns exec router ip -6 route del {route}"));
    }
    ip(&format!("netns exec router ip -6 route add {prefix} via 2001:db8::11"));
}

/// Works in a network namespace; sockets that are made there stay in it.
pub fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = || {
            if !namespace.is_empty() {
                let file = File::open(format!("/run/netns/{namespace}")).unwrap();
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                    .unwrap();
            }
            work()
        };
        scope.spawn(inside).join().unwrap()
    })
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// Opens a connection between two namespaces and sends a line in both directions; returns which address the server sees. Both ends
/// stay open.
pub fn talk(from: &str, to: (&str, &str), server: &str) -> std::io::Result<(IpAddr, TcpStream, TcpStream)> {
    let (place, address) = to;
    let listener = within(place, || TcpListener::bind(at(server, OPEN)))?;
    listener.set_nonblocking(true)?;
    let mut client = within(from, || TcpStream::connect_timeout(&at(address, OPEN), SHORT))?;
    let (mut accepted, peer) = until("the server accepts", || listener.accept().ok());
    accepted.set_nonblocking(false)?;
    exchange(&mut client, &mut accepted)?;
    Ok((peer.ip(), client, accepted))
}

/// Sends a line in both directions.
pub fn exchange(client: &mut TcpStream, server: &mut TcpStream) -> std::io::Result<()> {
    send(client, server)?;
    send(server, client)
}

fn send(from: &mut TcpStream, to: &mut TcpStream) -> std::io::Result<()> {
    from.write_all(b"line\n")?;
    to.set_read_timeout(Some(SHORT))?;
    let mut line = [0; 5];
    to.read_exact(&mut line)?;
    assert_eq!(&line, b"line\n");
    Ok(())
}

/// Sends a datagram to a port that nobody has; returns the error that comes back.
pub fn knock(from: &str, to: &str) -> std::io::Error {
    let socket = within(from, || UdpSocket::bind("[::]:0")).unwrap();
    socket.connect(at(to, OPEN)).unwrap();
    socket.set_read_timeout(Some(SHORT)).unwrap();
    socket.send(b"?").unwrap();
    socket.recv(&mut [0; 8]).unwrap_err()
}

/// Sends an ICMPv6 echo request; returns who answers. The kernel checks the checksum of the answer.
pub fn ping(from: &str, to: &str) -> std::io::Result<IpAddr> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    let socket =
        within(from, || rustix::net::socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(SHORT))?;
    let request = [128, 0, 0, 0, 0x67, 0x70, 0, 1];
    let to: Ipv6Addr = to.parse().unwrap();
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &SocketAddr::from((to, 0)))?;
    let mut answer = [0_u8; 1500];
    loop {
        let (length, _, sender) = rustix::net::recvfrom(&socket, &mut answer, RecvFlags::empty())?;
        if length >= 8 && answer[0] == 129 && answer[4..8] == request[4..8] {
            let sender = SocketAddr::try_from(sender.unwrap()).unwrap();
            return Ok(sender.ip());
        }
    }
}
