//! REPAIR: the books against the Engine, off the request path, fenced and patient.
//!
//! Docker loses releases in at least seven ways (P20). Here the books are read first, then the Engine's networks and
//! endpoints, and both are compared by space, subnet and address. What a complete view of the Engine that the books know
//! lacks, a minute after its grant or later, must be lacking again at least a grace time after that, with its generation
//! unchanged, before it is freed (see the plan's `evidence`); what the Engine shows live and the books lack is adopted at
//! once, unless something was granted or released there since the books were read. A whole network that the books lack is
//! adopted when a person asks for it.
//!
//! Promises: only endpoints of space local are ever freed; subnets that the Engine does not know are only reported,
//! unless the configuration says that this is the only Engine; nothing newer than a look is touched because of it.
//! Waits for events, for the second look at what it suspects, and for one look an hour; never polls. An Engine that does
//! not answer is asked a few times, then not before the next request.

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
pub use self::meters::{FOUND, RepairMeters};
pub use self::run::Reconciler;
use crate::docker::Proofs;
use crate::ledger::Refusal;
use crate::plan::error::ErrorKind;
use crate::plan::prefix::Prefix;
use crate::plan::repair::SETTLING;
use crate::plan::settings::Millis;

/// What the configuration says of repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairSettings {
    /// The Engine's API socket; none turns repair off.
    pub engine: Option<PathBuf>,
    /// Between the two looks at least that must see something dead before it is freed, milliseconds.
    pub grace: Millis,
    /// This Engine is the only one: subnets that it does not know may be freed.
    pub only_engine: bool,
}

/// One finding, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `duplicate`, `engine`, `lease`, `subnet` or `network`; the worst first.
    pub what: String,
    /// Prefix of the subnet.
    pub subnet: String,
    /// The address, for a lease.
    pub address: Option<String>,
    /// Who held it, as far as the books know.
    pub holder: Option<String>,
    /// Granted then, RFC 3339.
    pub since: Option<String>,
    /// First seen dead, RFC 3339.
    pub first_seen: Option<String>,
    /// Last seen dead, RFC 3339.
    pub last_seen: Option<String>,
    /// What is wrong.
    pub why: String,
    /// What was or will be done.
    pub action: String,
    /// What a person can do about it; the same words for all findings of a sort.
    #[serde(default)]
    pub advice: Option<String>,
}

/// What a person asks of repair.
#[derive(Debug)]
pub struct RepairCommand {
    pub wish: Wish,
    /// Where the findings go, or why repair found none.
    pub answer: oneshot::Sender<Result<Vec<Finding>, Refusal>>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Say what there is.
    Look,
    /// Free what is proven and adopt what can be, now.
    Apply,
    /// Adopt the one network of this subnet under this PoolID, or only say the PoolID if it is adopted already.
    Adopt { prefix: Prefix, id: String },
    /// Take the Engine that answers for the one that holds what is in the books.
    Trust,
    /// Release one address, or the whole subnet of this prefix or PoolID, unless the Engine shows it alive.
    Release { subnet: String, address: Option<IpAddr> },
}

/// What the task and all who ask it share; cheap to clone.
#[derive(Clone, Debug)]
struct RepairShared {
    proofs: Proofs,
    /// A request came.
    asked: Arc<Notify>,
    /// The books were changed by hand.
    changed: Arc<Notify>,
    meters: Arc<RepairMeters>,
}

/// The way into repair; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<RepairCommand>,
    shared: RepairShared,
}

impl Handle {
    /// What is proven dead now: for explicit requests.
    pub fn proofs(&self) -> Proofs {
        self.shared.proofs.clone()
    }

    /// Every listener calls this when a request came: an Engine that did not answer may be back.
    pub fn asked(&self) -> Arc<Notify> {
        self.shared.asked.clone()
    }

    /// The books were changed by hand: a look follows within seconds.
    pub fn changed(&self) {
        self.shared.changed.notify_one();
    }

    /// What was counted since the start.
    pub fn meters(&self) -> &Arc<RepairMeters> {
        &self.shared.meters
    }

    /// Looks now; frees what is proven and adopts what can be, if requested. Where two containers may have one address, or may
    /// just have passed it on, looks again when that is known.
    pub async fn look(&self, apply: bool) -> Result<Vec<Finding>, String> {
        let wish = || if apply { Wish::Apply } else { Wish::Look };
        let mut findings = self.wish(wish()).await;
        if findings.is_ok() && self.shared.meters.passing() {
            tokio::time::sleep(Duration::from_millis(SETTLING)).await;
            findings = self.wish(wish()).await;
        }
        findings.map_err(|refusal| refusal.text)
    }

    /// Adopts the network of this subnet under the PoolID that Docker has for it, and says what was done.
    pub async fn adopt(&self, prefix: Prefix, id: String) -> Result<Vec<Finding>, Refusal> {
        self.wish(Wish::Adopt { prefix, id }).await
    }

    /// Takes the Engine that answers for the one that holds what is in the books, and looks.
    pub async fn trust(&self) -> Result<Vec<Finding>, Refusal> {
        self.wish(Wish::Trust).await
    }

    /// Releases a lease or a subnet, unless the Engine shows it alive.
    pub async fn release(&self, subnet: String, address: Option<IpAddr>) -> Result<(), Refusal> {
        if !self.shared.meters.on {
            let text = "the configuration names no Engine (gc.engine) that could say whether it is alive";
            return Err(unavailable(format!("{subnet} is not released: {text}; {WITHOUT}")));
        }
        self.wish(Wish::Release { subnet, address }).await.map(drop)
    }

    async fn wish(&self, wish: Wish) -> Result<Vec<Finding>, Refusal> {
        let (answer, findings) = oneshot::channel();
        let off = || unavailable("repair is off: the configuration names no Engine (gc.engine)".to_owned());
        self.commands.send(RepairCommand { wish, answer }).await.map_err(|_| off())?;
        findings.await.unwrap_or_else(|_| Err(off()))
    }
}

/// Not now.
fn unavailable(text: String) -> Refusal {
    Refusal::new(ErrorKind::Unavailable, text)
}
