//! REPAIR: compares the books with the Engine, outside the request path, fenced and patient.
//!
//! Docker loses releases in at least seven ways (P20). Repair reads the books first, then the Engine's
//! networks and endpoints, and compares both by space, subnet and address. If a complete view of the Engine
//! that the books belong to does not show a lease or subnet at least a minute after its grant, a second view
//! must still lack it a grace time later, with the same generation, before it is freed (see the plan's
//! `evidence`). Addresses that the Engine shows alive and the books lack are adopted immediately, unless a
//! grant or release happened there since the books were read. A whole network that the books lack is adopted
//! only at a person's request.
//!
//! Promises: only endpoints of space local are ever freed. Subnets that the Engine does not know are only
//! reported, unless the configuration says that this is the only Engine. A check never affects anything newer
//! than itself. Repair waits for events, for the second check of its suspects, and for an hourly check; it
//! never polls. If an Engine does not answer, repair tries a few times and then waits for the next request.

mod by_hand;
mod compare;
mod events;
mod findings;
mod meters;
mod networks;
mod noted;
mod patience;
mod run;
mod suspects;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};

use self::by_hand::WITHOUT;
pub use self::meters::{FOUND, LastCheck, RepairMeters};
pub use self::run::Reconciler;
use crate::docker::Proofs;
use crate::ledger::Refusal;
use crate::plan::error::ErrorKind;
use crate::plan::prefix::Prefix;
use crate::plan::repair::SETTLING;
use crate::plan::settings::Millis;

/// The configuration of repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairSettings {
    /// The Engine's API socket; `None` turns repair off.
    pub engine: Option<PathBuf>,
    /// A lease or subnet must look dead in two checks at least this far apart before it is freed, in
    /// milliseconds.
    pub grace: Millis,
    /// This Engine is the only one, so subnets that it does not know may be freed.
    pub only_engine: bool,
}

/// One finding, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `duplicate`, `engine`, `lease`, `subnet` or `network`, from most to least serious.
    pub what: String,
    /// Prefix of the subnet.
    pub subnet: String,
    /// The address, for a lease.
    pub address: Option<String>,
    /// Who held it, as far as the books know.
    pub holder: Option<String>,
    /// When it was granted, RFC 3339.
    pub since: Option<String>,
    /// When it first looked dead, RFC 3339.
    pub first_seen: Option<String>,
    /// When it last looked dead, RFC 3339.
    pub last_seen: Option<String>,
    /// What is wrong.
    pub why: String,
    /// What was or will be done.
    pub action: String,
    /// What a person can do about it; all findings of a kind have the same text.
    #[serde(default)]
    pub advice: Option<String>,
}

/// A person's request to repair, and the channel for the findings or the error.
type RepairCommand = (Wish, oneshot::Sender<Result<Vec<Finding>, Refusal>>);

/// The kinds of requests from people.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// Check and report the findings; if `apply` is set, free what is proven dead and adopt what can be
    /// adopted.
    Check { apply: bool },
    /// Adopt the only network of this subnet under this PoolID, or only set the PoolID if it is already
    /// adopted.
    Adopt { prefix: Prefix, id: String },
    /// Make the books belong to the Engine that answers.
    Trust,
    /// Release one address, or the whole subnet with this prefix or PoolID, unless the Engine shows it alive.
    Release { subnet: String, address: Option<IpAddr> },
}

/// The state that the task shares with its handles; cheap to clone.
#[derive(Clone, Debug)]
struct RepairShared {
    proofs: Proofs,
    /// Signals that a request arrived.
    asked: Arc<Notify>,
    /// Signals that a person changed the books.
    changed: Arc<Notify>,
    meters: Arc<RepairMeters>,
}

/// A handle to repair; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<RepairCommand>,
    shared: RepairShared,
}

impl Handle {
    /// The leases and subnets that are proven dead at present, for explicit requests.
    pub fn proofs(&self) -> Proofs {
        self.shared.proofs.clone()
    }

    /// Every listener signals each request here, since an Engine that did not answer may be back.
    pub fn asked(&self) -> Arc<Notify> {
        self.shared.asked.clone()
    }

    /// Call this after a person has changed the books; a check follows within seconds.
    pub fn changed(&self) {
        self.shared.changed.notify_one();
    }

    /// The values counted since the start.
    pub fn meters(&self) -> &Arc<RepairMeters> {
        &self.shared.meters
    }

    /// Checks now; if `apply` is set, frees what is proven dead and adopts what can be adopted. If an address
    /// at two endpoints may just have moved from one to the other, checks again once that can be known.
    pub async fn look(&self, apply: bool) -> Result<Vec<Finding>, String> {
        let mut findings = self.wish(Wish::Check { apply }).await;
        if findings.is_ok() && self.shared.meters.last().passing {
            tokio::time::sleep(Duration::from_millis(SETTLING)).await;
            findings = self.wish(Wish::Check { apply }).await;
        }
        findings.map_err(|refusal| refusal.text)
    }

    /// Adopts the network of this subnet under the PoolID that Docker has for it, and returns the finding
    /// about it.
    pub async fn adopt(&self, prefix: Prefix, id: String) -> Result<Vec<Finding>, Refusal> {
        self.wish(Wish::Adopt { prefix, id }).await
    }

    /// Makes the books belong to the Engine that answers, and checks.
    pub async fn trust(&self) -> Result<Vec<Finding>, Refusal> {
        self.wish(Wish::Trust).await
    }

    /// Releases a lease or a subnet, unless the Engine shows it alive.
    pub async fn release(&self, subnet: String, address: Option<IpAddr>) -> Result<(), Refusal> {
        if !self.shared.meters.on {
            let text = "gc.engine is not set, so no Engine can confirm that it is unused";
            let name = name_of(&subnet, address);
            return Err(unavailable(format!("{name} is not released: {text}; {WITHOUT}")));
        }
        self.wish(Wish::Release { subnet, address }).await.map(drop)
    }

    async fn wish(&self, wish: Wish) -> Result<Vec<Finding>, Refusal> {
        let (answer, findings) = oneshot::channel();
        let off = || unavailable("repair is off, because gc.engine is not set".to_owned());
        self.commands.send((wish, answer)).await.map_err(|_| off())?;
        findings.await.unwrap_or_else(|_| Err(off()))
    }
}

/// The name of a subnet, or of an address in it, for messages about a release by hand.
fn name_of(subnet: &str, address: Option<IpAddr>) -> String {
    address.map_or_else(|| subnet.to_owned(), |address| format!("{address} of {subnet}"))
}

/// A refusal because the request cannot be carried out now.
fn unavailable(text: String) -> Refusal {
    Refusal::new(ErrorKind::Unavailable, text)
}
