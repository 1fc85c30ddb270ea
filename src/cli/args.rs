//! The arguments, as clap reads them after `compat.rs` has normalized the old spelling.
//!
//! Promises: the common options (`--admin`, `--config`, `--file`, `--json`) may come before or after the command;
//! those that start the driver come with `serve` or alone. Does not resolve anything: see `config`.

use clap::{Args, Parser, Subcommand};

use super::error::CliError;
use super::help;
use super::listed::ImportArgs;
use crate::admin::asked::{PinArgs, PoolArgs, ReservationArgs, UnpinArgs};
use crate::config::Options;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "gipam",
    version,
    about = "a Docker IPAM driver: every network gets its own routed subnet",
    long_about = None,
    override_help = help::TEXT,
    args_override_self = true,
    disable_help_subcommand = true,
    subcommand_value_name = "COMMAND"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) serve: Options,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Common {
    /// the daemon's admin socket
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) admin: Option<String>,
    /// the TOML configuration
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<String>,
    /// the books, or an old lease file
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) file: Option<String>,
    /// print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// start the driver
    Serve(Options),
    /// the state of the driver, on one screen
    Status,
    /// status and events, live; q quits; on a pipe, one line per change
    Top,
    /// the pools, and how many subnets are free
    Pools,
    /// the subnets that networks have
    Subnets,
    /// the hosts of the plan, and their last signs of life
    Hosts {
        #[command(subcommand)]
        command: Option<HostsCommand>,
    },
    /// the slices of shared pools, the host of each, and the room left
    Slices,
    /// the routes to the slices of other hosts, for the program that makes them
    Routes {
        /// the program
        #[arg(long, default_value = "ip", value_parser = ["ip", "frr", "bird", "wireguard", "tailscale", "json"])]
        format: String,
        /// the routes of this host of the plan instead of one's own
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
    },
    /// the addresses and who holds them
    Leases(Leases),
    /// details of one address, or of the addresses of a container, a MAC or a network
    Who {
        /// an address, or a name
        #[arg(value_name = "ADDRESS|NAME")]
        address: String,
    },
    /// the address space as a map: all pools, one pool, or one subnet
    Map {
        /// a pool's name, or a prefix
        #[arg(value_name = "POOL|SUBNET")]
        of: Option<String>,
    },
    /// why an address or a subnet would be given or refused, step by step
    Explain(Explain),
    /// what happened, latest first
    History {
        /// only events of this address, subnet, container, network or MAC
        #[arg(value_name = "ADDRESS|NAME")]
        of: Option<String>,
        /// only events since this time: a time, or a span before now such as 10m, 2h, 3d
        #[arg(long, value_name = "WHEN")]
        since: Option<String>,
        /// at most this many events
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// import what a file lists into the books: networks, a table, or a lease file of the old gipam
    Import(ImportArgs),
    /// print a lease file for the old gipam
    Export {
        /// the format of the file
        #[arg(long, default_value = "leases.json", value_parser = ["leases.json"])]
        format: String,
    },
    /// copy the books to a new file, even while the daemon runs
    Backup {
        /// the new file
        #[arg(value_name = "FILE")]
        copy: std::path::PathBuf,
    },
    /// replace the books with a copy, while no daemon runs
    Restore {
        /// the copy
        #[arg(value_name = "FILE")]
        copy: std::path::PathBuf,
    },
    /// free a subnet or one of its addresses, unless the Engine shows that it is in use
    Release {
        /// a prefix or a PoolID
        subnet: String,
        /// an address
        address: Option<String>,
        /// confirm that the current holder loses it
        #[arg(long)]
        force: bool,
        /// do not ask the Engine whether it is in use: two containers may then get the same address
        #[arg(long, requires = "force")]
        without_engine: bool,
    },
    /// never give these addresses dynamically; without a range: list the reservations and who made them
    Reserve(ReservationArgs),
    /// remove a reservation made with gipam reserve
    Unreserve {
        /// the range as gipam reserve lists it
        #[arg(value_name = "PREFIX|ADDRESS|FROM-TO")]
        range: String,
        /// change nothing unless the range overlaps this pool
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
        /// only print what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// keep this address for a holder, which gets it at its next start; others get it only if no other address is free
    Pin(PinArgs),
    /// remove a pin
    Unpin(UnpinArgs),
    /// add, close or resize pools, unless a configuration file declares them
    #[command(subcommand)]
    Pool(PoolArgs),
    /// read the configuration again, and print what changes
    Reload {
        /// only print what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// move networks from an earlier prefix of their pool to the current one; without --yes, only print how
    Renumber {
        /// networks or Compose projects; without one, all that are on an earlier prefix
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// do it: disconnect the containers, create the network again, connect them
        #[arg(long)]
        yes: bool,
        /// the Engine's API socket (gc.engine)
        #[arg(long, value_name = "PATH")]
        engine: Option<std::path::PathBuf>,
    },
    /// let this host take part in the plan that several hosts keep in etcd ([plan] etcd), with the networks that it has
    Join {
        /// create the plan first
        #[arg(long)]
        new: bool,
        /// only print what would change
        #[arg(long)]
        dry_run: bool,
        /// say that etcd was restored from a backup: every host confirms its slices before any is claimed
        #[arg(long, conflicts_with_all = ["new", "dry_run"])]
        restored: bool,
    },
    /// compare the books with the Engine's lists, to find releases that Docker lost
    Gc {
        /// adopt networks that the books lack, and free leases that two checks found dead, a minute apart (less if the grace
        /// time is shorter)
        #[arg(long)]
        apply: bool,
        /// confirm that this Engine has replaced the one that the books know
        #[arg(long)]
        new_engine: bool,
    },
    /// add a network that Docker has but the books lack, with Docker's PoolID for it
    Adopt {
        /// its subnet, as docker network inspect shows it
        subnet: String,
        /// the PoolID, from the error message when a container fails to start
        #[arg(value_name = "POOLID")]
        id: String,
    },
    /// check whether the driver can work on this host, and say how to fix problems
    Doctor {
        /// in which way the provider gives IPv6 prefixes to this host, and the lines of a pool that suit it; with CAP_NET_RAW, the
        /// router is asked how it sends packets to an unused address of each prefix
        #[arg(long)]
        edge: bool,
    },
    /// check, show or document the configuration
    #[command(subcommand)]
    Config(Configuration),
    /// check a plan file
    #[command(subcommand)]
    Plan(PlanCommand),
}

/// Which leases to list.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Leases {
    /// only leases in this subnet: a prefix or a PoolID
    #[arg(value_name = "SUBNET")]
    pub(super) subnet: Option<String>,
    /// include cooling and pinned addresses
    #[arg(long)]
    pub(super) all: bool,
    /// only leases of this container, network, container id or MAC
    #[arg(long, value_name = "NAME")]
    pub(super) holder: Option<String>,
    /// only addresses in this state
    #[arg(long, value_parser = ["leased", "quarantined", "cooling", "pinned"])]
    pub(super) state: Option<String>,
    /// only leases that began after this time: a time, or a span before now such as 10m, 2h, 3d
    #[arg(long, value_name = "WHEN")]
    pub(super) since: Option<String>,
}

/// What to explain: an address if an address, a holder or a MAC is given, otherwise a subnet.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Explain {
    /// a pool's name, or a prefix as for --subnet
    #[arg(long, value_name = "POOL|SUBNET")]
    pub(super) pool: Option<String>,
    /// length of the subnet
    #[arg(long, value_name = "LENGTH")]
    pub(super) size: Option<String>,
    /// this address, or any
    #[arg(long, value_name = "ADDRESS")]
    pub(super) address: Option<String>,
    /// an address for a container of this name
    #[arg(long, value_name = "NAME")]
    pub(super) holder: Option<String>,
    /// an address for this MAC
    #[arg(long, value_name = "MAC")]
    pub(super) mac: Option<String>,
}

/// What to do with a host of the plan.
#[derive(Debug, Subcommand)]
pub(super) enum HostsCommand {
    /// say that a host is gone for good, so that other hosts may take its slices
    Forget {
        /// its name, or its id
        #[arg(value_name = "NAME")]
        host: String,
        /// do not ask for the name again
        #[arg(long)]
        yes: bool,
    },
}

/// What to do with a plan file.
#[derive(Debug, Subcommand)]
pub(super) enum PlanCommand {
    /// list the mistakes in a plan file, what nobody has, and what it changes for this host
    Check {
        /// the file
        #[arg(value_name = "FILE")]
        plan: String,
        /// a host of the file; by default this one
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
    },
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Configuration {
    /// check a file, and print the first mistake if there is one
    Check {
        /// the file
        #[arg(value_name = "FILE")]
        document: String,
    },
    /// print every setting and where it comes from
    Show,
    /// print every key, its default and its meaning, as Markdown
    Keys,
    /// print every metric and its meaning, as Markdown
    Metrics,
}

impl Cli {
    /// The options in the form that `config` expects.
    pub(super) fn options(&self, serve: &Options) -> Options {
        let Common { admin, config, file, .. } = self.common.clone();
        Options { admin, config, file, ..serve.clone() }
    }

    /// Refuses `--json` without a command: the driver does not print JSON.
    pub(super) fn refuse_json(&self) -> Result<(), CliError> {
        if self.common.json {
            return Err(CliError::Usage("--json needs a command such as gipam leases --json".to_owned()));
        }
        Ok(())
    }

    /// Refuses options that only the driver accepts.
    pub(super) fn refuse_serve_options(&self) -> Result<(), CliError> {
        let allowed = Options { socket: self.serve.socket.clone(), ..Options::default() };
        if self.serve != allowed {
            let text = "options that start the driver belong to gipam serve, not to this command; \
                        to choose the daemon, give --admin PATH";
            return Err(CliError::Usage(text.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_no_command_reuses_the_name_of_a_common_option() {
        let command = Cli::command();
        command.clone().debug_assert();
        let common: BTreeSet<_> =
            command.get_arguments().filter(|a| a.is_global_set()).map(|a| a.get_id()).collect();
        assert_eq!(common.len(), 4);
        let mut commands: Vec<&clap::Command> = command.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            assert!(command.get_arguments().all(|argument| !common.contains(argument.get_id())), "{command}");
            commands.extend(command.get_subcommands());
        }
    }
}
