//! The encoding of nftables: the few messages and expressions that gipam's table needs, and the comparison with what the kernel has.
//!
//! Promises: pure; numbers are those of the kernel's `nf_tables.h` and `nfnetlink.h`. [`TableInKernel::is`] is true only if the kernel
//! would do exactly what the wanted table says; attributes that a newer kernel adds to a rule do not count. A table without gipam's
//! comment is not gipam's. Does not know what the rules mean, and does not talk to the kernel.

use crate::host::routes::attributes;

/// gipam's table, of family `ip6`.
pub const TABLE: &str = "gipam";
/// The comment by which gipam recognises its table; `nft list ruleset` shows it.
pub const COMMENT: &str = "kept by gipam, which undoes changes";

/// `NFPROTO_IPV6`.
const IP6: u8 = 10;
/// `NFNL_SUBSYS_NFTABLES`, in the upper half of a message type.
const SUBSYSTEM: u16 = 10 << 8;
pub const NEWTABLE: u16 = SUBSYSTEM;
pub const GETTABLE: u16 = SUBSYSTEM | 1;
pub const DELTABLE: u16 = SUBSYSTEM | 2;
pub const NEWCHAIN: u16 = SUBSYSTEM | 3;
pub const GETCHAIN: u16 = SUBSYSTEM | 4;
pub const NEWRULE: u16 = SUBSYSTEM | 6;
pub const GETRULE: u16 = SUBSYSTEM | 7;
pub const NEWGEN: u16 = SUBSYSTEM | 15;
pub const GETGEN: u16 = SUBSYSTEM | 16;
/// Around the messages of a batch, which the kernel carries out as a whole or not at all.
pub const BATCH_BEGIN: u16 = 16;
pub const BATCH_END: u16 = 17;

/// `struct nfgenmsg`.
const HEADER: usize = 4;
const NESTED: u16 = 1 << 15;
/// The name of a table, and in all other messages the name of their table.
const NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const TABLE_USE: u16 = 3;
const TABLE_USERDATA: u16 = 6;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;

/// A chain of packets that all pass: `type filter hook HOOK priority PRIORITY; policy accept`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftChain {
    pub name: &'static str,
    /// `NF_INET_PRE_ROUTING` and so on.
    pub hook: u32,
    pub priority: i32,
    /// In their order.
    pub rules: Vec<NftRule>,
}

/// The expressions of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NftRule(Vec<Expression>);

/// The name of an expression, and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expression(&'static str, Vec<Attribute>);

/// The number of an attribute, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute(u16, AttributeValue);

#[derive(Clone, Debug, PartialEq, Eq)]
enum AttributeValue {
    Bytes(Vec<u8>),
    Nested(Vec<Attribute>),
}

impl Attribute {
    fn encode(&self, to: &mut Vec<u8>) {
        match &self.1 {
            AttributeValue::Bytes(bytes) => put(to, self.0, bytes),
            AttributeValue::Nested(inner) => put(to, self.0 | NESTED, &encoded(inner)),
        }
    }

    /// Whether this attribute is among these.
    fn is_in(&self, found: &[u8]) -> bool {
        let same = |held: &[u8]| match &self.1 {
            AttributeValue::Bytes(bytes) => held == bytes,
            AttributeValue::Nested(inner) => inner.iter().all(|inner| inner.is_in(held)),
        };
        attributes(found).find(|(kind, _)| *kind == self.0).is_some_and(|(_, held)| same(held))
    }
}

fn encoded(attributes: &[Attribute]) -> Vec<u8> {
    let mut bytes = Vec::new();
    attributes.iter().for_each(|attribute| attribute.encode(&mut bytes));
    bytes
}

fn numbers<const N: usize>(numbers: [(u16, u32); N]) -> Vec<Attribute> {
    let number = |(kind, number): (u16, u32)| bytes(kind, number.to_be_bytes());
    numbers.into_iter().map(number).collect()
}

fn bytes(kind: u16, bytes: impl Into<Vec<u8>>) -> Attribute {
    Attribute(kind, AttributeValue::Bytes(bytes.into()))
}

fn nested(kind: u16, inner: Vec<Attribute>) -> Attribute {
    Attribute(kind, AttributeValue::Nested(inner))
}

/// A value for a register.
fn value(kind: u16, value: &[u8]) -> Attribute {
    nested(kind, vec![bytes(1, value)])
}

/// The part of a packet that an expression reads or writes: 16 bytes, an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressField {
    Source,
    Destination,
    /// In the packet that an ICMPv6 error contains.
    QuotedSource,
    QuotedDestination,
}

impl AddressField {
    /// The header from which the offset counts (`NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`), and the offset.
    const fn place(self) -> (u32, u32) {
        match self {
            Self::Source => (1, 8),
            Self::Destination => (1, 24),
            Self::QuotedSource => (2, 16),
            Self::QuotedDestination => (2, 32),
        }
    }
}

/// How a comparison must end for the rule to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NftCmp {
    Equal = 0,
    Different = 1,
    AtMost = 3,
    AtLeast = 5,
}

/// What is known about a packet (`enum nft_meta_keys`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NftMeta {
    Mark = 3,
    Protocol = 16,
}

/// The only register used: 16 bytes.
const REGISTER: u32 = 1;

impl NftRule {
    fn with(mut self, name: &'static str, data: Vec<Attribute>) -> Self {
        self.0.push(Expression(name, data));
        self
    }

    /// Reads a field of the packet.
    pub fn load(self, field: AddressField) -> Self {
        let (base, offset) = field.place();
        self.with("payload", numbers([(1, REGISTER), (2, base), (3, offset), (4, 16)]))
    }

    /// Reads the first byte after the IPv6 headers: the type of an ICMPv6 message.
    pub fn load_type(self) -> Self {
        self.with("payload", numbers([(1, REGISTER), (2, 2), (3, 0), (4, 1)]))
    }

    /// Writes a field of the packet, and corrects the checksum of what the packet carries.
    pub fn store(self, field: AddressField) -> Self {
        let (base, offset) = field.place();
        // The checksums of TCP, UDP and ICMPv6 cover the addresses; that of ICMPv6, at its third byte, all of the message.
        let (kind, at, flags) = if base == 1 { (0, 0, 1) } else { (1, 2, 0) };
        let place = [(5, REGISTER), (2, base), (3, offset), (4, 16), (6, kind), (7, at), (8, flags)];
        self.with("payload", numbers(place))
    }

    pub fn load_meta(self, key: NftMeta) -> Self {
        self.with("meta", numbers([(1, REGISTER), (2, key as u32)]))
    }

    pub fn store_meta(self, key: NftMeta) -> Self {
        self.with("meta", numbers([(3, REGISTER), (2, key as u32)]))
    }

    /// Keeps the bits of `mask`, then flips those of `xor`.
    pub fn bitwise(self, mask: &[u8], xor: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or_default();
        let mut data = numbers([(1, REGISTER), (2, REGISTER), (3, length), (6, 0)]);
        data.extend([value(4, mask), value(5, xor)]);
        self.with("bitwise", data)
    }

    /// The rule goes on only if the comparison holds.
    pub fn compare(self, how: NftCmp, with: &[u8]) -> Self {
        let mut data = numbers([(1, REGISTER), (2, how as u32)]);
        data.push(value(3, with));
        self.with("cmp", data)
    }

    /// Asks the routing table for the type of the destination: `RTN_LOCAL` (2) for an address of this host.
    pub fn load_type_of_destination(self) -> Self {
        self.with("fib", numbers([(1, REGISTER), (2, 3), (3, 2)]))
    }

    /// Ends the chain for this packet.
    pub fn leave(self) -> Self {
        let verdict = nested(2, vec![bytes(1, (-5_i32).to_be_bytes())]);
        let mut data = numbers([(1, 0)]);
        data.push(nested(2, vec![verdict]));
        self.with("immediate", data)
    }

    fn encode(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for Expression(name, data) in &self.0 {
            let expression = [bytes(1, text(name)), nested(2, data.clone())];
            put(&mut list, 1 | NESTED, &encoded(&expression));
        }
        list
    }

    /// Whether the kernel's list of expressions says the same.
    fn is(&self, found: &[u8]) -> bool {
        let found: Vec<&[u8]> = attributes(found).map(|(_, expression)| expression).collect();
        let same = |(found, Expression(name, data)): (&&[u8], &Expression)| {
            bytes(1, text(name)).is_in(found) && nested(2, data.clone()).is_in(found)
        };
        found.len() == self.0.len() && found.iter().zip(&self.0).all(same)
    }
}

/// Appends an attribute.
fn put(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// A request: its type, and its body.
pub type NftMessage = (u16, Vec<u8>);

/// `struct nfgenmsg`.
const fn header(family: u8, resource: u16) -> [u8; HEADER] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// The body of a request about gipam's table.
pub fn of_table() -> Vec<u8> {
    let mut body = header(IP6, 0).to_vec();
    put(&mut body, NAME, &text(TABLE));
    body
}

/// The body of a request about all that belongs to IPv6.
pub fn of_family() -> Vec<u8> {
    header(IP6, 0).to_vec()
}

/// Begins a batch, which the kernel refuses unless nothing has changed since this generation; or ends one.
pub fn batch(kind: u16, generation: Option<u32>) -> NftMessage {
    let mut body = header(0, SUBSYSTEM >> 8).to_vec();
    if let Some(generation) = generation {
        put(&mut body, 1, &generation.to_be_bytes());
    }
    (kind, body)
}

/// The messages that put this table in the place of any other of its name.
pub fn replace(chains: &[NftChain]) -> Vec<NftMessage> {
    let mut messages = remove();
    let mut table = of_table();
    put(&mut table, TABLE_FLAGS, &[0; 4]);
    put(&mut table, TABLE_USERDATA, &comment());
    messages.push((NEWTABLE, table));
    for chain in chains {
        let mut body = of_table();
        put(&mut body, CHAIN_NAME, &text(chain.name));
        put(&mut body, CHAIN_TYPE, &text("filter"));
        put(&mut body, CHAIN_POLICY, &ACCEPT);
        hook(chain).encode(&mut body);
        messages.push((NEWCHAIN, body));
    }
    for chain in chains {
        for rule in &chain.rules {
            let mut body = of_table();
            put(&mut body, RULE_CHAIN, &text(chain.name));
            put(&mut body, RULE_EXPRESSIONS | NESTED, &rule.encode());
            messages.push((NEWRULE, body));
        }
    }
    messages
}

/// The messages that remove the table. A table that is missing is made first, because the kernel refuses to remove it.
pub fn remove() -> Vec<NftMessage> {
    vec![(NEWTABLE, of_table()), (DELTABLE, of_table())]
}

/// `NF_ACCEPT`.
const ACCEPT: [u8; 4] = [0, 0, 0, 1];

fn hook(chain: &NftChain) -> Attribute {
    nested(CHAIN_HOOK, vec![bytes(1, chain.hook.to_be_bytes()), bytes(2, chain.priority.to_be_bytes())])
}

/// The comment in the form of nft: type 0, length, text.
fn comment() -> Vec<u8> {
    let text = text(COMMENT);
    [&[0, u8::try_from(text.len()).unwrap_or_default()], &text[..]].concat()
}

/// What the kernel has under the name of gipam's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableInKernel {
    /// The body of the table's message; `None` if there is none.
    table: Option<Vec<u8>>,
    /// The bodies of its chains' and rules' messages, in the kernel's order.
    chains: Vec<Vec<u8>>,
    rules: Vec<Vec<u8>>,
}

impl TableInKernel {
    /// Takes a message of the kernel's answer.
    pub fn take(&mut self, kind: u16, body: &[u8]) {
        if !is_of_table(body) {
            return;
        }
        match kind {
            NEWTABLE => self.table = Some(body.to_vec()),
            NEWCHAIN => self.chains.push(body.to_vec()),
            NEWRULE => self.rules.push(body.to_vec()),
            _ => {}
        }
    }

    /// Whether there is a table of this name.
    pub const fn exists(&self) -> bool {
        self.table.is_some()
    }

    /// Whether gipam made the table.
    pub fn is_own(&self) -> bool {
        self.table.as_ref().is_some_and(|table| find(table, TABLE_USERDATA) == Some(&comment()))
    }

    /// Whether this is exactly the wanted table.
    pub fn is(&self, chains: &[NftChain]) -> bool {
        let Some(table) = self.table.as_ref().filter(|_| self.is_own()) else { return false };
        let count = u32::try_from(chains.len()).unwrap_or_default();
        // The kernel counts chains, sets and whatever else a table contains.
        let is_whole = find(table, TABLE_USE) == Some(&count.to_be_bytes());
        let is_active = find(table, TABLE_FLAGS).unwrap_or_default().iter().all(|byte| *byte == 0);
        let rules: usize = chains.iter().map(|chain| chain.rules.len()).sum();
        let is_counted = self.chains.len() == chains.len() && self.rules.len() == rules;
        is_whole && is_active && is_counted && chains.iter().all(|chain| self.has(chain))
    }

    fn has(&self, chain: &NftChain) -> bool {
        let name = text(chain.name);
        let is_wanted = |body: &&Vec<u8>| {
            find(body, CHAIN_NAME) == Some(&name)
                && find(body, CHAIN_TYPE) == Some(&text("filter"))
                && find(body, CHAIN_POLICY) == Some(&ACCEPT)
                && hook(chain).is_in(body.get(HEADER..).unwrap_or_default())
        };
        let found = self.rules.iter().filter(|body| find(body, RULE_CHAIN) == Some(&name));
        let found: Vec<&[u8]> = found.map(|body| find(body, RULE_EXPRESSIONS).unwrap_or_default()).collect();
        let same = |(found, wanted): (&&[u8], &NftRule)| wanted.is(found);
        self.chains.iter().any(|body| is_wanted(&body))
            && found.len() == chain.rules.len()
            && found.iter().zip(&chain.rules).all(same)
    }
}

/// Whether a message is about gipam's table or something in it.
pub fn is_of_table(body: &[u8]) -> bool {
    body.first() == Some(&IP6) && find(body, NAME) == Some(&text(TABLE))
}

/// The number of the kernel's generation of all tables.
pub fn generation(body: &[u8]) -> Option<u32> {
    find(body, 1).and_then(|id| Some(u32::from_be_bytes(id.try_into().ok()?)))
}

/// The value of an attribute in a message's body.
fn find(body: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(body.get(HEADER..)?).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

#[cfg(test)]
#[path = "nft_tests.rs"]
mod tests;
