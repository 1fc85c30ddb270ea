//! Forgets a host of the plan: a person says that it is gone for good.
//!
//! Promises: only a host that the plan names, never this one; the daemon's task of claims decides, in one transaction. Does
//! not ask whether the person is sure: the command does.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::claims::handle::ClaimsHandle;
use crate::claims::{PlanPlace, SharedPlan};
use crate::plan::error::{ErrorKind, Refusal};

/// How long a command waits for a call that was begun; before that, the machine answers after two seconds.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
pub(super) struct ForgetAsked {
    /// Its name or its id.
    host: String,
}

/// The host that was forgotten.
#[derive(Debug, Serialize)]
pub(super) struct ForgottenHost {
    host: String,
    id: String,
    /// The slices that others may take now.
    slices: Vec<String>,
}

/// Forgets a host.
pub(super) async fn forget(
    plan: &SharedPlan,
    claims: &ClaimsHandle,
    asked: ForgetAsked,
) -> Result<ForgottenHost, Refusal> {
    let invalid = |text: String| Err(Refusal::new(ErrorKind::Invalid, text));
    let Some(plan) = plan.get() else {
        return invalid("no plan of several hosts is configured, so no host can be forgotten".to_owned());
    };
    if let PlanPlace::File(path) = &plan.place {
        let path = path.display();
        return invalid(format!(
            "people keep the plan file: remove the [[host]] from {path}, then run gipam reload"
        ));
    }
    let Some(division) = &plan.division else {
        let text = format!("the plan in {} was not read yet; see gipam status", plan.place);
        return Err(Refusal::new(ErrorKind::Unavailable, text));
    };
    let Some(host) = division.host(&asked.host).or_else(|| division.host_by_id(&asked.host)) else {
        let text = format!("the plan has no host {}; see gipam hosts", asked.host);
        return Err(Refusal::new(ErrorKind::Missing, text));
    };
    if plan.is_own(host) {
        return invalid(format!("{} is this host; forget it on another host of the plan", host.name));
    }
    let Some(record) = &host.record else {
        return invalid(format!("host {} has no record in {}", host.name, plan.place));
    };
    let unavailable = |text: String| Refusal::new(ErrorKind::Unavailable, text);
    let forgotten = timeout(PATIENCE, claims.forget(record.id.clone())).await;
    let Ok(forgotten) = forgotten else {
        return Err(unavailable(format!(
            "the plan's store has not confirmed yet that host {} is forgotten; gipam repeats the call until it is answered, see \
             gipam hosts",
            host.name
        )));
    };
    forgotten.map_err(unavailable)?;
    tracing::warn!(
        "host {} (id {}) was forgotten by a person: others may take its slices",
        host.name,
        record.id
    );
    Ok(ForgottenHost {
        host: host.name.clone(),
        id: record.id.clone(),
        slices: host.slices.iter().map(ToString::to_string).collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::*;
    use crate::claims::HostsPlan;
    use crate::claims::division::{Division, HostPlan, HostStanding, HostState};
    use crate::claims::handle::ClaimCommand;
    use crate::plan::prefix::Prefix;

    fn host(name: &str, id: &str) -> HostPlan {
        let (beat, sign_at, fenced, arrived) = (1, None, None, true);
        let state = HostState::Active;
        let record = HostStanding { id: id.to_owned(), state, beat, sign_at, fenced, arrived };
        HostPlan { name: name.to_owned(), record: Some(record), ..HostPlan::default() }
    }

    /// A plan of the hosts a (this one) and b, which has a slice.
    fn shared(place: PlanPlace) -> SharedPlan {
        let slices = vec![Prefix::parse("10.20.0.0/20").unwrap()];
        let hosts = vec![host("a", "id-a"), HostPlan { slices, ..host("b", "id-b") }];
        let shared = SharedPlan::default();
        shared.set(Some(HostsPlan {
            host: "a".to_owned(),
            id: Some("id-a".to_owned()),
            place,
            division: Some(Arc::new(Division::new(Vec::new(), hosts, BTreeSet::new()))),
            error: None,
            refused: BTreeMap::new(),
            store: None,
        }));
        shared
    }

    fn asked(host: &str) -> ForgetAsked {
        ForgetAsked { host: host.to_owned() }
    }

    #[tokio::test]
    async fn a_host_is_forgotten_by_its_name_or_its_id_and_its_slices_are_told() {
        let (claims, mut commands) = ClaimsHandle::new();
        let task = tokio::spawn(async move {
            let mut ids = Vec::new();
            while let Some(ClaimCommand::Forget { id, answer }) = commands.recv().await {
                let result = if ids.is_empty() { Ok(()) } else { Err("no quorum".to_owned()) };
                ids.push(id);
                answer.send(result).unwrap();
            }
            ids
        });
        let plan = shared(PlanPlace::Etcd(vec!["http://192.0.2.1:2379".to_owned()]));
        let forgotten = forget(&plan, &claims, asked("B")).await.unwrap();
        assert_eq!((&*forgotten.host, &*forgotten.id), ("b", "id-b"));
        assert_eq!(forgotten.slices, ["10.20.0.0/20"]);
        let refused = forget(&plan, &claims, asked("id-b")).await.unwrap_err();
        assert_eq!((refused.kind, &*refused.text), (ErrorKind::Unavailable, "no quorum"));
        drop(claims);
        assert_eq!(task.await.unwrap(), ["id-b", "id-b"]);
    }

    #[tokio::test]
    async fn this_host_unknown_ones_and_those_of_a_plan_file_are_not_forgotten() {
        let (claims, commands) = ClaimsHandle::new();
        let etcd = PlanPlace::Etcd(vec!["http://192.0.2.1:2379".to_owned()]);
        let file = PlanPlace::File("/etc/gipam/plan.toml".into());
        for (plan, host, said) in [
            (shared(etcd.clone()), "a", "a is this host; forget it on another host of the plan"),
            (shared(etcd.clone()), "c", "the plan has no host c; see gipam hosts"),
            (shared(file), "b", "remove the [[host]] from /etc/gipam/plan.toml, then run gipam reload"),
            (SharedPlan::default(), "b", "no plan of several hosts is configured"),
        ] {
            let text = forget(&plan, &claims, asked(host)).await.unwrap_err().text;
            assert!(text.contains(said), "{text}");
        }
        drop(commands);
        let text = forget(&shared(etcd), &claims, asked("b")).await.unwrap_err().text;
        assert!(text.contains("has no [plan] with etcd"), "{text}");
    }
}
