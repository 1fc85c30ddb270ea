//! THE ROWS OF THE CLUSTER: each breaks things of one kind, sees that this is noticed, and repairs it.

mod contract;
mod cuts;
mod daemons;
mod forget;
mod members;
mod mixed;
mod restore;

pub use self::contract::run as contract;
pub use self::cuts::run as cuts;
pub use self::daemons::run as daemons;
pub use self::forget::run as forget;
pub use self::members::run as members;
pub use self::mixed::run as mixed;
pub use self::restore::run as restore;
