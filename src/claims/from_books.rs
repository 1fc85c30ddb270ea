//! What the books alone know of a plan in a store: for commands without a daemon, and for a start while the store is down.
//!
//! Promises: pure; says that it is not the whole plan, so that nothing which is unknown here is shown as free.

use std::sync::Arc;

use super::division::{Division, HostPlan, HostStanding, HostState};
use super::known::{HostsPlan, StoreHealth};
use super::machine::own_books::ClaimBooks;
use crate::config::PlanSource;
use crate::plan::Plan;
use crate::plan::slices::SliceState;

impl HostsPlan {
    /// The hosts that this one has seen, and its own slices.
    pub fn from_books(source: &PlanSource, id: &str, books: &ClaimBooks, plan: &Plan) -> Self {
        let standing = |id: &str, fenced: Option<u64>| HostStanding {
            id: id.to_owned(),
            state: if fenced.is_some() { HostState::Forgotten } else { HostState::Active },
            beat: 0,
            sign_at: None,
            fenced,
            arrived: true,
        };
        let others = books.hosts.iter().filter(|(other, _)| *other != id).map(|(other, seen)| HostPlan {
            name: seen.name.clone(),
            record: Some(standing(other, seen.fenced)),
            ..HostPlan::default()
        });
        let mut hosts: Vec<HostPlan> = others.collect();
        if !books.plan.is_empty() {
            let own = plan.slices().iter().filter(|slice| slice.state != SliceState::Lost);
            hosts.push(HostPlan {
                name: source.host.clone(),
                via: source.etcd().map(|etcd| etcd.via.clone()).unwrap_or_default(),
                slices: own.map(|slice| slice.prefix).collect(),
                record: Some(HostStanding { beat: books.acknowledged, ..standing(id, None) }),
            });
        }
        super::from_store::set_apart(id, &mut hosts);
        Self {
            id: Some(id.to_owned()),
            division: Some(Arc::new(Division::incomplete(hosts))),
            store: Some(StoreHealth { joined: !books.plan.is_empty(), ..StoreHealth::default() }),
            ..Self::unread(source)
        }
    }
}
