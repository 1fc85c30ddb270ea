//! What is wrong with a configuration, and where.
//!
//! Promises: every error names the place as its writer knows it, the value, and what to write instead. All of them
//! are mistakes of usage (exit code 2). Does not print.

use std::io;
use std::path::PathBuf;

use crate::plan::prefix::{AddressRange, Family, Prefix};
use crate::plan::settings::SettingsError;
use crate::plan::written::Unreadable;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be read.
    #[error("configuration file {} cannot be read; check its path and who may read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something in the configuration file.
    #[error("{}, line {line}, column {column}{}: {problem}", path.display(), in_key(key.as_deref()))]
    Document {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The key, dotted; `None` where the text is not TOML at all.
        key: Option<String>,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// A flag or a variable.
    #[error("{name}: {problem}")]
    Option {
        /// The flag or variable as it is spelled.
        name: &'static str,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// Settings that are each right but do not go together.
    #[error("{0}")]
    Together(Box<Problem>),
}

impl Error {
    pub(super) fn option(name: &'static str, problem: Problem) -> Self {
        Self::Option { name, problem: Box::new(problem) }
    }

    pub(super) fn together(problem: Problem) -> Self {
        Self::Together(Box::new(problem))
    }
}

fn in_key(key: Option<&str>) -> String {
    key.map(|key| format!(", key {key}")).unwrap_or_default()
}

/// What is wrong with one value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not TOML, or not our TOML: the parser's words.
    #[error("{0}")]
    Toml(String),
    /// A key that does not exist.
    #[error("unknown key; the keys here are: {known}")]
    UnknownKey {
        /// The keys that exist in this place.
        known: String,
    },
    /// A prefix, a range or an address that cannot be read.
    #[error("{0}")]
    Written(Unreadable),
    /// A number where a text should be.
    #[error("expected a string, found a number; write {wanted}")]
    Number {
        /// As it should be written.
        wanted: String,
    },
    /// A text where a number, or true or false, should be.
    #[error("write {text} without quotes")]
    Quoted {
        /// The text.
        text: String,
    },
    /// A pool's base with host bits.
    #[error("{text} has bits set beyond its length; write {prefix}")]
    HostBits {
        /// The text.
        text: String,
        /// The same without them.
        prefix: Prefix,
    },
    /// A prefix of the other family.
    #[error("{prefix} is not an {family} prefix")]
    Family {
        /// The prefix.
        prefix: Prefix,
        /// The family that is needed.
        family: Family,
    },
    /// Text where a prefix length should be.
    #[error("{text:?} is not a prefix length; write a number from 0 to {most}")]
    Size {
        /// The text.
        text: String,
        /// The family's bits.
        most: u8,
    },
    /// A size that does not fit its base.
    #[error("size /{size} does not fit {base}; give a length from {} to {}", base.length(), base.family().bits())]
    SizeOutside {
        /// The size.
        size: u8,
        /// The base.
        base: Prefix,
    },
    /// An order of addresses that this base cannot have.
    #[error("{order} addresses need {need}")]
    Order {
        /// The order as it is spelled.
        order: &'static str,
        /// What it needs.
        need: &'static str,
    },
    /// A pool's reservation that touches none of its bases.
    #[error(
        "{range} lies outside pool {pool}; write it under its own pool, or under the top-level key reserved"
    )]
    ReservedOutside {
        /// The reservation.
        range: AddressRange,
        /// The pool.
        pool: String,
    },
    /// Text where a duration should be.
    #[error("{text:?} is not a duration; write it like \"10m\", \"90s\", \"1h30m\" or \"0\"")]
    Duration {
        /// The text.
        text: String,
    },
    /// Text where permission bits should be.
    #[error("{text:?} is not a mode; write octal permission bits such as \"0600\" or \"0660\"")]
    Mode {
        /// The text.
        text: String,
    },
    /// Text where yes or no should be.
    #[error("{text:?} is neither true nor false")]
    Boolean {
        /// The text.
        text: String,
    },
    /// Text where a log level should be.
    #[error("{text:?} is not a log level; write error, warn, info, debug or trace")]
    Level {
        /// The text.
        text: String,
    },
    /// A driver name that Docker could not use.
    #[error("{name:?} cannot be a driver name: {why}")]
    DriverName {
        /// The name.
        name: String,
        /// Why.
        why: &'static str,
    },
    /// A pool name that `--ipam-opt pool=` could not spell.
    #[error("{name:?} cannot be a pool name; use 1 to 63 letters, digits, '-', '_' and '.'")]
    PoolName {
        /// The name.
        name: String,
    },
    /// Pools that do not go together.
    #[error("{0}")]
    Pools(SettingsError),
    /// A driver that names a pool which does not exist.
    #[error("pool {name:?} does not exist; the pools are: {known}")]
    UnknownPool {
        /// The name.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// A driver with an empty list.
    #[error("an empty list opens no pool; name some, or leave the key out to open all")]
    NoPools,
    /// A pool named twice for one driver.
    #[error("pool {name:?} is named twice")]
    PoolTwice {
        /// The name.
        name: String,
    },
    /// Text where a TCP address should be.
    #[error("{text:?} is not a TCP address; write HOST:PORT, [IPV6]:PORT or :PORT")]
    Address {
        /// The text.
        text: String,
    },
    /// Text where the page's address should be.
    #[error("{text:?} is not an address for the page; write PORT (on loopback), HOST:PORT or [IPV6]:PORT")]
    HttpAddress {
        /// The text.
        text: String,
    },
    /// Text where a name of this host should be.
    #[error("{text:?} is not a host name; write letters, digits, '-' and '.', without a port")]
    HostName {
        /// The text.
        text: String,
    },
    /// A text that must not be empty.
    #[error("must not be empty")]
    Empty,
    /// A socket path that the kernel would not take.
    #[error("socket path {} has {length} bytes, the kernel takes at most 107; choose a shorter one", path.display())]
    SocketTooLong {
        /// The path.
        path: PathBuf,
        /// Its bytes.
        length: usize,
    },
    /// A socket and a TCP address from the same place.
    #[error("both a socket and a TCP address are given here; keep one of them")]
    BothDoors,
    /// A further driver without an address while the first one has one.
    #[error(
        "driver {name} needs an address (or a socket) of its own, because the first driver listens on TCP"
    )]
    NeedsAddress {
        /// The driver.
        name: String,
    },
    /// Two listeners at one place.
    #[error("{first} and {second} would both listen at {place}; give each its own")]
    SameDoor {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// The place.
        place: String,
    },
    /// Text where a share should be.
    #[error("{text:?} is not a share; write \"1%\" to \"100%\", or \"off\"")]
    WarnAt {
        /// The text.
        text: String,
    },
    /// A hook whose name cannot be shown or kept.
    #[error("{name:?} cannot be a hook's name; use 1 to 63 letters, digits, '-', '_' and '.'")]
    HookName {
        /// The name.
        name: String,
    },
    /// Two hooks of one name.
    #[error("duplicate hook {name:?}; each needs a name of its own")]
    HookTwice {
        /// The name.
        name: String,
    },
    /// A hook with neither a command nor a url, or with both.
    #[error("a hook has either a command or a url; give one of them")]
    HookTarget,
    /// A hook with a command that cannot be run.
    #[error("must be a list: the program and its arguments, such as [\"/usr/local/bin/hook\", \"ARGUMENT\"]")]
    HookCommand,
    /// A hook with a URL that cannot be called.
    #[error("this URL cannot be called: {why}")]
    HookUrl {
        /// Why; the URL itself may hold a password.
        why: &'static str,
    },
    /// An invalid address for a hook.
    #[error(
        "{text:?} is not an address to connect to; write 192.0.2.80, 192.0.2.80:8443, [2001:db8::80]:8443 or localhost:8443"
    )]
    HookConnect {
        /// The text.
        text: String,
    },
    /// What belongs to a web address, for a program.
    #[error("connect, ca, cert and key are for a hook with a url")]
    HookWeb,
    /// Certificates without TLS.
    #[error("ca, cert and key are for a url with https://")]
    HookPlain,
    /// A certificate without its key, or the other way round.
    #[error("cert and key belong together; give both or neither")]
    HookPair,
    /// The system has no CA bundle.
    #[error("this system has no CA bundle ({places}); name a CA file with the key ca")]
    HookAuthorities {
        /// Where it was looked for.
        places: String,
    },
    /// A certificate or key is unusable.
    #[error("cannot use {}: {why}", path.display())]
    HookFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not make a client.
    #[error("{} and {} do not match: {why}", cert.display(), key.display())]
    HookIdentity {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
        /// Why not.
        why: String,
    },
    /// TLS itself.
    #[error("cannot call over TLS: {0}")]
    HookTls(String),
    /// An event that does not exist.
    #[error("unknown event {text:?}; the events are: {known}")]
    HookEvent {
        /// The text.
        text: String,
        /// Those that exist.
        known: String,
    },
    /// Several events for a process.
    #[error("a command gets one event at a time; batch needs a url")]
    HookBatch,
    /// Too many events at a time.
    #[error("must be a number of events; give 1 to {most}")]
    HookBatchSize {
        /// The largest.
        most: u16,
    },
    /// An invalid time limit.
    #[error("the timeout of a hook must be above 0 and at most one hour")]
    HookTimeout,
    /// An Engine key without its certificate, or the other way round.
    #[error("engine_cert and engine_key belong together; give both or neither")]
    EnginePair,
}
