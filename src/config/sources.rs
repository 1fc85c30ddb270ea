//! Bases that come from elsewhere: `file:PATH`, which a DHCP client's hook writes, and `pd:INTERFACE/LENGTH`, what the kernel
//! shows of a delegated prefix.
//!
//! Promises: such a base belongs to this host alone, so it is neither sliced nor shared. Does not read the prefix itself.

use std::fmt;
use std::path::PathBuf;

use super::error::{ConfigError, Problem, problem};
use super::keys::BaseTable;
use super::origin::At;
use super::resolve::Resolver;
use crate::plan::prefix::Family;
use crate::plan::renumbering::BaseSource;
use crate::plan::settings::{AddressOrder, default_size};

/// Where a prefix that may change comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrefixSource {
    /// A file with one prefix per line.
    File(PathBuf),
    /// The prefix of this length that was delegated to this host.
    Delegated { interface: String, length: u8 },
}

impl fmt::Display for PrefixSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "file:{}", path.display()),
            Self::Delegated { interface, length } => write!(formatter, "pd:{interface}/{length}"),
        }
    }
}

/// Whether a base comes from elsewhere.
pub(super) fn is_source(text: &str) -> bool {
    text.starts_with("file:") || text.starts_with("pd:")
}

/// The source that a text names.
pub(super) fn parse(text: &str, family: Family) -> Result<PrefixSource, Problem> {
    match text.split_once(':') {
        Some(("file", path)) if path.starts_with('/') => Ok(PrefixSource::File(path.into())),
        Some(("file", path)) => {
            Err(problem!("{path:?} is not an absolute path; write it like file:/run/gipam/prefix"))
        }
        _ => delegated(text.strip_prefix("pd:").unwrap_or(text), family),
    }
}

fn delegated(text: &str, family: Family) -> Result<PrefixSource, Problem> {
    if family == Family::V4 {
        return Err(problem!("only IPv6 prefixes are delegated; write it in v6, or use file:PATH"));
    }
    let wrong =
        || problem!("\"pd:{text}\" does not name an interface and a length; write it like pd:eth0/56");
    let (interface, length) = text.rsplit_once('/').ok_or_else(wrong)?;
    let is_name = (1..=15).contains(&interface.len())
        && interface.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    let length = length.parse().ok().filter(|length| (16..=127).contains(length) && is_name);
    let length = length.ok_or_else(wrong)?;
    Ok(PrefixSource::Delegated { interface: interface.to_owned(), length })
}

impl Resolver<'_> {
    /// The source that a base names.
    pub(super) fn source(&mut self, table: &BaseTable, family: Family) -> Result<BaseSource, ConfigError> {
        let BaseTable { base: written, size, slice, shared, gateway, by_number, addresses } = table;
        let alone = || problem!("the prefix of {} belongs to this host alone; remove this key", **written);
        if let Some(slice) = slice {
            self.document.value(slice, |_| Err::<(), _>(alone()))?;
        }
        if let Some(shared) = shared {
            self.document.value(shared, |is_shared| if *is_shared { Err(alone()) } else { Ok(()) })?;
        }
        if let Some(by_number) = by_number {
            self.document.value(by_number, |_| Err::<(), _>(problem!("this also needs shared = true")))?;
        }
        if let Some(gateway) = gateway {
            let changes = || {
                problem!(
                    "the prefix of {} may change, and a gateway lies in it; write the prefix itself",
                    **written
                )
            };
            self.document.value(gateway, |_| Err::<(), _>(changes()))?;
        }
        let source = self.document.value(written, |text| parse(text, family))?;
        let least = match source {
            PrefixSource::Delegated { length, .. } => length,
            PrefixSource::File(_) => 0,
        };
        let size = match size {
            Some(size) => self.document.value(size, |size| within(*size, least, family))?,
            None => within(default_size(family), least, family)
                .map_err(|problem| self.document.refuse(&written.place, problem))?,
        };
        self.order(addresses, family, size)?;
        let text = source.to_string();
        self.sources.push(source);
        Ok(BaseSource { text, size, addresses: **addresses, probe: false })
    }

    /// Checks whether subnets of this size can give their addresses in this order.
    pub(super) fn order(
        &self,
        addresses: &At<AddressOrder>,
        family: Family,
        size: u8,
    ) -> Result<AddressOrder, ConfigError> {
        self.document.value(addresses, |order| match (order, family) {
            (AddressOrder::Eui64, Family::V4) => Err(problem!("eui64 addresses need IPv6")),
            (AddressOrder::Stable, Family::V4) => Err(problem!("stable addresses need IPv6")),
            (AddressOrder::Eui64, Family::V6) if size > 64 => {
                Err(problem!("eui64 addresses need subnets of /64 or larger"))
            }
            (order, _) => Ok(*order),
        })
    }
}

fn within(size: u8, least: u8, family: Family) -> Result<u8, Problem> {
    let most = family.bits();
    if (least..=most).contains(&size) {
        return Ok(size);
    }
    Err(problem!("size /{size} does not fit a /{least}; give a length from {least} to {most}"))
}
