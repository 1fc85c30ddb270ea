//! Reads and writes the lease files of the old gipam, an earlier program of the same name, in both of their
//! generations.
//!
//! No lease in a file is lost silently. A value that cannot be understood causes a [`LeaseFileError`] that
//! names the place and what to do; an odd value that can be understood is kept and reported, with its place
//! and how it was read. This module takes and returns bytes and never opens, writes or moves a file.
//! `takeover` turns [`OldBooks`] into changes.
//!
//! # The content of a lease file
//!
//! | key, second generation | first | meaning |
//! |---|---|---|
//! | `v4`, `v6` | `V4Pool`, `V6Pool` | the base of the family's only pool, `""` if it has no pool |
//! | `v4ab`, `v6ab` | `V4AllocateBlock`, `V6AllocateBlock` | the prefix length of the subnets that are cut from the pool |
//! | `v4idx`, `v6idx` | `V4Idx`, `V6Idx` | number of the subnet to cut next, starting at 0; absent means 0 |
//! | `allocated` | `Allocated` | the subnets that Docker networks hold |
//! | `free` | `Free` | returned subnets: emptied, with `idx` 1, and granted again *with the same id* before a new one is cut |
//!
//! A subnet has `id` (16 random letters and digits: exactly Docker's PoolID), `v` (4 or 6), `pool` (its
//! prefix), `idx` (host number of the next address that was never granted, starting at 1; 0 is the network
//! address), `allocated` (the held addresses, without prefix length) and `free` (returned addresses, reused
//! last in, first out, before `idx` grows). Lists that never had an entry are `null`. Keys match in any case
//! and order; unknown keys are ignored.
//!
//! # How the old program behaved, as its files show
//!
//! * The gateway is an address like any other, usually the first in `allocated`; it has no mark.
//! * It ignored requests for a particular subnet, range or address, so all subnets are cut from the pool in
//!   turn, and an address in the file is what Docker got.
//! * For IPv4, it counts up to and including the broadcast address (`idx` 256 in a /24), so that address may
//!   be leased.
//! * It saved in place, every 30 s and at a clean exit, so a file may be out of date or truncated. It treated
//!   an unreadable file like a missing one and started empty.
//! * A PoolID does not name an address space: both names that the program announced were empty.
//! * The first generation could not read its own files: it wrote `Allocated` and `V4AllocateBlock` and looked
//!   for `Allocate` and `V4AllocatedBlock`. Both spellings are read here. The second ignores the first's pool
//!   keys.
//! * It hangs at startup if a pool has the prefix length of its subnets, or if a subnet is a /32 or /128; see
//!   [`obstacles`].

mod export;
mod json;
mod parse;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use sha2::Digest as _;

pub use export::{obstacles, settle, write};
pub use parse::parse;

use crate::plan::prefix::Prefix;
use crate::plan::settings::Base;

/// Why a file was refused, and what to do. The caller adds the name of the file, which is not known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LeaseFileError(String);

/// What kind of file the first bytes show; its name does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Text that begins with `{`: an old lease file, possibly truncated.
    Json,
    /// An SQLite database: our own books.
    Sqlite,
    /// Empty, or only white space.
    Empty,
    /// Anything else.
    Other,
}

/// Distinguishes a lease file from a database by its content. A few bytes from the beginning are enough.
pub fn detect(bytes: &[u8]) -> FileKind {
    if bytes.starts_with(b"SQLite format 3\0") {
        return FileKind::Sqlite;
    }
    match without_mark(bytes).iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => FileKind::Empty,
        Some(b'{') => FileKind::Json,
        Some(_) => FileKind::Other,
    }
}

/// SHA-256 of a file's bytes in hexadecimal digits, which shows later whether the file has changed since its
/// takeover.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(&sha2::Sha256::digest(bytes))
}

/// Bytes as hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes the byte order mark that some editors put at the beginning of a text.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// One subnet, either held or returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldSubnet {
    /// Docker's PoolID: opaque, never empty, unique among the held subnets.
    pub id: String,
    pub prefix: Prefix,
    /// Host number of the next address that was never granted; this and higher ones were free when the file
    /// was saved.
    pub next_index: u64,
    /// The held addresses, including the gateway, in the file's order; each occurs once and lies inside the
    /// prefix.
    pub addresses: Vec<IpAddr>,
    /// Returned addresses, in the file's order; none of them is held.
    pub free: Vec<IpAddr>,
    /// Held addresses of either family outside the prefix, kept so that no lease is lost.
    pub outside: Vec<IpAddr>,
}

/// Everything in a lease file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldBooks {
    /// The only IPv4 pool.
    pub v4: Option<Base>,
    /// The only IPv6 pool.
    pub v6: Option<Base>,
    /// Number of the next IPv4 subnet to cut from the pool.
    pub v4_next_index: u64,
    /// Number of the next IPv6 subnet to cut from the pool.
    pub v6_next_index: u64,
    /// The subnets that Docker networks hold, in the file's order.
    pub allocated: Vec<OldSubnet>,
    /// The returned subnets, in the file's order; none overlaps another or a held one.
    pub free: Vec<OldSubnet>,
}

/// The content of a file, and its oddities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub books: OldBooks,
    /// Oddities to report, in the file's order; empty for a file exactly as the old program writes it.
    pub oddities: Vec<String>,
}
