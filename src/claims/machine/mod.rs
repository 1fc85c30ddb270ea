//! THE MACHINE OF CLAIMS: how this host gets its slices if the hosts agree through a store. Pure: no I/O, no clock, no chance.
//!
//! The store is any key-value store with transactions. Nothing is decided on a read, by a clock, or by the end of a lease: each
//! decision is one transaction that compares exact values. What is not proven dead is alive: only a person forgets a host.
//!
//! # What is in the store (`records`; values are JSON, compared as bytes)
//!
//! ```text
//! plan                        {"version":1,"id":"…","epoch":3,"mark":"…","settled":3}   made once by a person
//! pool/<v4|v6>/<base>         {"slice":20,"shared":false,"by_number":null}              made by the first claim, never changed
//! host/<id>                   {"name":"a","via":[…],"fenced":null,"beat":812,"epoch":3,"mark":"…","machine":"…","run":"…"}
//! slice/<v4|v6>/<hex>-<length> {"host":"<id>","seq":17,"epoch":3,"run":"…"}
//! ```
//! A slice has the length of its pool, or is a single address in the pool's part that is claimed by number. The two parts do not
//! meet, so that different keys never overlap: the key is the slice. `seq` and `run` make each value of a slice unique.
//!
//! # Invariants (`tests/claims` checks them after each step of simulated histories)
//!
//! *one owner*: no slice is held in the books of two hosts, and none is used by two. *booked*: nothing is used that the books do
//! not hold. *no epoch without a restore*. At the end: every want is answered, nobody waits for ever, and the store has exactly
//! the slices that books hold.
//!
//! # What happens in which order, and what a crash leaves
//!
//! | operation | order | a crash in between leaves |
//! |---|---|---|
//! | claim | books: `seq` + 1; one transaction: slice absent, or with the value of a forgotten host; plan as known and settled; own record as last written; put. Books: held. Answer | a slice in the store that the books lack: *adopted* after the next list, by the same transaction on its value |
//! | give back | books: leaving (refused while something is in it); a beat, acknowledged; one transaction: slice as read, own record as last written; delete. Books: gone | books that say leaving: goes on after the next start |
//! | beat | books: intended; one transaction: own record as read; put with the beat. Books: acknowledged. At each start, and every 10 minutes | an intended beat: both values are good |
//! | forget a host | one transaction: its record as read; fenced. Final | nothing |
//! | list | everything, at a start, before a claim, and after anything unexpected | - |
//! | look | plan and own record, once a minute | - |
//!
//! Every transaction on a slice compares this host's own record. A start begins with a beat, which changes that record: after it
//! no call of an earlier run, however late or doubled, changes anything, and the list that follows is the truth about this
//! host's slices. A call with an unknown outcome is repeated with the same bytes until it is answered: that an earlier attempt
//! happened is seen by the value, if plan and own record are unchanged.
//!
//! # Older books, older store
//!
//! * *The books are older* (a restored backup, a machine that was set back): the own beat in the store is above the intended
//!   one, or the store has a claim that the books never counted. The store wins: what it says is this host's is held; what the
//!   books hold beyond that is lost (nothing new is granted in it, and people see it). That the books are older is durable until
//!   they agree.
//! * *The store is older* (restored from a backup): a person says so with `gipam join --restored`, or a host notices: its own beat
//!   is below the acknowledged one or missing, a slice that the books hold is missing or another's, or the plan's epoch is not
//!   the one at which the host arrived and is not higher either. One transaction that compares all of this begins a new epoch.
//! * *At a new epoch* the books win. Each host deletes its slices that its books do not hold, puts back those that they do hold
//!   over whatever an older epoch left there, puts back hosts that it has seen and the store lacks, forgets again those that
//!   were forgotten, and then says by a beat that it has arrived. When all hosts have arrived, one of them settles the epoch.
//!   Until then nobody claims: so no slice that the books of a host hold can be claimed before that host puts it back.
//! * An epoch is a number and a random mark: a store that is restored twice from one backup has the same number twice.
//! * The first to arrive keeps a slice that two books hold, which can happen only after a restore that nobody announced.
//!
//! Not covered, and said by the commands: a forgotten host that is alive, and a host with older books, go on by their books until
//! they reach the store. A host whose books were set back while the store was restored, too, may lack a slice that neither knows
//! any more, with networks in it: once repair has found them, the slice is claimed ([`Need::Around`](event::Need)), or lost if
//! another host has it by then. Such a host may also take its own former beat for that of a copy of its books, and stop until a
//! person lets it join as a new one. A host that joined after the backup was taken, and that nobody has seen, is not awaited.
//!
//! # Found by the simulator
//!
//! * Older books said *leaving* of a slice that had been given back and claimed again since, with networks in it: the host went on
//!   giving it back. While the books are older, a slice that the store has is held, whatever the books say.
//! * A claim was refused, and a doubled copy of it landed after the slice had become free: a slice in the store that the books
//!   did not know, until the next list. After a refused claim comes a beat, and then the list (seed 6025 of 10,000).
//! * A network with a range in a shared pool got a slice outside of its range, and still had no address: the next request claimed
//!   another. Room is wanted in a part of a pool.
//! * Three requests waited for a slice with room for two. The third was decided when the slice entered the books, and wanted
//!   another one; the commit of the first slice then answered this want, too, and the request waited until its time was over. A
//!   slice answers only wants that came before it was written into the books.
//! * Books that were set back called a slice empty in which an unknown network ran, and the host gave it back. Nothing is given
//!   back before repair has compared the books with the Engine (`task/upkeep`).

mod agree;
mod arrive;
mod beat;
pub mod calls;
pub mod candidate;
mod claim;
pub mod event;
mod give_back;
pub mod listing;
pub mod mutants;
mod outlook;
pub mod own_books;
pub mod records;
mod seen;
mod stage;
mod step;

pub use step::Machine;
