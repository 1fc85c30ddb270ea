//! Single calls of the plan's store, for commands of a person: creating a plan, and saying that the store was restored.
//!
//! Promises: each member is tried once; what is changed is compared with what was read. Knows nothing of this host's books.

use crate::claims::etcd::EtcdStore;
use crate::claims::machine::calls::{Compare, Effect, Pairs, StoreCall, StoreReply};
use crate::claims::machine::records::{PLAN, PlanRecord, read, written};
use crate::config::EtcdSettings;

use super::random;

/// Makes a call at the first member that answers.
async fn call(settings: &EtcdSettings, what: &StoreCall) -> Result<StoreReply, String> {
    let mut store = EtcdStore::new(settings.clone());
    let mut reasons = Vec::new();
    for _ in &settings.endpoints {
        match store.call(what).await {
            Ok(reply) => return Ok(reply),
            Err(why) => reasons.push(why),
        }
    }
    Err(format!("the plan's store does not answer: {}; check etcd, then try again", reasons.join("; ")))
}

/// Everything in the store.
pub(super) async fn list(settings: &EtcdSettings) -> Result<Pairs, String> {
    match call(settings, &StoreCall::List).await? {
        StoreReply::Pairs(pairs) => Ok(pairs),
        _ => Err("the plan's store gave no list".to_owned()),
    }
}

/// Creates the plan; a plan that exists is an error.
pub(super) async fn create(settings: &EtcdSettings) -> Result<String, String> {
    let plan = PlanRecord::first(&random(), &random());
    let compare = Compare { key: PLAN.to_owned(), value: None };
    let effect = Effect::Put { key: PLAN.to_owned(), value: written(&plan) };
    match call(settings, &StoreCall::Transact { compares: vec![compare], effect }).await? {
        StoreReply::Done => Ok(plan.id),
        StoreReply::Differs(pairs) => {
            let id = pairs.get(PLAN).and_then(|value| read::<PlanRecord>(value)).map(|plan| plan.id);
            Err(format!(
                "the store has a plan already ({}); join it: gipam join",
                id.unwrap_or_else(|| "of a newer gipam".to_owned())
            ))
        }
        StoreReply::Pairs(_) => Err("the plan's store did not say whether it created the plan".to_owned()),
    }
}

/// Begins a new epoch, after which every host confirms its slices before anything is claimed.
pub(super) async fn restored(settings: &EtcdSettings) -> Result<String, String> {
    let known = match call(settings, &StoreCall::Get { keys: vec![PLAN.to_owned()] }).await? {
        StoreReply::Pairs(pairs) => pairs.get(PLAN).cloned(),
        _ => None,
    };
    let known = known.ok_or("the store has no plan; was it restored from the right backup?")?;
    let plan: PlanRecord = read(&known).ok_or("the plan was written by a newer gipam; upgrade this one")?;
    let next = plan.restored(0, &random());
    let compare = Compare { key: PLAN.to_owned(), value: Some(known) };
    let effect = Effect::Put { key: PLAN.to_owned(), value: written(&next) };
    match call(settings, &StoreCall::Transact { compares: vec![compare], effect }).await? {
        StoreReply::Done => Ok(format!(
            "epoch {} of plan {} begins: nobody claims slices until every host has confirmed its own; see gipam hosts",
            next.epoch, next.id
        )),
        _ => Err("the plan changed at the same moment; look at gipam hosts, then try again".to_owned()),
    }
}
