//! The input of a configuration: the options that a person typed, and the environment of the process.
//!
//! Promises: [`Surroundings::of_process`] is the only place in the configuration that reads from the process; an empty
//! variable counts as unset (as in the old gipam), an empty flag means "none" and overrides the variable.
//! Does not interpret values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::hooks::SYSTEM;

/// The flag and the variable of one option, and its field in [`Options`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelling {
    pub(super) flag: &'static str,
    pub(super) variable: &'static str,
    pub(super) get: fn(&Options) -> &Option<String>,
}

macro_rules! spellings {
    ($($(#[$how:meta])* $constant:ident $field:ident $flag:literal $variable:literal;)*) => {
        /// The options as typed. Each has a flag and a variable. The command line takes those that start the driver
        /// from here; the others belong to every command.
        #[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
        pub struct Options {
            $($(#[$how])* pub $field: Option<String>,)*
        }

        $(pub(super) const $constant: Spelling =
            Spelling { flag: $flag, variable: $variable, get: |options| &options.$field };)*

        impl Options {
            /// The options set by these variables; empty variables count as unset.
            pub fn from_variables(variables: &BTreeMap<String, String>) -> Self {
                let given = |name: &str| variables.get(name).filter(|text| !text.is_empty()).cloned();
                Self { $($field: given($variable),)* }
            }

            /// These options, overridden by those written after the command.
            pub fn overridden_by(&self, later: &Self) -> Self {
                Self { $($field: later.$field.clone().or_else(|| self.$field.clone()),)* }
            }
        }

        /// The names of all variables.
        pub(super) const VARIABLES: &[&str] = &[$($variable),*];
    };
}

spellings! {
    /// the books, or an old lease file
    #[arg(skip)]
    FILE file "--file" "GIPAM_FILE";
    /// the daemon's admin socket
    #[arg(skip)]
    ADMIN admin "--admin" "GIPAM_ADMIN";
    /// the TOML configuration
    #[arg(skip)]
    CONFIG config "--config" "GIPAM_CONFIG";
    /// IPv4 pool
    #[arg(long, value_name = "PREFIX")]
    V4 v4 "-v4" "GIPAM_V4";
    /// length of its subnets
    #[arg(long, value_name = "LENGTH")]
    V4AB v4ab "-v4ab" "GIPAM_V4AB";
    /// IPv6 pool
    #[arg(long, value_name = "PREFIX")]
    V6 v6 "-v6" "GIPAM_V6";
    /// length of its subnets
    #[arg(long, value_name = "LENGTH")]
    V6AB v6ab "-v6ab" "GIPAM_V6AB";
    /// plugin socket
    #[arg(long, value_name = "PATH")]
    SOCKET socket "--socket" "GIPAM_SOCKET";
    /// driver name
    #[arg(long, value_name = "NAME")]
    NAME name "--name" "GIPAM_NAME";
    /// TCP address instead of the socket
    #[arg(long, value_name = "HOST:PORT")]
    ADDRESS address "-address" "GIPAM_ADDRESS";
    /// listen on the socket, even if --address is set
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    UNIX unix "-unix" "GIPAM_UNIX";
    /// log level
    #[arg(long, value_name = "LEVEL")]
    LOG log "--log" "GIPAM_LOG";
    /// the page and the metrics, on loopback unless a host is named
    #[arg(long, value_name = "[HOST:]PORT")]
    HTTP http "--http" "GIPAM_HTTP";
}

/// The TOML file to read if it exists and no other file is named.
pub(super) const DEFAULT_CONFIGURATION: &str = "/etc/gipam/gipam.toml";

/// Where the kernel shows the host name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// The environment in which the program runs.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The working directory; relative paths in flags and variables are relative to it.
    pub directory: PathBuf,
    pub variables: BTreeMap<String, String>,
    pub root: bool,
    /// The host name of the machine; empty if it is unknown.
    pub host_name: String,
    /// The TOML file to read if it exists and no other file is named.
    pub default_configuration: PathBuf,
    /// Where the system may keep its list of trusted CAs; the first path that exists is used.
    pub authorities: Vec<PathBuf>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/"),
            variables: BTreeMap::new(),
            root: false,
            host_name: String::new(),
            default_configuration: DEFAULT_CONFIGURATION.into(),
            authorities: SYSTEM.map(PathBuf::from).into(),
        }
    }
}

impl Surroundings {
    /// The surroundings of this process. Ignores variables whose name or value is not UTF-8.
    pub fn of_process() -> Self {
        Self {
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            root: rustix::process::geteuid().is_root(),
            host_name: std::fs::read_to_string(HOST_NAME).unwrap_or_default().trim().to_owned(),
            ..Self::default()
        }
    }

    /// Makes a path absolute.
    pub(super) fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.join(path)
    }

    /// A warning for each variable that starts with `GIPAM_` but is unknown.
    pub(super) fn unknown_variables(&self) -> Vec<String> {
        let ours = |name: &str| name.starts_with("GIPAM_") && !VARIABLES.contains(&name);
        let known = VARIABLES.join(", ");
        let unknown = self.variables.keys().filter(|name| ours(name));
        unknown
            .map(|name| format!("unknown variable {name} is ignored; the variables are: {known}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_absent() {
        let variables = [("GIPAM_ADDRESS", ""), ("GIPAM_V4", "10.0.0.0/8")];
        let variables = variables.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let options = Options::from_variables(&variables);
        assert_eq!(options.address, None);
        assert_eq!(options.v4.as_deref(), Some("10.0.0.0/8"));
    }

    #[test]
    fn a_misspelt_variable_is_named() {
        let variables =
            [("GIPAM_V5".to_owned(), "x".to_owned()), ("HOME".to_owned(), "/root".to_owned())].into();
        let surroundings = Surroundings { variables, ..Surroundings::default() };
        let warnings = surroundings.unknown_variables();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("unknown variable GIPAM_V5 is ignored"), "{warnings:?}");
    }
}
