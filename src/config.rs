//! The configuration: flags, variables, a TOML file and defaults are merged into one [`Config`].
//!
//! Promises: everything the daemon needs is resolved and checked here, with the precedence of R69; every error names
//! the place of the mistake (flag, variable, or file, line, column and key); the process's environment is read
//! only through [`Surroundings`], so that every rule can be tested. Paths are absolute, times are in milliseconds.
//! Does not open books, sockets or listeners' certificates, and does not know which pools the books already have, so
//! missing pools are not an error here. Reads the certificates of hooks, so that a reload applies new ones or is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use self::hooks::Files;
use crate::plan::settings::Settings;

mod books_file;
mod document;
mod door;
mod drivers;
mod edge;
mod error;
pub mod hooks;
pub mod keys;
pub mod keys_page;
pub(crate) mod locate;
mod options;
mod origin;
mod plan;
mod pools;
mod probe_on;
mod resolve;
mod sources;
#[cfg(test)]
mod tests;
mod translation;
pub mod value;

pub use books_file::{BooksFile, Content, ResolvedFile};
pub(crate) use document::reworded;
pub use door::{DoorSettings, TcpAddress, Tls};
pub use edge::{KernelAtEnd, PoolEdge};
pub use error::ConfigError;
pub use hooks::Hook;
pub use options::{Options, Surroundings};
pub use origin::{Origin, Shown};
pub use plan::{EtcdEndpoint, EtcdSettings, PlanKeeper, PlanSource};
pub use pools::PoolsOrigin;
pub use resolve::{ClientConfig, check_file};
pub use sources::PrefixSource;
pub use translation::{OuterPrefix, PoolTranslation};
pub use value::PlanRoutes;

/// Everything the daemon needs to know before it opens its books.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the books are, or the old lease file that will be converted into books.
    pub file: BooksFile,
    /// The driver names with their listeners; the first one is `--name`. Never empty.
    pub drivers: Vec<DriverSettings>,
    pub socket_access: SocketAccess,
    pub admin: PathBuf,
    pub admin_access: SocketAccess,
    pub plugin_dirs: PluginDirs,
    /// The plan's settings; `secret` keeps its default here, and the daemon fills it in.
    pub settings: Settings,
    pub document: Option<PathBuf>,
    /// Where `settings.pools` come from; decides whether they override lease files and books, or the reverse (R70).
    pub pools_origin: PoolsOrigin,
    /// Where the bases of pools come from that may change without this configuration.
    pub sources: Vec<PrefixSource>,
    pub gc: Gc,
    /// Where it is written which slices of shared pools belong to this host; `None` if no pool is shared.
    pub plan: Option<PlanSource>,
    /// Where the page and the metrics are served; `None` unless configured.
    pub http: Option<Http>,
    pub warn_at: WarnAt,
    /// The pools whose addresses are translated.
    pub translations: Vec<PoolTranslation>,
    /// The pools whose addresses are probed, each with its interface if one is named.
    pub probed: BTreeMap<String, Option<String>>,
    pub hooks: Vec<Hook>,
    /// The keys as they are written in the file or set by options, or their defaults.
    pub keys: keys::Top,
    /// Warnings to print at startup, one sentence each.
    pub warnings: Vec<String>,
    /// Every key with its value and origin, for `gipam config show`.
    pub shown: Vec<Shown>,
    /// The input from which this was resolved, for [`Config::reload`].
    pub given: Given,
}

/// What a [`Config`] was resolved from.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub flags: Options,
    /// Working directory, variables and user.
    pub surroundings: Surroundings,
}

/// One driver name under which Docker finds gipam.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverSettings {
    /// The name given to `--ipam-driver`.
    pub name: String,
    /// Pools this driver may use, in order; `None` = all.
    pub pools: Option<Vec<String>>,
    pub door: DoorSettings,
    /// The value of the capability `RequiresMACAddress`.
    pub requires_mac_address: bool,
}

/// Permissions of a socket file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    pub mode: u32,
    /// Name or number of the owner; `None` = the user who runs the daemon.
    pub owner: Option<String>,
    /// Name or number of the group.
    pub group: Option<String>,
}

/// Where Docker looks for plugins: a socket in `sockets` takes precedence over a spec in `specs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginDirs {
    /// Directory of sockets; default `/run/docker/plugins`.
    pub sockets: PathBuf,
    /// Directory of `.spec` and `.json` files; default `/etc/docker/plugins`.
    pub specs: PathBuf,
}

/// Settings for repair, which frees what Docker no longer uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gc {
    /// The Engine's API socket; `None` turns repair off.
    pub engine: Option<PathBuf>,
    /// The time between the two checks that must find a lease dead before it is freed.
    pub grace: crate::plan::settings::Millis,
    /// Whether subnets that this Engine does not know may be freed, because no other Engine uses these books.
    pub free_unknown_subnets: bool,
}

/// Where the page and the metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    pub address: TcpAddress,
    /// Accepted host names, in addition to addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The number of subnets for which the metrics count addresses individually.
    pub subnets: usize,
}

/// How full a pool or subnet may be, in percent, before gipam warns; `None` = never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WarnAt {
    /// For pools without their own threshold, and for subnets outside all pools.
    pub others: Option<u8>,
    /// Pools that have their own threshold.
    pub pools: BTreeMap<String, Option<u8>>,
}

impl WarnAt {
    pub fn of(&self, pool: &str) -> Option<u8> {
        self.pools.get(pool).copied().unwrap_or(self.others)
    }

    /// Whether all warnings are switched off.
    pub fn is_off(&self) -> bool {
        self.others.is_none() && self.pools.values().all(Option::is_none)
    }
}

impl Config {
    /// Resolves flags and surroundings (which name the TOML file, if any) into a configuration.
    pub fn load(flags: &Options, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        resolve::resolve(flags, surroundings, Files::Read)
    }

    /// Like [`Config::load`], but for starting the daemon: an unusable certificate file of a hook makes only that hook
    /// fail, not the start.
    pub fn start(flags: &Options, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        resolve::resolve(flags, surroundings, Files::Serve)
    }

    /// Like [`Config::load`], for commands that only read: does not read the files that the configuration names, so its hooks
    /// do not trust any server.
    pub fn outline(flags: &Options, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        resolve::resolve(flags, surroundings, Files::Named)
    }

    /// Resolves the same flags and variables again, because the TOML file may have changed.
    pub fn reload(&self) -> Result<Self, ConfigError> {
        Self::load(&self.given.flags, &self.given.surroundings)
    }
}
