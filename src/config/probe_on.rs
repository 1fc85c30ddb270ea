//! Where the addresses of a pool are probed: `probe = true`, `false`, or the name of an interface.
//!
//! Promises: an error says how to write the value. Does not know whether an interface exists.

use serde::Deserialize;

use super::error::{Problem, problem};
use super::origin::Value;

/// Whether the addresses of a pool are probed, and on which interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOn {
    /// They are not probed.
    Nowhere,
    /// On the interface that has an address in the network.
    Suitable,
    /// On this interface.
    Interface(String),
}

/// `true`, `false` or a name.
#[derive(Deserialize)]
#[serde(untagged, expecting = "true, false, or the name of an interface")]
pub enum FlagOrName {
    Flag(bool),
    Name(String),
}

impl Value for ProbeOn {
    type Raw = FlagOrName;

    fn read(raw: FlagOrName) -> Result<Self, Problem> {
        match raw {
            FlagOrName::Flag(false) => Ok(Self::Nowhere),
            FlagOrName::Flag(true) => Ok(Self::Suitable),
            FlagOrName::Name(name) => interface_name(&name).map(Self::Interface),
        }
    }
}

/// The name of a network interface, as the kernel accepts it.
pub fn interface_name(name: &str) -> Result<String, Problem> {
    let fits =
        (1..=15).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    let refuse =
        || problem!("{name:?} cannot be an interface; use 1 to 15 characters without spaces and '/'");
    fits.then(|| name.to_owned()).ok_or_else(refuse)
}
