//! What the machine asks of a store. No other operations exist, so that each store needs only a small adapter.
//!
//! Promises: plain values. [`StoreCall::apply`] says what a call means; adapters and the simulator are held against it.

use std::collections::BTreeMap;

/// Keys and values, as a store returns them.
pub type Pairs = BTreeMap<String, String>;

/// A condition of a transaction: the key has this value, or does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    pub key: String,
    pub value: Option<String>,
}

/// What a transaction does if all its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Put { key: String, value: String },
    Delete { key: String },
}

/// One call. It happens completely or not at all; nobody sees half of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreCall {
    /// The values of these keys. May be old: nothing is decided on a read.
    Get { keys: Vec<String> },
    /// All keys of the plan, from one state of the store. An adapter may fetch them in pages of that one state.
    List,
    /// The effect, if all conditions hold. Otherwise the compared keys are read.
    Transact { compares: Vec<Compare>, effect: Effect },
}

/// What the store answered. A call without an answer has an unknown outcome: it may have happened, or may still happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreReply {
    /// The pairs that exist, for a read.
    Pairs(Pairs),
    /// The conditions held, and the effect is durable.
    Done,
    /// A condition did not hold, and nothing happened: the compared keys that exist.
    Differs(Pairs),
}

impl StoreCall {
    /// What the call does with a store that holds these pairs.
    pub fn apply(&self, store: &mut Pairs) -> StoreReply {
        let read = |store: &Pairs, keys: &mut dyn Iterator<Item = &String>| {
            keys.filter_map(|key| Some((key.clone(), store.get(key)?.clone()))).collect()
        };
        match self {
            Self::Get { keys } => StoreReply::Pairs(read(store, &mut keys.iter())),
            Self::List => StoreReply::Pairs(store.clone()),
            Self::Transact { compares, effect } => {
                if compares.iter().any(|compare| store.get(&compare.key) != compare.value.as_ref()) {
                    return StoreReply::Differs(read(
                        store,
                        &mut compares.iter().map(|compare| &compare.key),
                    ));
                }
                match effect {
                    Effect::Put { key, value } => store.insert(key.clone(), value.clone()),
                    Effect::Delete { key } => store.remove(key),
                };
                StoreReply::Done
            }
        }
    }
}
