//! Requests for changes: the arguments of `gipam reserve`, `pin`, `unpin` and `pool`, which are also the bodies of these
//! requests to the admin socket.
//!
//! Promises: every change has `--dry-run`. Does not resolve anything.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

/// What to reserve.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct ReservationArgs {
    /// a prefix, an address, or the first and the last address of a range
    #[arg(value_name = "PREFIX|ADDRESS|FROM-TO")]
    pub range: Option<String>,
    /// change nothing unless the range overlaps this pool
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// only print what would change
    #[arg(long)]
    #[serde(default)]
    pub dry_run: bool,
}

/// What to pin.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct PinArgs {
    /// a container's name, or a MAC (Engines before 29 do not send names)
    #[arg(value_name = "NAME|MAC")]
    pub holder: String,
    #[command(flatten)]
    #[serde(flatten)]
    pub at: UnpinArgs,
}

/// The address of a pin.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct UnpinArgs {
    /// the address
    pub address: String,
    /// its subnet, if several subnets contain the address: a prefix or a PoolID
    #[arg(long, value_name = "SUBNET")]
    pub subnet: Option<String>,
    /// only print what would change
    #[arg(long)]
    #[serde(default)]
    pub dry_run: bool,
}

/// What to do with a pool.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum PoolArgs {
    /// add a pool, add a family to a pool, or reopen a closed pool
    Add(PoolCut),
    /// stop giving subnets from a pool, and remove it when it is empty
    Close {
        /// the pool
        #[arg(value_name = "NAME")]
        name: String,
        /// only print what would change
        #[arg(long)]
        #[serde(default)]
        dry_run: bool,
    },
    /// change the length of a pool's future subnets, or extend its prefix
    Resize(PoolCut),
}

/// The prefixes of a pool, and the sizes of its subnets.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub struct PoolCut {
    /// the pool
    #[arg(value_name = "NAME")]
    pub name: String,
    /// the IPv4 prefix of the pool
    #[arg(long, value_name = "PREFIX")]
    pub v4: Option<String>,
    /// the length of its IPv4 subnets
    #[arg(long, value_name = "LENGTH")]
    pub v4_size: Option<u8>,
    /// the IPv6 prefix of the pool
    #[arg(long, value_name = "PREFIX")]
    pub v6: Option<String>,
    /// the length of its IPv6 subnets
    #[arg(long, value_name = "LENGTH")]
    pub v6_size: Option<u8>,
    /// only print what would change
    #[arg(long)]
    #[serde(default)]
    pub dry_run: bool,
}
