//! EDGE: what gipam keeps in the kernel for the networks of the plan, by kind: the routes to the slices of other hosts, discard routes,
//! neighbour proxy entries, the nftables table that translates prefixes.
//!
//! ```text
//!   plan, books, settings ──▶ kinds (`kind`)   the wanted set of each kind
//!                  kernel ──▶ difference       compared with what the kernel has (pure)
//!                              └──▶ kernel     removed and added by netlink, one by one
//! ```
//!
//! Kinds: `slice_routes` (wanted set: `routes`, netlink: `route_messages`), `discards` (the same netlink), `proxies` (netlink:
//! `proxy_messages`; it follows `leases` one by one, and needs `sysctls`), `translated` (rules: `translate`,
//! their encoding: `nft`, netlink: `nft_socket`). `gather` collects the facts from which all derive what they want; `places` keeps
//! in the books where each kind may have objects.
//!
//! Promises: `keeper` makes the kernel's set equal to the wanted one at the start, after each change of what is wanted, and after each
//! notification that one may be gone or changed; it does not poll. What gipam did not make is never changed. Everything runs on a
//! thread of its own, so that no answer to Docker waits for it. At the end gipam removes what it made; after a crash it stays, and the
//! next start corrects it, or removes it if it is not configured any more. Without the right to change the kernel, gipam says so and everything else goes on.

pub mod difference;
mod discards;
mod gather;
mod keeper;
mod kept;
mod kernel;
mod kind;
mod leases;
mod nft;
mod nft_socket;
mod places;
mod proxies;
mod proxy_messages;
mod route_messages;
pub mod routes;
mod slice_routes;
mod state;
mod sysctls;
mod translate;
mod translated;

pub use self::keeper::{Edge, EdgeAtStart, EdgeCourse, start};
pub use self::kind::EdgeSettings;
pub use self::places::PLACES;
pub use self::sysctls::SYSCTLS;
pub use self::translated::{OuterNow, TranslatedPool};
