//! THE BOOKS: the database of all grants. SQLite in WAL mode with `synchronous=FULL`, locked for one writer.
//!
//! The contract: [`Books::write`] adds a change to the open transaction, and [`Books::commit`] makes all of
//! them durable with one sync; no answer may be sent before that. A failed commit is *definite* if the disk
//! was full or busy (the transaction is rolled back and the books are as before) and *unknown* otherwise: the
//! caller must stop, because the change may or may not be on disk. [`Books::load`] returns changes that
//! rebuild the plan. Unreadable, foreign or newer files are refused and left unchanged; existing books are
//! never replaced by empty ones. Makes no decisions.

pub mod backup;
mod by_hand;
mod error;
pub mod events;
mod headroom;
pub mod history;
pub mod lines;
mod load;
mod lock;
pub mod log;
pub mod names;
pub mod old_gipam;
mod owner;
pub mod restore;
mod schema;
mod settings;
mod slices;
mod sqlite;
mod stamps;
mod tail;
pub mod takeover;
mod write;

pub use self::sqlite::{Books, CommitError, Reader, StoreError, Tables};
