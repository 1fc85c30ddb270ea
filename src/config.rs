//! The configuration: flags, variables, a TOML file and defaults become one [`Config`].
//!
//! Promises: everything the daemon needs is resolved and checked here, with the precedence of R69; what is wrong is
//! named by its place (flag, variable, or file, line, column and key); nothing is read from the process but
//! through [`Surroundings`], so that every rule can be tested. Paths are absolute, times are milliseconds.
//! Does not open books, sockets or the certificates of listeners, and does not know which pools the books already have: missing pools
//! are not a mistake here. Reads the certificates of hooks, so that a reload picks them up or is refused.

use std::path::PathBuf;

use self::hooks::Files;
use crate::plan::settings::Settings;

mod books_file;
mod document;
mod door;
mod drivers;
mod error;
pub mod filling;
pub mod hooks;
mod http;
pub mod keys;
pub mod keys_page;
mod locate;
mod options;
mod origin;
mod pools;
mod resolve;
#[cfg(test)]
mod tests;
pub mod value;

pub use books_file::{BooksFile, Content, ResolvedFile};
pub use door::{DoorSettings, TcpAddress, Tls};
pub use error::ConfigError;
pub use filling::WarnAt;
pub use hooks::Hook;
pub use http::Http;
pub use keys::Values;
pub use options::{Options, Surroundings};
pub use origin::{Origin, Shown};
pub use pools::PoolsOrigin;
pub use resolve::{ClientConfig, check_file};

/// Everything the daemon needs to know before it opens its books.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the books are, or the old lease file that becomes books.
    pub file: BooksFile,
    /// The driver names with their listeners; the first is `--name`. Never empty.
    pub drivers: Vec<DriverSettings>,
    /// Mode, owner and group of the plugin sockets.
    pub socket_access: SocketAccess,
    /// Path of the admin socket.
    pub admin: PathBuf,
    /// Mode, owner and group of the admin socket.
    pub admin_access: SocketAccess,
    /// Where Docker looks for plugins.
    pub plugin_dirs: PluginDirs,
    /// How much is logged.
    pub log: tracing::Level,
    /// The plan's settings; `secret` is left at its default, the daemon fills it in.
    pub settings: Settings,
    /// The configuration file, if there is one.
    pub document: Option<PathBuf>,
    /// Where `settings.pools` come from; lease files and books come between these (R70).
    pub pools_origin: PoolsOrigin,
    /// Repair.
    pub gc: Gc,
    /// The page and the metrics; none unless wanted.
    pub http: Option<Http>,
    /// The thresholds for warnings that pools and subnets fill up.
    pub warn_at: WarnAt,
    pub hooks: Vec<Hook>,
    /// The keys at the top of the file that need no other to be understood.
    pub values: Values,
    /// Warnings for the start, one sentence each.
    pub warnings: Vec<String>,
    /// Every key with its value and origin, for `gipam config show`.
    pub shown: Vec<Shown>,
    /// From what this was resolved, for [`Config::reload`].
    pub given: Given,
}

/// What a [`Config`] was resolved from.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub flags: Options,
    /// Directory, variables and user.
    pub surroundings: Surroundings,
}

/// One name under which Docker finds us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverSettings {
    /// The name for `--ipam-driver`.
    pub name: String,
    /// Pools open to it, in order; `None` = all.
    pub pools: Option<Vec<String>>,
    /// Where it listens.
    pub door: DoorSettings,
    /// The capability `RequiresMACAddress`.
    pub requires_mac_address: bool,
}

/// Who may open a socket file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// Permission bits.
    pub mode: u32,
    /// Name or number of the owner; `None` = the user who runs the daemon.
    pub owner: Option<String>,
    /// Name or number of the group.
    pub group: Option<String>,
}

/// Where Docker looks for plugins: a socket in one directory wins over a spec in the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginDirs {
    /// Sockets; default `/run/docker/plugins`.
    pub sockets: PathBuf,
    /// `.spec` and `.json` files; default `/etc/docker/plugins`.
    pub specs: PathBuf,
}

/// Repair of what Docker lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gc {
    /// The Engine's API socket; none turns repair off.
    pub engine: Option<PathBuf>,
    /// How long a lease must be seen dead before it is freed.
    pub grace: crate::plan::settings::Millis,
    /// Subnets that this Engine does not know may be freed: it is the only Engine.
    pub free_unknown_subnets: bool,
}

impl Config {
    /// Resolves flags and surroundings (which name the TOML file, if any) into a configuration.
    pub fn load(flags: &Options, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        resolve::resolve(flags, surroundings, Files::Read)
    }

    /// As [`Config::load`], for a start, which no hook's certificate may hold up: an unusable file only makes that hook
    /// fail.
    pub fn start(flags: &Options, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        resolve::resolve(flags, surroundings, Files::Serve)
    }

    /// As [`Config::load`], for commands that only read: the files that it names need not be readable, and its hooks trust no server.
    pub fn outline(flags: &Options, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        resolve::resolve(flags, surroundings, Files::Named)
    }

    /// Resolves the same flags and variables again; the TOML file may have changed.
    pub fn reload(&self) -> Result<Self, ConfigError> {
        Self::load(&self.given.flags, &self.given.surroundings)
    }
}
