//! THE BOOKS: what was granted, on disk. SQLite in WAL mode with `synchronous=FULL`, locked for one writer.
//!
//! The contract: [`Books::write`] takes a change into the open transaction, [`Books::commit`] makes all of them
//! durable with one sync; only then may an answer leave. A failed commit is *definite* when the disk was full or busy
//! (the transaction is rolled back and the books are as before) and *unknown* otherwise: the caller must stop, because
//! the change may or may not be there. [`Books::load`] gives back changes that rebuild the plan. Unreadable, foreign or
//! newer files are refused and left as they are; existing books are never replaced by empty ones. Does not decide.

pub mod backup;
pub mod by_hand;
mod error;
pub mod events;
pub mod history;
mod lines;
mod load;
mod lock;
mod log;
pub mod log_size;
pub mod names;
pub mod old_gipam;
mod owner;
mod pins;
mod reserve;
pub mod restore;
mod schema;
mod settings;
mod sqlite;
mod stamps;
mod tail;
pub mod takeover;
mod write;

pub use self::sqlite::{Books, CommitError, Reader, StoreError};
