//! THE REQUESTS that an IPAM plugin gets under load: subnets with their gateways, addresses, churn, releases.
//!
//! Promises: sends what Docker sends (a gateway request after each subnet, a MAC for each endpoint); compares
//! every address and subnet granted with those held, because none may be given twice. Failed requests are
//! counted.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

use crate::wire::{Script, write_number};

/// The requests of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Phase {
    /// Plugin.Activate, which neither decides nor stores anything.
    Activate,
    /// GetCapabilities.
    Capabilities,
    /// GetDefaultAddressSpaces.
    Spaces,
    /// RequestPool, and the gateway's RequestAddress after each.
    Pools,
    /// RequestAddress, in turn from all subnets.
    Addresses,
    /// ReleaseAddress of a held address, then RequestAddress for a new one, in turn.
    Churn,
    /// ReleaseAddress of every held address except gateways.
    Releases,
    /// ReleaseAddress of the gateway, then ReleasePool, for each subnet.
    ReleasePools,
}

/// A fast hash for numbers that an attacker cannot choose.
#[derive(Clone, Copy, Default)]
pub struct Fast(u64);

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }
    fn write_u128(&mut self, word: u128) {
        self.write_u64(word as u64);
        self.write_u64((word >> 64) as u64);
    }
}

/// A subnet that is held.
struct Subnet {
    id: String,
    first: u128,
    last: u128,
    /// How many more addresses may be requested.
    room: u128,
    gateway: Option<u128>,
    v6: bool,
}

type Lease = (u32, u128);

/// What a connection waits for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Nothing,
    Plain,
    Subnet { v6: bool },
    Gateway(u32),
    Address(u32),
    Release,
}

/// The leases and the pending request of one connection.
#[derive(Default)]
struct Hand {
    held: Vec<Lease>,
    owed: Option<u32>,
}

/// The client's own record of what it holds, and the next request.
pub struct Play {
    phase: Phase,
    space: String,
    /// Subnets to request in [`Phase::Pools`].
    pub wanted: u64,
    /// IPv4, IPv6, or both in turn.
    pub families: Vec<bool>,
    /// Whether endpoints have names, as Engine 29 sends them.
    pub names: bool,
    /// Whether [`Phase::Pools`] requests gateways. Without them, gipam needs `storm_limit = 0`.
    pub gateways: bool,
    subnets: Vec<Subnet>,
    /// Held subnets by family and first address, with their last.
    standing: BTreeMap<(bool, u128), u128>,
    leased: HashSet<Lease, BuildHasherDefault<Fast>>,
    asked: Vec<Asked>,
    hands: Vec<Hand>,
    turn: usize,
    counter: u64,
    chance: u64,
    /// How many addresses were given twice, and how many subnets overlapped.
    pub twice: u64,
}

impl Play {
    /// A script that does not hold anything yet.
    pub fn new(wanted: u64, families: Vec<bool>) -> Self {
        Self {
            phase: Phase::Activate,
            space: "local".to_owned(),
            wanted,
            families,
            names: false,
            gateways: true,
            subnets: Vec::new(),
            standing: BTreeMap::new(),
            leased: HashSet::default(),
            asked: Vec::new(),
            hands: Vec::new(),
            turn: 0,
            counter: 0,
            chance: 0x2545_f491_4f6c_dd1d,
            twice: 0,
        }
    }

    /// Sets the phase of the next run and distributes the held addresses over this many connections.
    pub fn begin(&mut self, phase: Phase, connections: usize) {
        let held: Vec<Lease> =
            self.hands.iter_mut().flat_map(|hand| std::mem::take(&mut hand.held)).collect();
        self.hands = (0..connections).map(|_| Hand::default()).collect();
        for (number, lease) in held.into_iter().enumerate() {
            self.hands[number % connections].held.push(lease);
        }
        self.asked = vec![Asked::Nothing; connections];
        self.phase = phase;
        self.turn = 0;
    }

    /// The number of held addresses, without gateways.
    pub fn held(&self) -> usize {
        self.hands.iter().map(|hand| hand.held.len()).sum()
    }

    /// Adds a subnet that is already held, with `room` addresses left.
    pub fn adopt(&mut self, id: String, prefix: &str, room: u128) -> Option<()> {
        let (first, length) = parse_prefix(prefix)?;
        let v6 = prefix.contains(':');
        let last = last_of(first, length, v6);
        self.standing.insert((v6, first), last);
        self.subnets.push(Subnet { id, first, last, room, gateway: None, v6 });
        Some(())
    }

    fn random(&mut self, below: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance % below as u64) as usize
    }

    fn next_subnet(&mut self, connection: usize, body: &mut Vec<u8>) -> Option<(Asked, &'static str)> {
        if let Some(subnet) = self.hands[connection].owed.take() {
            return Some(self.gateway_request(subnet, body));
        }
        let turn = self.turn;
        if turn as u64 >= self.wanted {
            return None;
        }
        self.turn += 1;
        let v6 = self.families[turn % self.families.len()];
        body.extend_from_slice(b"{\"AddressSpace\":\"");
        body.extend_from_slice(self.space.as_bytes());
        body.extend_from_slice(b"\",\"Pool\":\"\",\"SubPool\":\"\",\"Options\":null,\"V6\":");
        body.extend_from_slice(if v6 { b"true}" } else { b"false}" });
        Some((Asked::Subnet { v6 }, "IpamDriver.RequestPool"))
    }

    fn gateway_request(&self, subnet: u32, body: &mut Vec<u8>) -> (Asked, &'static str) {
        self.write_id(subnet, body);
        body.extend_from_slice(
            b"\"Address\":\"\",\"Options\":{\"RequestAddressType\":\"com.docker.network.gateway\"}}",
        );
        (Asked::Gateway(subnet), "IpamDriver.RequestAddress")
    }

    fn write_id(&self, subnet: u32, body: &mut Vec<u8>) {
        body.extend_from_slice(b"{\"PoolID\":\"");
        body.extend_from_slice(self.subnets[subnet as usize].id.as_bytes());
        body.extend_from_slice(b"\",");
    }

    fn next_address(&mut self, body: &mut Vec<u8>) -> Option<(Asked, &'static str)> {
        let count = self.subnets.len();
        for _ in 0..count {
            let subnet = self.turn % count;
            self.turn += 1;
            if self.subnets[subnet].room > 0 {
                return Some(self.address_request(subnet as u32, body));
            }
        }
        None
    }

    fn address_request(&mut self, subnet: u32, body: &mut Vec<u8>) -> (Asked, &'static str) {
        self.subnets[subnet as usize].room -= 1;
        self.counter += 1;
        self.write_id(subnet, body);
        body.extend_from_slice(b"\"Address\":\"\",\"Options\":{");
        if self.names {
            body.extend_from_slice(b"\"com.docker.network.endpoint.name\":\"container-");
            write_number(body, self.counter);
            body.extend_from_slice(b"\",");
        }
        body.extend_from_slice(b"\"com.docker.network.endpoint.macaddress\":\"02:42");
        for byte in &self.counter.to_be_bytes()[4..] {
            const DIGITS: &[u8] = b"0123456789abcdef";
            body.extend_from_slice(&[b':', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        body.extend_from_slice(b"\"}}");
        (Asked::Address(subnet), "IpamDriver.RequestAddress")
    }

    fn release_request(&mut self, (subnet, address): Lease, body: &mut Vec<u8>) -> (Asked, &'static str) {
        // Before the request: another connection may get the address before this answer arrives.
        self.leased.remove(&(subnet, address));
        self.write_id(subnet, body);
        body.extend_from_slice(b"\"Address\":\"");
        let entry = &mut self.subnets[subnet as usize];
        entry.room += 1;
        write_address(body, address, entry.v6);
        body.extend_from_slice(b"\"}");
        (Asked::Release, "IpamDriver.ReleaseAddress")
    }

    /// Releases an address, then requests one in the same subnet.
    fn next_churn(&mut self, connection: usize, body: &mut Vec<u8>) -> Option<(Asked, &'static str)> {
        if let Some(subnet) = self.hands[connection].owed.take() {
            return Some(self.address_request(subnet, body));
        }
        let count = self.hands[connection].held.len();
        if count == 0 {
            return None;
        }
        let which = self.random(count);
        let lease = self.hands[connection].held.swap_remove(which);
        self.hands[connection].owed = Some(lease.0);
        Some(self.release_request(lease, body))
    }

    fn next_release_pool(&mut self, connection: usize, body: &mut Vec<u8>) -> Option<(Asked, &'static str)> {
        if let Some(subnet) = self.hands[connection].owed.take() {
            return Some(self.pool_release(subnet, body));
        }
        let subnet = self.turn;
        let gateway = self.subnets.get(subnet)?.gateway;
        self.turn += 1;
        let Some(gateway) = gateway else { return Some(self.pool_release(subnet as u32, body)) };
        self.hands[connection].owed = Some(subnet as u32);
        Some(self.release_request((subnet as u32, gateway), body))
    }

    fn pool_release(&mut self, subnet: u32, body: &mut Vec<u8>) -> (Asked, &'static str) {
        let entry = &mut self.subnets[subnet as usize];
        self.standing.remove(&(entry.v6, entry.first));
        entry.room = 0;
        body.extend_from_slice(b"{\"PoolID\":\"");
        body.extend_from_slice(entry.id.as_bytes());
        body.extend_from_slice(b"\"}");
        (Asked::Release, "IpamDriver.ReleasePool")
    }

    fn granted_subnet(&mut self, connection: usize, v6: bool, body: &[u8]) -> Result<(), String> {
        let (id, prefix) = (field(body, "PoolID")?, field(body, "Pool")?);
        let (address, length) = parse_prefix(prefix).ok_or_else(|| format!("{prefix:?} is not a prefix"))?;
        let (first, last) = (address, last_of(address, length, v6));
        let below = self.standing.range(..=(v6, last)).next_back();
        if below.is_some_and(|((family, _), other)| *family == v6 && *other >= first) {
            self.twice += 1;
        }
        self.standing.insert((v6, first), last);
        // Network, broadcast and gateway.
        let room = (last - first).saturating_sub(2);
        self.subnets.push(Subnet { id: id.to_owned(), first, last, room, gateway: None, v6 });
        self.hands[connection].owed = self.gateways.then_some((self.subnets.len() - 1) as u32);
        Ok(())
    }

    fn granted_address(&mut self, subnet: u32, body: &[u8]) -> Result<u128, String> {
        let text = field(body, "Address")?;
        let (address, _) = parse_prefix(text).ok_or_else(|| format!("{text:?} is not an address"))?;
        let entry = &self.subnets[subnet as usize];
        let outside = address < entry.first || address > entry.last;
        if outside || !self.leased.insert((subnet, address)) {
            self.twice += 1;
        }
        Ok(address)
    }
}

impl Script for Play {
    fn next(&mut self, connection: usize, body: &mut Vec<u8>) -> Option<&'static str> {
        let (asked, path) = match self.phase {
            Phase::Activate => (Asked::Plain, "Plugin.Activate"),
            Phase::Capabilities => (Asked::Plain, "IpamDriver.GetCapabilities"),
            Phase::Spaces => (Asked::Plain, "IpamDriver.GetDefaultAddressSpaces"),
            Phase::Pools => self.next_subnet(connection, body)?,
            Phase::Addresses => self.next_address(body)?,
            Phase::Churn => self.next_churn(connection, body)?,
            Phase::Releases => {
                let lease = self.hands[connection].held.pop()?;
                self.release_request(lease, body)
            }
            Phase::ReleasePools => self.next_release_pool(connection, body)?,
        };
        self.asked[connection] = asked;
        Some(path)
    }

    fn answer(&mut self, connection: usize, status: u16, body: &[u8]) -> Result<(), String> {
        let asked = std::mem::replace(&mut self.asked[connection], Asked::Nothing);
        // Some plugins answer 200 with an error inside.
        if status != 200 || field(body, "Err").is_ok_and(|text| !text.is_empty()) {
            return Err(format!("{status} {}", String::from_utf8_lossy(body)));
        }
        match asked {
            Asked::Nothing | Asked::Release => {}
            Asked::Plain => {
                if self.phase == Phase::Spaces {
                    field(body, "LocalDefaultAddressSpace")?.clone_into(&mut self.space);
                }
            }
            Asked::Subnet { v6 } => self.granted_subnet(connection, v6, body)?,
            Asked::Gateway(subnet) => {
                let gateway = self.granted_address(subnet, body)?;
                self.subnets[subnet as usize].gateway = Some(gateway);
            }
            Asked::Address(subnet) => {
                let address = self.granted_address(subnet, body)?;
                self.hands[connection].held.push((subnet, address));
            }
        }
        Ok(())
    }
}

fn last_of(first: u128, length: u32, v6: bool) -> u128 {
    let host_bits = if v6 { 128 } else { 32u32 }.saturating_sub(length);
    1u128.checked_shl(host_bits).map_or(u128::MAX, |size| first | (size - 1))
}

fn write_address(body: &mut Vec<u8>, address: u128, v6: bool) {
    use std::io::Write;
    let text = if v6 {
        IpAddr::V6(std::net::Ipv6Addr::from_bits(address))
    } else {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(address as u32))
    };
    // Writing to a Vec cannot fail.
    let _ = write!(body, "{text}");
}

fn parse_prefix(text: &str) -> Option<(u128, u32)> {
    let (address, length) = text.split_once('/')?;
    let number = match address.parse().ok()? {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    Some((number, length.parse().ok()?))
}

/// A string value of a flat JSON object. Ids, prefixes and addresses need no unescaping.
fn field<'a>(body: &'a [u8], name: &str) -> Result<&'a str, String> {
    let missing = || format!("no {name} in {}", String::from_utf8_lossy(body));
    let text = std::str::from_utf8(body).map_err(|_| missing())?;
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        rest = after;
        let Some(value) = after.strip_prefix('"').filter(|_| before.ends_with('"')) else { continue };
        let value = value.trim_start().strip_prefix(':').map(str::trim_start);
        if let Some(value) = value.and_then(|value| value.strip_prefix('"')) {
            return value.split('"').next().ok_or_else(missing);
        }
    }
    Err(missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_spacing() {
        let body = br#"{"Data":{},"PoolID": "local/x#1" , "Pool":"192.0.2.0/24"}"#;
        assert_eq!(field(body, "PoolID").unwrap(), "local/x#1");
        assert_eq!(field(body, "Pool").unwrap(), "192.0.2.0/24");
        assert!(field(body, "Err").is_err());
    }

    #[test]
    fn an_address_or_subnet_given_twice_is_counted() {
        let mut play = Play::new(3, vec![false]);
        play.begin(Phase::Pools, 1);
        let ask = |play: &mut Play, answer: &str| {
            play.next(0, &mut Vec::new()).unwrap();
            play.answer(0, 200, answer.as_bytes()).unwrap();
        };
        ask(&mut play, r#"{"PoolID":"a","Pool":"192.0.2.0/24"}"#);
        ask(&mut play, r#"{"Address":"192.0.2.1/24"}"#);
        ask(&mut play, r#"{"PoolID":"b","Pool":"198.51.100.0/24"}"#);
        ask(&mut play, r#"{"Address":"198.51.100.1/24"}"#);
        assert_eq!(play.twice, 0);
        ask(&mut play, r#"{"PoolID":"c","Pool":"192.0.2.128/25"}"#);
        assert_eq!(play.twice, 1, "subnets overlap");
        play.begin(Phase::Addresses, 1);
        ask(&mut play, r#"{"Address":"192.0.2.1/24"}"#);
        assert_eq!(play.twice, 2, "the gateway's address");
    }
}
