//! How far delivery to each hook has got, stored in the books.
//!
//! Promises: a cursor is written after the delivery, through the ledger, so a crash between the two repeats an event but
//! does not lose one; cursors of hooks that are no longer configured are removed. A cursor that cannot be written is
//! written with the next one.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::sync::Mutex;

use crate::ledger::{Altered, Ledger, Refusal};
use crate::store::{Reader, StoreError};

/// The key of the cursors in the table `meta`.
const KEY: &str = "hooks";

type Numbers = BTreeMap<String, u64>;

/// The cursors of all hooks.
#[derive(Debug)]
pub(super) struct Cursors {
    ledger: Ledger,
    numbers: Mutex<Numbers>,
}

impl Cursors {
    /// Loads the cursors from the books.
    pub(super) fn load(ledger: Ledger, books: &Path) -> Result<Self, StoreError> {
        let reader = Reader::open(books)?;
        let mut numbers: Numbers = match reader.meta(KEY)? {
            Some(text) => serde_json::from_str(&text).map_err(|error| StoreError::Damaged {
                path: books.to_owned(),
                what: format!("table meta, key {KEY}: {error}"),
            })?,
            None => Numbers::new(),
        };
        let (_, newest) = reader.log_ends()?;
        for (name, number) in numbers.iter_mut().filter(|(_, number)| **number > newest) {
            // Without a history, numbering may start again at a lower number; the earlier events were delivered.
            tracing::debug!("hook {name}: continues at {newest} instead of {number}");
            *number = newest;
        }
        Ok(Self { ledger, numbers: Mutex::new(numbers) })
    }

    /// Keeps only the cursors of these hooks, adds the given one for each new hook, and returns them.
    pub(super) async fn settle(&self, begin: &[(String, u64)]) -> Numbers {
        let mut numbers = self.numbers.lock().await;
        let cursor = |(name, new): &(String, u64)| (name.clone(), *numbers.get(name).unwrap_or(new));
        let wanted: Numbers = begin.iter().map(cursor).collect();
        if wanted != *numbers {
            if let Err(error) = self.write(&wanted).await {
                tracing::warn!("cannot save the progress of the hooks: {error}");
            }
            *numbers = wanted;
        }
        numbers.clone()
    }

    /// Records that everything up to this number was delivered to this hook.
    pub(super) async fn advance(&self, name: &str, number: u64) {
        let mut numbers = self.numbers.lock().await;
        numbers.insert(name.to_owned(), number);
        if let Err(error) = self.write(&numbers).await {
            tracing::debug!("hook {name}: cannot save its progress up to {number}: {error}");
        }
    }

    async fn write(&self, numbers: &Numbers) -> Result<(), Refusal> {
        let text = serde_json::to_string(numbers).unwrap_or_default();
        let meta = vec![(KEY.to_owned(), text)];
        self.ledger.alter(|_| Ok((Altered { meta, ..Altered::default() }, ()))).await
    }
}
