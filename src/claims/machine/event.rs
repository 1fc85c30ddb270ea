//! What goes into the machine and what comes out of it.
//!
//! Promises: plain values; time comes in with [`ClaimEvent::Tick`] and nowhere else.

use crate::plan::prefix::Prefix;
use crate::plan::settings::{Base, Millis};

use super::calls::{StoreCall, StoreReply};
use super::own_books::{BookEntry, ClaimBooks};
use super::records::PoolRecord;

/// How a pool is cut, as this host's settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub base: Prefix,
    /// The length of a slice.
    pub slice: u8,
    pub shared: bool,
    /// The part of a shared pool whose addresses are claimed one by one.
    pub by_number: Option<Prefix>,
}

impl Geometry {
    /// How this base is cut; `None` if it is not in slices.
    pub fn of(base: &Base) -> Option<Self> {
        let by_number = base.shared.and_then(|shared| shared.by_number);
        Some(Self { base: base.base, slice: base.slice?, shared: base.shared.is_some(), by_number })
    }

    /// The record in the store.
    pub fn record(&self) -> PoolRecord {
        let by_number = self.by_number.map(|part| part.to_string());
        PoolRecord { slice: self.slice, shared: self.shared, by_number }
    }
}

/// What is wanted of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Any slice in this part of the pool: the whole pool, or the range of a network.
    Room { part: Prefix },
    /// The slices that contain this prefix.
    These(Prefix),
    /// This slice, in which the host has networks already. If another host owns it, the books say that it is lost.
    Around(Prefix),
}

/// This host, as its settings say; the id was made with its books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostIdentity {
    pub id: String,
    pub name: String,
    pub via: Vec<String>,
    pub machine: String,
}

/// What the machine starts with.
#[derive(Clone, Debug)]
pub struct Started {
    pub host: HostIdentity,
    pub books: ClaimBooks,
    /// Random text, different at each start.
    pub run: String,
    pub now: Millis,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum ClaimEvent {
    /// Time has passed. Comes at least once a second.
    Tick { now: Millis },
    /// Something is wanted, and answered under this number.
    Want { want: u64, pool: Geometry, need: Need },
    /// Nothing is left in a slice, and it is not needed as a spare. Comes only after repair has compared the books with the
    /// Engine since the start: older books do not contain every network that runs.
    GiveBack { prefix: Prefix },
    /// A person says that a host is gone for good.
    Forget { host: String },
    /// The store answered a call.
    Replied { call: u64, reply: StoreReply },
    /// A call has no answer: it may have happened, or may still happen.
    Unknown { call: u64, why: String },
    /// The books have all entries of a write.
    Committed { write: u64 },
    /// The books have none of them: the disk is full, or something is still in the slice.
    Refused { write: u64, why: String },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimAction {
    /// Call the store.
    Call {
        call: u64,
        what: StoreCall,
    },
    /// Write all entries into the books, durably, or none.
    Write {
        write: u64,
        entries: Vec<BookEntry>,
    },
    /// The answer to a want. `Owned`: the books have a slice of the wanted kind, this one. `Cannot`: why not, and what to do.
    Owned {
        want: u64,
        slice: Prefix,
    },
    Cannot {
        want: u64,
        text: String,
    },
    /// The result of a command that forgets a host.
    Forgotten {
        host: String,
        result: Result<(), String>,
    },
    /// For the log.
    Note(String),
}
