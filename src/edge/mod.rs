//! EDGE: what gipam keeps in the kernel for the networks of the plan, by kind. Today: the routes to the slices of other hosts, and
//! the nftables table that translates prefixes.
//!
//! ```text
//!   plan, books, settings ──▶ kinds (`kind`)   the wanted set of each kind
//!                  kernel ──▶ difference       compared with what the kernel has (pure)
//!                              └──▶ kernel     removed and added by netlink, one by one
//! ```
//!
//! Kinds: `slice_routes` (wanted set: `routes`, netlink: `route_messages`), `translated` (rules: `translate`, their encoding: `nft`,
//! netlink: `nft_socket`).
//!
//! Promises: `keeper` makes the kernel's set equal to the wanted one at the start, after each change of what is wanted, and after each
//! notification that one may be gone or changed; it does not poll. What gipam did not make is never changed. Everything runs on a
//! thread of its own, so that no answer to Docker waits for it. At the end gipam removes what it made; after a crash it stays, and the
//! next start corrects it. Without the right to change the kernel, gipam says so and everything else goes on.

pub mod difference;
mod keeper;
mod kernel;
mod kind;
mod nft;
mod nft_socket;
mod route_messages;
pub mod routes;
mod slice_routes;
mod state;
mod translate;
mod translated;

pub use self::keeper::{Edge, EdgeCourse, start};
pub use self::kind::EdgeSettings;
pub use self::translated::{OuterNow, TranslatedPool};
