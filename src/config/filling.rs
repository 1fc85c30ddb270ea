//! The `warn_at` thresholds: how full a pool or subnet may be before there is a warning.
//!
//! Promises: every pool has one threshold, its own or the top-level one; "off" means no warning. Does not count.

use std::collections::BTreeMap;

use super::error::{ConfigError, Problem, problem};
use super::resolve::{Resolver, field};

/// The thresholds in percent; `None` = never warn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WarnAt {
    /// For pools without their own threshold, and for subnets outside of all pools.
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

/// Reads `80%` or `off`.
fn percent(text: &str) -> Result<Option<u8>, Problem> {
    if text == "off" {
        return Ok(None);
    }
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
    let number = number.filter(|number| (1..=100).contains(number));
    number
        .map(Some)
        .ok_or_else(|| problem!("{text:?} is not a percentage; write \"1%\" to \"100%\", or \"off\""))
}

/// Reads the thresholds from the configuration.
pub(super) fn resolve(resolver: &mut Resolver<'_>) -> Result<WarnAt, ConfigError> {
    let shown = |share: &Option<u8>| share.map_or_else(|| "off".to_owned(), |share| format!("{share}%"));
    let others = resolver.file_text(field!(warn_at), percent, shown)?;
    let mut pools = BTreeMap::new();
    for table in &resolver.document.top.pool {
        if let Some(written) = &table.warn_at {
            let share = resolver.document.value(written, |text| percent(text))?;
            pools.insert(table.name.get_ref().clone(), share);
        }
    }
    Ok(WarnAt { others, pools })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_whole_percentage_or_off() {
        assert_eq!(percent("80%"), Ok(Some(80)));
        assert_eq!(percent("100%"), Ok(Some(100)));
        assert_eq!(percent("off"), Ok(None));
        for text in ["", "80", "0%", "101%", "8.5%", "-1%", "%", "never"] {
            assert!(percent(text).is_err(), "{text:?}");
        }
    }
}
