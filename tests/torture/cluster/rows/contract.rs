//! THE CONTRACT OF THE STORE: one script of calls on the model (`StoreCall::apply`) and, through the adapter, on the three members gives
//! equal replies, also without one of the members; without a majority each call is an error in time.

use std::time::{Duration, Instant};

use gipam::claims::etcd::EtcdStore;
use gipam::claims::machine::calls::{Compare, Effect, Pairs, StoreCall, StoreReply};
use gipam::config::{EtcdEndpoint, EtcdSettings};

use crate::Counts;
use crate::cluster::lan::Lan;
use crate::cluster::member::Store;
use crate::crew::Dice;

/// How long one attempt at one member may take: the connection, and a call.
const TIMEOUT: u64 = 1_000;
const LATEST: Duration = Duration::from_millis(2 * TIMEOUT + 500);

pub fn run(long: bool) -> Counts {
    let directory = tempfile::tempdir().unwrap();
    let lan = Lan::new();
    let mut store = Store::start(&lan, directory.path());
    let calls = if long { 3_000 } else { 300 };
    let mut script = Script { dice: Dice::new(calls), model: Pairs::new(), refused: 0, asked: 0 };
    let mut adapter = EtcdStore::new(settings(&store));
    lan.inside(|| script.equal(&mut adapter, calls));
    store.members[0].kill();
    // If that was the leader, the two others refuse all calls at once until one of them leads.
    store.leads(&lan);
    lan.inside(|| script.equal(&mut adapter, calls / 3));
    store.members[1].kill();
    let errors = lan.inside(|| script.refused(&mut adapter));
    store.revive(&lan);
    lan.inside(|| script.equal(&mut adapter, calls / 3));
    vec![
        ("equal replies", script.asked),
        ("of them refusals", script.refused),
        ("errors in time without a majority", errors),
    ]
}

fn settings(store: &Store) -> EtcdSettings {
    let endpoint = |member: &crate::cluster::member::Member| EtcdEndpoint {
        secure: false,
        address: format!("{}:2379", member.machine.address()).parse().unwrap(),
    };
    EtcdSettings {
        endpoints: store.members.iter().map(endpoint).collect(),
        prefix: "/contract/".to_owned(),
        via: Vec::new(),
        user: None,
        ca: None,
        identity: None,
        server_name: None,
        timeout: TIMEOUT,
    }
}

struct Script {
    dice: Dice,
    model: Pairs,
    /// Transactions whose conditions did not hold.
    refused: u64,
    asked: u64,
}

impl Script {
    fn key(&mut self) -> String {
        format!("slice/v4/{}", self.dice.below(8))
    }

    /// The present value of this key, or sometimes another one.
    fn condition(&mut self, key: &str) -> Compare {
        let value = match self.dice.below(5) {
            0 => None,
            1 => Some("another".to_owned()),
            _ => self.model.get(key).cloned(),
        };
        Compare { key: key.to_owned(), value }
    }

    fn call(&mut self) -> StoreCall {
        match self.dice.below(8) {
            0 => StoreCall::List,
            1 => StoreCall::Get { keys: vec![self.key(), self.key(), "plan".to_owned()] },
            choice => {
                let (key, other) = (self.key(), self.key());
                let mut compares = vec![self.condition(&key)];
                // etcd refuses two operations on one key.
                if other != key {
                    compares.push(self.condition(&other));
                }
                let value = format!("{{\"seq\":{}}}", self.dice.below(1 << 40));
                let effect = match choice {
                    2 => Effect::Delete { key },
                    _ => Effect::Put { key, value },
                };
                StoreCall::Transact { compares, effect }
            }
        }
    }

    /// Replies of the adapter equal those of the model. A member that does not run costs an attempt, and changes nothing.
    fn equal(&mut self, adapter: &mut EtcdStore, calls: u64) {
        runtime().block_on(async {
            for _ in 0..calls {
                let call = self.call();
                let expected = call.apply(&mut self.model);
                let mut reply = Err(String::new());
                for _ in 0..=2 * crate::cluster::member::MEMBERS {
                    reply = adapter.call(&call).await;
                    if reply.is_ok() {
                        break;
                    }
                }
                assert_eq!(reply.as_ref(), Ok(&expected), "{call:?}");
                self.refused += u64::from(matches!(expected, StoreReply::Differs(_)));
                self.asked += 1;
            }
        });
    }

    /// Every call is an error, in time; only reads, because a change may still happen when the members are back.
    fn refused(&mut self, adapter: &mut EtcdStore) -> u64 {
        runtime().block_on(async {
            let mut errors = 0;
            for call in [StoreCall::List, StoreCall::Get { keys: vec![self.key()] }] {
                for _ in 0..crate::cluster::member::MEMBERS {
                    let began = Instant::now();
                    let error = adapter.call(&call).await.expect_err("one of three members is no majority");
                    assert!(began.elapsed() < LATEST, "{error} after {} ms", began.elapsed().as_millis());
                    assert!(error.starts_with("http://192.0.2.2"), "{error}");
                    errors += 1;
                }
            }
            errors
        })
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
