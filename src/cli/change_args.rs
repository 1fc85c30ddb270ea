//! The arguments of commands that change the books or the plan: `import`, `reserve`, `pin`, `pool`.
//!
//! Promises: every change can be rehearsed, with `--dry-run`, or for `import` without `--apply`. Does not resolve anything.

use clap::{Args, Subcommand};

/// What to take into the books.
#[derive(Clone, Debug, Args)]
#[command(after_help = IMPORT)]
pub(super) struct ImportArgs {
    /// the file; - is standard input
    #[arg(value_name = "FILE")]
    pub(super) list: std::path::PathBuf,
    /// do it; without this, only say what would be done (a lease file is taken over at once)
    #[arg(long)]
    pub(super) apply: bool,
    /// refuse what is not the output of docker network inspect
    #[arg(long)]
    pub(super) inspect: bool,
    /// a lease file: even if the books already hold something
    #[arg(long)]
    pub(super) replace: bool,
}

/// What the files are.
const IMPORT: &str = "\
The content says what a file is:
  what docker network inspect prints
      docker network inspect $(docker network ls -q) | gipam import --inspect -
      Networks of this driver that the books lack are adopted, with their range, gateway and live addresses, as
      gipam gc --apply does, which asks the Engine itself. A network of another IPAM driver goes on calling that
      driver, so nothing is taken for it; its addresses can be kept out of dynamic choice with gipam reserve.
  a table (CSV) whose first line names the columns, in any order:
      subnet, pool_id, range, address, kind, holder, mac
      Only subnet is needed. A subnet has a line for each of its addresses. Kinds are gateway, auxiliary,
      endpoint, unknown. It is taken whole or not at all. What the books know already changes nothing.
  a lease file of the old gipam: taken over at once, if the books hold nothing or with --replace";

/// What to reserve.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ReservationArgs {
    /// a prefix, an address, or the first and the last of several
    #[arg(value_name = "PREFIX|ADDRESS|FROM-TO")]
    pub(super) range: Option<String>,
    /// it must touch this pool, or nothing is changed
    #[arg(long, value_name = "NAME")]
    pub(super) pool: Option<String>,
    /// only say what would change
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What to pin.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct PinArgs {
    /// a container's name, or a MAC: Engines before 29 do not send names
    #[arg(value_name = "NAME|MAC")]
    pub(super) holder: String,
    #[command(flatten)]
    pub(super) at: UnpinArgs,
}

/// Where a pin is.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct UnpinArgs {
    /// the address
    pub(super) address: String,
    /// its subnet, where several have it: a prefix or a PoolID
    #[arg(long, value_name = "SUBNET")]
    pub(super) subnet: Option<String>,
    /// only say what would change
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What to do with a pool.
#[derive(Debug, Subcommand)]
pub(super) enum PoolArgs {
    /// a new pool, a further family of one, or a closed one open again
    Add(PoolCut),
    /// no new subnets from it; it goes when it is empty
    Close {
        /// the pool
        #[arg(value_name = "NAME")]
        pool: String,
        /// only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// change the length of its future subnets, or extend its prefix to a larger one
    Resize(PoolCut),
}

/// From what a pool cuts what.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct PoolCut {
    /// the pool
    #[arg(value_name = "NAME")]
    pub(super) pool: String,
    /// from this IPv4 prefix
    #[arg(long, value_name = "PREFIX")]
    pub(super) v4: Option<String>,
    /// subnets of this length
    #[arg(long, value_name = "LENGTH")]
    pub(super) v4_size: Option<u8>,
    /// from this IPv6 prefix
    #[arg(long, value_name = "PREFIX")]
    pub(super) v6: Option<String>,
    /// subnets of this length
    #[arg(long, value_name = "LENGTH")]
    pub(super) v6_size: Option<u8>,
    /// only say what would change
    #[arg(long)]
    pub(super) dry_run: bool,
}
