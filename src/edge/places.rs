//! Where objects of gipam may be in the kernel, by kind: the prefixes in which each kind has made some, as the books keep them.
//!
//! Promises: a place is in the books before an object is made there, and leaves them after the last one is gone. So a start finds what
//! a crash left although the configuration has changed meanwhile, and never takes for its own what a gipam with other books made.
//! If the books cannot be written now, objects are made nevertheless. Reads no kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::ledger::{Altered, Ledger};
use crate::plan::prefix::Prefix;
use crate::view::kernel::KindName;

/// Under which key the books keep the places.
pub const PLACES: &str = "edge_places";
/// How long the books may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The prefixes of each kind that has any.
pub(super) type Places = BTreeMap<KindName, BTreeSet<Prefix>>;

/// The places as the books contain them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct WrittenPlaces {
    /// The boot of the machine: after another one, the kernel has no object of gipam.
    boot: String,
    kinds: BTreeMap<KindName, Vec<String>>,
}

/// The places that the books contain.
#[derive(Debug)]
pub(super) struct KnownPlaces {
    ledger: Ledger,
    boot: String,
    known: Places,
}

impl KnownPlaces {
    /// `kept` is what the books contain under [`PLACES`].
    pub(super) fn new(ledger: Ledger, boot: String, kept: Option<&str>) -> Self {
        let known = kept.map(|text| read(text, &boot)).unwrap_or_default();
        Self { ledger, boot, known }
    }

    /// The places of one kind.
    pub(super) fn of(&self, kind: KindName) -> BTreeSet<Prefix> {
        self.known.get(&kind).cloned().unwrap_or_default()
    }

    /// Objects are about to be made here.
    pub(super) async fn cover(&mut self, places: &Places) {
        let mut all = self.known.clone();
        for (kind, prefixes) in places {
            all.entry(*kind).or_default().extend(prefixes);
        }
        self.record(all).await;
    }

    /// There are objects only here now.
    pub(super) async fn settle(&mut self, places: Places) {
        self.record(places).await;
    }

    async fn record(&mut self, places: Places) {
        if places == self.known {
            return;
        }
        match record(&self.ledger, PLACES, written(&places, &self.boot)).await {
            Ok(()) => self.known = places,
            Err(error) => {
                tracing::debug!("the books do not say where gipam has objects in the kernel: {error}")
            }
        }
    }
}

/// Writes a value of the edge into the books.
pub(super) async fn record(ledger: &Ledger, key: &str, text: String) -> io::Result<()> {
    let altered = Altered { meta: vec![(key.to_owned(), text)], ..Altered::default() };
    let recorded = timeout(PATIENCE, ledger.alter(|_| Ok((altered, ())))).await;
    recorded.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)
}

fn written(places: &Places, boot: &str) -> String {
    let texts = |prefixes: &BTreeSet<Prefix>| prefixes.iter().map(ToString::to_string).collect();
    let kinds = places.iter().map(|(kind, prefixes)| (*kind, texts(prefixes))).collect();
    serde_json::to_string(&WrittenPlaces { boot: boot.to_owned(), kinds }).unwrap_or_default()
}

/// The places of this boot.
fn read(text: &str, boot: &str) -> Places {
    let written: WrittenPlaces = serde_json::from_str(text).unwrap_or_default();
    if written.boot != boot {
        return Places::default();
    }
    let parsed = |texts: Vec<String>| texts.iter().filter_map(|text| Prefix::parse(text)).collect();
    written.kinds.into_iter().map(|(kind, texts)| (kind, parsed(texts))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_written_in_the_same_boot() {
        let prefixes = ["10.8.0.0/16", "2001:db8:8::/56"].map(|text| Prefix::parse(text).unwrap());
        let places =
            Places::from([(KindName::Discards, prefixes.into()), (KindName::Proxies, [prefixes[1]].into())]);
        let text = written(&places, "one");
        assert_eq!(read(&text, "one"), places);
        assert_eq!(read(&text, "two"), Places::default(), "the machine was booted again");
        for text in [
            "",
            "{}",
            "[1]",
            r#"{"boot":"one","kinds":{"other":["::/0"]}}"#,
            r#"{"boot":"one","kinds":{"routes":["x"]}}"#,
        ] {
            assert!(read(text, "one").values().all(BTreeSet::is_empty), "{text}");
        }
    }
}
