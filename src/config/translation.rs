//! Pools whose addresses are translated: `translate = "nptv6"` and `outer`.
//!
//! Promises: a pool that cannot be translated is refused with the place of the mistake. Does not know which prefix the host has now.

use super::error::{ConfigError, Problem, problem};
use super::keys::{PoolTable, Top};
use super::origin::At;
use super::pools::PoolsOrigin;
use super::resolve::Resolver;
use super::sources::{self, PrefixSource};
use super::value;
use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::{Base, Settings};

/// A pool whose IPv6 addresses are translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTranslation {
    pub pool: String,
    /// The pool's own prefix, which containers have.
    pub inner: Prefix,
    pub outer: OuterPrefix,
}

/// The prefix by which the rest of the world reaches the containers of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OuterPrefix {
    Fixed(Prefix),
    /// The one that this source has now.
    From(PrefixSource),
}

impl std::fmt::Display for OuterPrefix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(prefix) => prefix.fmt(formatter),
            Self::From(source) => source.fmt(formatter),
        }
    }
}

impl Resolver<'_> {
    /// The translations of the pools in the file.
    pub(super) fn translations(
        &mut self,
        top: &Top,
        settings: &Settings,
        origin: &PoolsOrigin,
    ) -> Result<Vec<PoolTranslation>, ConfigError> {
        let mut all: Vec<PoolTranslation> = Vec::new();
        if !matches!(origin, PoolsOrigin::Document(_)) {
            return Ok(all);
        }
        for (pool, table) in settings.pools.iter().zip(&top.pool) {
            let Some((inner, written)) = self.inner(table, pool.v6)?.zip(table.outer.as_ref()) else {
                continue;
            };
            let outer = self.document.value(written, |text| outer(text, inner))?;
            self.document.value(written, |_| apart(&all, &outer))?;
            self.show(format!("pool.{}.translate", pool.name), format!("nptv6 to {outer}"), &written.place);
            if let OuterPrefix::From(source) = &outer {
                self.sources.push(source.clone());
            }
            all.push(PoolTranslation { pool: pool.name.clone(), inner, outer });
        }
        Ok(all)
    }

    /// The prefix to translate, if the pool is to be translated.
    fn inner(&self, table: &PoolTable, v6: Option<Base>) -> Result<Option<Prefix>, ConfigError> {
        let refuse = |place: &At<_>, problem| Err(self.document.refuse(&place.place, problem));
        match (&table.translate, &table.outer) {
            (None, None) => Ok(None),
            (None, Some(outer)) => {
                self.document.value(outer, |_| Err(problem!("this also needs translate = \"nptv6\"")))
            }
            (Some(translate), None) => refuse(
                translate,
                problem!("this also needs outer, the prefix by which the provider reaches this host"),
            ),
            (Some(translate), Some(_)) => match v6 {
                Some(base) if base.shared.is_some() => refuse(
                    translate,
                    problem!("containers on a shared subnet do not send their packets through this host"),
                ),
                Some(base) => Ok(Some(base.base)),
                None => refuse(
                    translate,
                    problem!(
                        "pool {} needs a v6 base that does not change, for example a ULA prefix",
                        *table.name
                    ),
                ),
            },
        }
    }
}

fn outer(text: &str, inner: Prefix) -> Result<OuterPrefix, Problem> {
    if sources::is_source(text) {
        return match sources::parse(text, Family::V6)? {
            PrefixSource::Delegated { length, .. } if length > inner.length() => Err(problem!(
                "a /{length} is smaller than the v6 base {inner}; give a base of length /{length}"
            )),
            source => Ok(OuterPrefix::From(source)),
        };
    }
    match value::base(text, Family::V6)? {
        (prefix, true) => Err(problem!("{text} has host bits set; write {prefix}")),
        (prefix, false) if prefix.length() > inner.length() => Err(problem!(
            "{prefix} is smaller than the v6 base {inner}; give a base of length /{}",
            prefix.length()
        )),
        (prefix, false) if prefix.overlaps(inner) => {
            Err(problem!("{prefix} overlaps the v6 base {inner}, which is to be translated to it"))
        }
        (prefix, false) => Ok(OuterPrefix::Fixed(prefix)),
    }
}

/// Refuses a prefix that an earlier pool has.
fn apart(earlier: &[PoolTranslation], outer: &OuterPrefix) -> Result<(), Problem> {
    let meets = |other: &&PoolTranslation| match (&other.outer, outer) {
        (OuterPrefix::Fixed(other), OuterPrefix::Fixed(prefix)) => other.overlaps(*prefix),
        (other, outer) => other == outer,
    };
    match earlier.iter().find(meets) {
        Some(other) => {
            Err(problem!("pool {} is translated to {}, which this prefix overlaps", other.pool, other.outer))
        }
        None => Ok(()),
    }
}
