//! The kind `translations`: gipam's nftables table, which translates the prefixes of pools.
//!
//! Promises: as for all kinds; the table is replaced in one transaction. If the outer prefix of a pool cannot be read, or there is none
//! any more, the last one that was known stays; after a restart, the table stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::kernel::{KernelSockets, News, Notice};
use super::kind::{Agreed, Changes, Facts, KernelKind, KindWish};
use super::nft::NftChain;
use super::nft_socket::{TableChange, foreign};
use super::translate::{Translation, chains};
use crate::plan::prefix::Prefix;
use crate::view::kernel::{KernelRow, KindName, UnmadeObject};

/// A pool that is to be translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslatedPool {
    pub pool: String,
    pub inner: Prefix,
    /// Where the outer prefix comes from, as it is configured.
    pub source: String,
    pub outer: OuterNow,
    /// The bases of the other pools. Packets to them are not translated.
    pub others: Vec<Prefix>,
}

/// The outer prefix of a pool at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OuterNow {
    /// The first of these, or the one that was last used if it is among them, or if there is none now.
    OneOf(Vec<Prefix>),
    /// It cannot be read.
    Unknown,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct TranslationTable {
    /// Each translation.
    wanted: BTreeSet<Translation>,
    /// Pools that cannot be translated now.
    unmade: Vec<UnmadeObject>,
    /// The outer prefix that was last known of each pool; `None` if the host never had one.
    known: BTreeMap<String, Option<Prefix>>,
    /// Whether the kernel was made equal to `wanted`.
    is_made: bool,
    /// The inner prefixes for which a table of gipam may be in the kernel.
    inner: BTreeSet<Prefix>,
}

impl TranslationTable {
    /// An earlier process may have left a table for these inner prefixes.
    pub(super) fn after(inner: BTreeSet<Prefix>) -> Self {
        Self { inner, ..Self::default() }
    }

    /// The translations of these pools, and those that are not possible now; `None` if it is not known which they are.
    fn derive(&mut self, pools: &[TranslatedPool]) -> Option<(BTreeSet<Translation>, Vec<UnmadeObject>)> {
        let (mut wanted, mut unmade): (BTreeMap<Translation, &str>, Vec<UnmadeObject>) = Default::default();
        self.known.retain(|pool, _| pools.iter().any(|other| other.pool == *pool));
        for TranslatedPool { pool, inner, source, outer, others } in pools {
            if let OuterNow::OneOf(all) = outer {
                let last = self.known.get(pool).copied().flatten();
                let stays = last.filter(|last| all.is_empty() || all.contains(last));
                self.known.insert(pool.clone(), stays.or(all.first().copied()));
            }
            let why = match self.known.get(pool)? {
                Some(outer) => match translation(&wanted, *inner, *outer, others) {
                    Ok(possible) => {
                        wanted.insert(possible, pool);
                        continue;
                    }
                    Err(why) => why,
                },
                None => format!("{source} has no prefix now; gipam translates when it has one"),
            };
            unmade.push(UnmadeObject { prefix: inner.to_string(), why, ..UnmadeObject::default() });
        }
        Some((wanted.into_keys().collect(), unmade))
    }

    fn chains(&self) -> Vec<NftChain> {
        chains(&self.wanted)
    }
}

/// A translation that is possible next to the others, or why it is not.
fn translation(
    others: &BTreeMap<Translation, &str>,
    inner: Prefix,
    outer: Prefix,
    bases: &[Prefix],
) -> Result<Translation, String> {
    let wrong =
        || format!("the outer prefix {outer} is not an IPv6 prefix of length /{} or shorter", inner.length());
    let possible = Translation::new(inner, outer).ok_or_else(wrong)?;
    if let Some(base) = bases.iter().find(|base| base.overlaps(possible.outer)) {
        let outer = possible.outer;
        return Err(format!(
            "the outer prefix {outer} overlaps {base} of another pool; give outer by file:PATH"
        ));
    }
    match others.iter().find(|(other, _)| other.outer.overlaps(possible.outer)) {
        Some((other, pool)) => {
            Err(format!("pool {pool} is translated to {}; give this pool another outer prefix", other.outer))
        }
        None => Ok(possible),
    }
}

impl KernelKind for TranslationTable {
    fn name(&self) -> KindName {
        KindName::Translations
    }

    fn want(&mut self, facts: &Facts<'_>) -> KindWish {
        if facts.settings.translations.is_empty() {
            return KindWish::Off;
        }
        let Some((wanted, unmade)) = self.derive(&facts.settings.translations) else {
            return KindWish::Unknown;
        };
        if self.is_made && (&wanted, &unmade) == (&self.wanted, &self.unmade) {
            return KindWish::Same;
        }
        (self.wanted, self.unmade, self.is_made) = (wanted, unmade, false);
        self.inner.extend(facts.settings.translations.iter().map(|pool| pool.inner));
        KindWish::New
    }

    fn wanted(&self) -> usize {
        self.wanted.len() + self.unmade.len()
    }

    fn make_equal(&mut self, kernel: &mut KernelSockets, _doubtful: bool) -> io::Result<Agreed> {
        self.is_made = true;
        let tables = kernel.tables()?;
        let change = match self.wanted.is_empty() {
            true => tables.remove()?,
            false => tables.keep(&self.chains())?,
        };
        let kept = if change == TableChange::Foreign { 0 } else { self.wanted.len() };
        let changes = match change {
            TableChange::Made if self.wanted.is_empty() => Changes { added: 0, removed: 1 },
            TableChange::Made => Changes { added: kept, removed: 0 },
            TableChange::None | TableChange::Foreign => Changes::default(),
        };
        let row = KernelRow {
            kind: KindName::Translations,
            wanted: self.wanted() as u64,
            kept: kept as u64,
            unmade: self.unmade.clone(),
            error: (change == TableChange::Foreign).then(foreign),
        };
        Ok(Agreed { row, changes })
    }

    fn remove_all(&mut self, kernel: &mut KernelSockets) -> io::Result<usize> {
        let removed = kernel.tables().and_then(|tables| tables.remove());
        *self = Self::after(std::mem::take(&mut self.inner));
        let change = removed?;
        self.inner.clear();
        Ok(usize::from(change == TableChange::Made))
    }

    fn places(&self) -> &BTreeSet<Prefix> {
        &self.inner
    }

    fn news(&self, notice: Notice<'_>) -> News {
        match notice {
            Notice::Table | Notice::Lost => News::Doubtful,
            Notice::Changed(..) => News::Nothing,
        }
    }

    fn forbidden(&self) -> &'static str {
        "gipam may not translate prefixes: it needs CAP_NET_ADMIN; install the drop-in kernel-routes.conf (see docs/install.md)"
    }

    fn by_hand(&self) -> String {
        "nft delete table ip6 gipam".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    fn one_of(texts: &[&str]) -> OuterNow {
        OuterNow::OneOf(texts.iter().map(|text| prefix(text)).collect())
    }

    fn pool(name: &str, inner: &str, outer: OuterNow) -> TranslatedPool {
        let (pool, source) = (name.to_owned(), "pd:eth0/56".to_owned());
        TranslatedPool { pool, inner: prefix(inner), source, outer, others: vec![prefix("2001:db8:9::/48")] }
    }

    #[test]
    fn a_prefix_that_cannot_be_read_or_is_still_there_stays() {
        let mut table = TranslationTable::default();
        let mut outer = |now| {
            let derived = table.derive(&[pool("a", "fd00::/56", now)]);
            derived.map(|(wanted, _)| wanted.first().map(|it| it.outer.to_string()))
        };
        let is = |text: &str| Some(Some(text.to_owned()));
        assert_eq!(outer(OuterNow::Unknown), None, "after a start");
        assert_eq!(outer(one_of(&[])), Some(None));
        assert_eq!(outer(one_of(&["2001:db8:a::/56"])), is("2001:db8:a::/56"));
        assert_eq!(outer(OuterNow::Unknown), is("2001:db8:a::/56"));
        assert_eq!(outer(one_of(&["2001:db8:b::/56", "2001:db8:a::/56"])), is("2001:db8:a::/56"));
        assert_eq!(outer(one_of(&["2001:db8:b::/56"])), is("2001:db8:b::/56"));
        assert_eq!(outer(one_of(&[])), is("2001:db8:b::/56"));
        assert!(table.derive(&[]).unwrap().0.is_empty());
        assert_eq!(
            table.derive(&[pool("a", "fd00::/56", OuterNow::Unknown)]),
            None,
            "the pool was forgotten"
        );
    }

    #[test]
    fn a_pool_that_cannot_be_translated_says_why_and_the_others_are() {
        let mut table = TranslationTable::default();
        let pools = [
            pool("a", "fd00:a::/56", one_of(&["2001:db8::/48"])),
            pool("b", "fd00:b::/56", one_of(&["2001:db8:0:80::/60"])),
            pool("c", "fd00:c::/56", one_of(&[])),
            pool("d", "fd00:d::/64", one_of(&["2001:db8::/56"])),
            pool("e", "fd00:e::/64", one_of(&["2001:db8:9:1::/64"])),
        ];
        let (wanted, unmade) = table.derive(&pools).unwrap();
        assert_eq!(wanted.into_iter().map(|it| it.outer).collect::<Vec<_>>(), [prefix("2001:db8::/56")]);
        let said: Vec<String> = unmade.iter().map(|it| format!("{}: {}", it.prefix, it.why)).collect();
        assert_eq!(
            said,
            [
                "fd00:b::/56: the outer prefix 2001:db8:0:80::/60 is not an IPv6 prefix of length /56 or shorter",
                "fd00:c::/56: pd:eth0/56 has no prefix now; gipam translates when it has one",
                "fd00:d::/64: pool a is translated to 2001:db8::/56; give this pool another outer prefix",
                "fd00:e::/64: the outer prefix 2001:db8:9:1::/64 overlaps 2001:db8:9::/48 of another pool; give outer by file:PATH",
            ]
        );
    }
}
