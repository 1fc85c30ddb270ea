//! PROBES: asks a LAN whether a machine that gipam does not know already has an address, before gipam gives it to a container.
//!
//! A thread looks at the plan for the next few addresses of each network in a pool with `probe`, and probes them in advance
//! (`keeper`); it is started when there is such a pool. A request for any other address waits for its probe, at most [`LONGEST`]. What answers is quarantined through
//! the ledger.
//!
//! Promises: off the ledger's thread; a request is never delayed by more than [`LONGEST`], and not at all if probes are not
//! possible (no CAP_NET_RAW, no interface); an address that this host leases is not probed. Decides nothing: see
//! `plan::quarantine`.
//!
//! Read in this order: `packets` (the frames), `stock` (which address is due when), `lan` (the socket), `keeper`, `state`. The
//! daemon does not use `router` and its packets (`echo`): with them, `gipam doctor --edge` asks the router of an uplink.

mod echo;
mod keeper;
mod lan;
mod packets;
mod router;
mod state;
mod stock;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

pub use self::router::{RouterAnswer, RouterProbeError, RouterQuestion, ask_router};
pub use self::state::ProbeState;
use crate::ledger::{Granted, Ledger, Refusal};
use crate::plan::Plan;
use crate::plan::quarantine::Probed;
use crate::plan::request::{AddressRequest, Reply, Request};
use crate::plan::settings::Millis;

/// The longest that a request waits for probes.
const LONGEST: Duration = Duration::from_millis(300);

/// Which pools are probed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeSettings {
    /// The interface of each pool; `None` = the one that has an address in the network.
    pub pools: BTreeMap<String, Option<String>>,
    /// When a quarantined address is probed again.
    pub again: Millis,
}

/// What became of a probe that a request waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeOutcome {
    /// The plan knows the result, or the address counts as silent.
    Known,
    /// The address cannot be probed.
    Unable,
}

/// A request waits for the probe of this address.
#[derive(Debug)]
struct ProbeQuestion {
    address: IpAddr,
    answer: oneshot::Sender<ProbeOutcome>,
}

/// A handle to the thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Prober {
    questions: mpsc::UnboundedSender<ProbeQuestion>,
    known: Arc<RwLock<Arc<Probed>>>,
    settings: Arc<watch::Sender<ProbeSettings>>,
    pub state: ProbeState,
    /// What the thread needs, until it is started.
    unstarted: Arc<Mutex<Option<keeper::Parts>>>,
}

/// Prepares the thread, and starts it if something is probed, or quarantined since an earlier run.
pub async fn start(ledger: Ledger, settings: ProbeSettings) -> io::Result<Prober> {
    let (questions, asked) = mpsc::unbounded_channel();
    let is_needed = !settings.pools.is_empty()
        || ledger.look(Plan::quarantined).await.is_ok_and(|strangers| !strangers.is_empty());
    let (settings, followed) = watch::channel(settings);
    let (known, state) = (Arc::<RwLock<Arc<Probed>>>::default(), ProbeState::default());
    let parts = (ledger, followed, asked, known.clone(), state.clone());
    let unstarted = Arc::new(Mutex::new(Some(parts)));
    let prober = Prober { questions, known, settings: Arc::new(settings), state, unstarted };
    if is_needed {
        prober.begin()?;
    }
    Ok(prober)
}

/// What a request carries that no longer waits for probes; shared, so that it costs a request nothing.
static OVER: LazyLock<Arc<Probed>> =
    LazyLock::new(|| Arc::new(Probed { is_over: true, ..Probed::default() }));

impl Prober {
    /// Probes other pools from now on.
    pub fn configure(&self, settings: ProbeSettings) -> io::Result<()> {
        let is_needed = !settings.pools.is_empty();
        self.settings.send_replace(settings);
        if is_needed { self.begin() } else { Ok(()) }
    }

    /// Starts the thread, once. It ends when all handles are gone.
    fn begin(&self) -> io::Result<()> {
        let mut unstarted = self.unstarted.lock().unwrap_or_else(PoisonError::into_inner);
        if unstarted.is_none() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if let Some(parts) = unstarted.take() {
            let run = move || tokio::task::LocalSet::new().block_on(&runtime, keeper::run(parts));
            std::thread::Builder::new().name("probe".to_owned()).spawn(run)?;
        }
        Ok(())
    }

    /// What is known from probes.
    fn known(&self) -> Arc<Probed> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request for an address to the ledger; if the address must be probed first, waits for that, at most [`LONGEST`].
    pub async fn ask(&self, ledger: &Ledger, request: AddressRequest) -> Result<Granted, Refusal> {
        if self.settings.borrow().pools.is_empty() {
            let probed = Some(OVER.clone());
            return ledger.ask(Request::Address(AddressRequest { probed, ..request })).await;
        }
        let deadline = Instant::now() + LONGEST;
        let mut probed = self.known();
        loop {
            let asked = AddressRequest { probed: Some(probed), ..request.clone() };
            let granted = ledger.ask(Request::Address(asked)).await?;
            let Reply::Probe(address) = granted.reply else { return Ok(granted) };
            probed = match self.probe(address, deadline).await {
                ProbeOutcome::Known if Instant::now() < deadline => self.known(),
                _ => {
                    self.state.unprobed(address);
                    OVER.clone()
                }
            };
        }
    }

    async fn probe(&self, address: IpAddr, deadline: Instant) -> ProbeOutcome {
        let (answer, answered) = oneshot::channel();
        if self.questions.send(ProbeQuestion { address, answer }).is_err() {
            return ProbeOutcome::Unable;
        }
        let answered = timeout_at(deadline, answered).await;
        answered.ok().and_then(Result::ok).unwrap_or(ProbeOutcome::Unable)
    }
}
