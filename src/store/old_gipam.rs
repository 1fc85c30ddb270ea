//! The lease files of the gipam that came before, an earlier program of the same name, both generations: read them, and write them.
//!
//! It promises that no lease of a file is lost in silence: what is not understood is a [`LeaseFileError`] that names the
//! place and what to do, what is understood though odd is kept and listed with its place and what was done about it. It
//! never opens, writes or moves a file; bytes come in and go out. It does not know our plan; the caller turns [`OldBooks`]
//! into changes.
//!
//! # What is in such a file
//!
//! | key, second generation | first | meaning |
//! |---|---|---|
//! | `v4`, `v6` | `V4Pool`, `V6Pool` | the base of the family's one pool, `""` for none |
//! | `v4ab`, `v6ab` | `V4AllocateBlock`, `V6AllocateBlock` | the prefix length of the subnets cut from it |
//! | `v4idx`, `v6idx` | `V4Idx`, `V6Idx` | number of the subnet to cut next, from 0; absent for 0 |
//! | `allocated` | `Allocated` | the subnets that Docker networks hold |
//! | `free` | `Free` | subnets given back: emptied, `idx` 1 again, and given out again *under the same id* before a new one is cut |
//!
//! A subnet has `id` (16 random letters and digits: Docker's PoolID, with nothing around it), `v` (4 or 6), `pool` (its
//! prefix), `idx` (host number of the next address never given, from 1; 0 is the network address), `allocated` (the
//! addresses held, without prefix length) and `free` (addresses given back, reused last in, first out, before `idx`
//! grows). Lists that never had an entry are `null`. Keys match in any case and order; unknown ones are ignored.
//!
//! # What that program did, which a file shows
//!
//! * The gateway is an address like the others, usually the first of `allocated`: nothing marks it.
//! * It ignored the subnet, range and address that were asked for, so all subnets are cut from the pool in turn, and
//!   an address in the file is what Docker got.
//! * IPv4 counts up to and including the broadcast address (`idx` 256 in a /24), which may thus be leased.
//! * It saved every 30 s and at an orderly end, in place: a file may lag behind, or be cut off in the middle. It
//!   took an unreadable file for none and started empty.
//! * A PoolID knows no address space: the two names it announced were empty.
//! * The first generation could not read its own files: it wrote `Allocated` and `V4AllocateBlock` and looked for
//!   `Allocate` and `V4AllocatedBlock`. Both spellings are read here. The second ignores the first's pool keys.
//! * Pools of the length of their subnets, or subnets of /32 and /128, hang it at its start; see [`obstacles`].

mod export;
mod json;
mod parse;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use ipnet::IpNet;
use sha2::Digest as _;

pub use export::{obstacles, settle, write};
pub use parse::parse;

/// Why a file was not taken, and what to do; the file itself was only read. Its name is added by the caller, who knows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LeaseFileError(String);

/// What the first bytes of a file show it to be; its name does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Text that begins with `{`: an old lease file, or the beginning of one.
    Json,
    /// A SQLite database: our own books.
    Sqlite,
    /// Nothing, or nothing but blanks.
    Empty,
    /// Anything else.
    Other,
}

/// Tells a lease file from a database by the content. A few bytes from the beginning are enough.
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

/// SHA-256 of a file's bytes, by which a file that changed after its takeover is known.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

/// Some editors put a byte order mark in front of a text.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Whose spelling of the keys a file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// `V6Pool`, `V6AllocateBlock`, `V6Idx` ... `ID`, `V`, `Pool`, `Idx`.
    First,
    /// `v6`, `v6ab`, `v6idx` ... `id`, `v`, `pool`, `idx`.
    Second,
}

/// A family's one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldPool {
    /// The prefix from which subnets are cut, host bits zero.
    pub base: IpNet,
    /// The prefix length of the subnets.
    pub size: u8,
}

/// One subnet, held or given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldSubnet {
    /// Docker's PoolID, opaque, never empty, unique among the subnets that are held.
    pub id: String,
    /// The subnet, host bits zero.
    pub prefix: IpNet,
    /// Host number of the next address never given; those from here on were free when the file was saved.
    pub next_index: u64,
    /// The addresses held, gateway included, in the file's order; each once and inside the prefix.
    pub addresses: Vec<IpAddr>,
    /// Addresses given back, in the file's order; none of them is held.
    pub free: Vec<IpAddr>,
    /// Addresses held that lie outside the prefix, of either family: kept so that no lease is lost.
    pub outside: Vec<IpAddr>,
}

/// All that a lease file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldBooks {
    /// Whose spelling the file used; [`write()`] always uses the second.
    pub generation: Generation,
    /// The IPv4 pool.
    pub v4: Option<OldPool>,
    /// The IPv6 pool.
    pub v6: Option<OldPool>,
    /// Number of the next IPv4 subnet to cut from the pool.
    pub v4_next_index: u64,
    /// Number of the next IPv6 subnet to cut from the pool.
    pub v6_next_index: u64,
    /// The subnets that Docker networks hold, in the file's order.
    pub allocated: Vec<OldSubnet>,
    /// The subnets given back, in the file's order; none overlaps another or a held one.
    pub free: Vec<OldSubnet>,
}

/// A file that was read, and what was odd about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What it says.
    pub books: OldBooks,
    /// Oddities to report, in the file's order; empty for a file as that program writes them.
    pub oddities: Vec<String>,
}
