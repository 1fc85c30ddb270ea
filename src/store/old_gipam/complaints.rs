//! Messages about a lease file: why it was refused ([`Error`]), or what in it was odd ([`Oddity`]).
//!
//! Every text names the place in the file (`allocated[3].pool`) and the value; that of an error says what to do. The
//! file's own name is added by the caller, who knows it.

use std::net::IpAddr;

use ipnet::IpNet;

/// Something unusual in a file that could be read anyway. `Display` says what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// A prefix had host bits, which are masked.
    #[error("{key} is {text}: taken as {used}")]
    HostBits {
        /// Where.
        key: String,
        /// As written there.
        text: String,
        /// What is used.
        used: IpNet,
    },
    /// A pool without the length of its subnets.
    #[error("{key} is not set: subnets are taken to be /{size}")]
    DefaultSize {
        /// The missing key.
        key: &'static str,
        /// The length used: 24 or 64.
        size: u8,
    },
    /// The keys of both generations say different things.
    #[error("{first} and {second} differ: {second} is used, as the later gipam does")]
    BothGenerations {
        /// The key of the first generation.
        first: &'static str,
        /// The key of the second.
        second: &'static str,
    },
    /// `v` says another family than the prefix.
    #[error("subnet {id} says v {version}, its pool is {prefix}: the prefix counts")]
    Version {
        /// The subnet.
        id: String,
        /// Its `v`.
        version: u64,
        /// Its prefix.
        prefix: IpNet,
    },
    /// One subnet lists an address twice.
    #[error("subnet {id} lists {address} twice: taken once")]
    Duplicate {
        /// The subnet.
        id: String,
        /// The address.
        address: IpAddr,
    },
    /// An address is held, and given back as well.
    #[error("subnet {id} lists {address} as held and as free: taken as held")]
    HeldAndFree {
        /// The subnet.
        id: String,
        /// The address.
        address: IpAddr,
    },
    /// A held address does not lie in its subnet.
    #[error("subnet {id} holds {address}, which lies outside {prefix}: kept apart")]
    Outside {
        /// The subnet.
        id: String,
        /// The address.
        address: IpAddr,
        /// The subnet's prefix.
        prefix: IpNet,
    },
    /// Two held subnets overlap; both are kept.
    #[error("subnet {id} ({prefix}) overlaps subnet {other} ({other_prefix}): both are kept")]
    Overlap {
        /// The later one in the file.
        id: String,
        /// Its prefix.
        prefix: IpNet,
        /// The earlier one.
        other: String,
        /// Its prefix.
        other_prefix: IpNet,
    },
    /// A subnet in `free` that is held, or listed already; it is left out.
    #[error("free subnet {id} ({prefix}) is, or overlaps, subnet {other} ({other_prefix}): left out of free")]
    FreeTwice {
        /// The subnet in `free`.
        id: String,
        /// Its prefix.
        prefix: IpNet,
        /// The other one.
        other: String,
        /// Its prefix.
        other_prefix: IpNet,
    },
    /// A subnet that was given back still holds addresses, which that program always emptied.
    #[error("free subnet {id} ({prefix}) still holds addresses ({count}): it was given back, they are free")]
    FreeHolds {
        /// The subnet.
        id: String,
        /// Its prefix.
        prefix: IpNet,
        /// How many.
        count: usize,
    },
}

/// Why a file was not taken. Every text says what to do; the file itself was only read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text ends before its last bracket.
    #[error(
        "the lease file ends in the middle, at line {line}: it was cut off while it was written; \
         put a whole copy of it in its place, or start with another --file and empty books"
    )]
    Truncated {
        /// The last line.
        line: usize,
    },
    /// Not JSON.
    #[error("the lease file is not JSON: {text}; correct it, or put a whole copy of it in its place")]
    Syntax {
        /// What is wrong, with line and column.
        text: String,
    },
    /// JSON, but none of the keys.
    #[error(
        "this is not a gipam lease file: it has none of the keys v4, v6, allocated, V4Pool, V6Pool; give the right --file"
    )]
    NoLeaseFile,
    /// A value of the wrong kind.
    #[error("the lease file has {found} at {at} where {expected} is needed; correct it by hand")]
    Kind {
        /// Where: `allocated[3].idx`.
        at: String,
        /// What there is.
        found: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// A text that is not a prefix or address, or a number out of bounds.
    #[error("the lease file has \"{text}\" at {at}: {why}; correct it by hand")]
    Value {
        /// Where.
        at: String,
        /// The value there.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// One object has a key twice, so that one of them would be lost.
    #[error("the lease file has the key {at} twice; join the two by hand")]
    KeyTwice {
        /// Where.
        at: String,
    },
    /// Two held subnets with one id: Docker's requests could mean either.
    #[error("the lease file has two subnets with the id {id}, {first} and {second}; remove one by hand")]
    IdTwice {
        /// The id.
        id: String,
        /// The first prefix.
        first: IpNet,
        /// The second.
        second: IpNet,
    },
}
