//! The thread that probes: it follows the plan, keeps a stock of silent addresses for each network, answers requests that
//! wait, and probes quarantined addresses again.
//!
//! Promises: sleeps while nothing is due. Whatever fails (no interface, no CAP_NET_RAW, an interface that goes down) is shown,
//! and requests then do not wait.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot, watch};

use super::lan::{LanNews, LanSocket};
use super::state::ProbeState;
use super::stock::ProbeStock;
use super::{ProbeOutcome, ProbeQuestion, ProbeSettings};
use crate::clock::steady;
use crate::host::links::{EthernetLink, ethernet_links};
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::plan::prefix::{Prefix, number};
use crate::plan::quarantine::{ProbeCandidates, ProbeResult, Probed, Quarantined};
use crate::plan::request::{Mac, Request};
use crate::plan::settings::Millis;

/// How many addresses of each network are probed in advance.
const STOCK: usize = 16;
/// How long to wait after a commit, so that commits close together are followed by one look at the plan.
const TOGETHER: Millis = 20;
/// How long to wait after a failure of an interface before it is opened again, and how often the stock is renewed.
const LATER: Millis = 60_000;
/// An address is free again when it was silent this many times in a row.
const SILENT_TIMES: u32 = 2;

/// What the thread gets: ledger, settings, questions, and where it publishes.
pub(super) type Parts = (
    Ledger,
    watch::Receiver<ProbeSettings>,
    mpsc::UnboundedReceiver<ProbeQuestion>,
    Arc<RwLock<Arc<Probed>>>,
    ProbeState,
);

struct ProbeKeeper {
    ledger: Ledger,
    settings: watch::Receiver<ProbeSettings>,
    known: Arc<RwLock<Arc<Probed>>>,
    state: ProbeState,
    stock: ProbeStock,
    /// The interface of each network.
    places: Vec<(Prefix, String)>,
    /// The open sockets, by interface.
    lans: BTreeMap<String, LanSocket>,
    heard: mpsc::UnboundedSender<LanNews>,
    waiting: BTreeMap<IpAddr, Vec<oneshot::Sender<ProbeOutcome>>>,
    /// The addresses in quarantine, and how often each was silent in a row.
    strangers: Vec<(Quarantined, u32)>,
    /// When the strangers are probed again.
    check: Option<Millis>,
    /// When to look at the plan.
    refresh: Option<Millis>,
    /// The plan's next generation at the last look.
    generation: u64,
}

/// Runs until all senders of questions are gone.
pub(super) async fn run((ledger, settings, mut questions, known, state): Parts) {
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let (mut changes, mut commits) = (settings.clone(), ledger.meters().follow());
    let mut keeper = ProbeKeeper {
        ledger,
        settings,
        known,
        state,
        stock: ProbeStock::default(),
        places: Vec::new(),
        lans: BTreeMap::new(),
        heard,
        waiting: BTreeMap::new(),
        strangers: Vec::new(),
        check: None,
        refresh: None,
        generation: 0,
    };
    keeper.begin().await;
    loop {
        keeper.work().await;
        let wait = keeper.next().map(|at| Duration::from_millis(at.saturating_sub(steady())));
        let due = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let is_on = !keeper.settings.borrow().pools.is_empty();
        tokio::select! {
            asked = questions.recv() => match asked {
                Some(question) => keeper.asked(question).await,
                None => return,
            },
            Some(heard) = hearing.recv() => match heard {
                Ok((address, mac)) => keeper.heard(address, mac).await,
                Err((interface, error)) => keeper.lost(&interface, &error.to_string()),
            },
            changed = changes.changed() => match changed {
                Ok(()) => keeper.begin().await,
                Err(_) => return,
            },
            _ = commits.changed(), if is_on => {
                keeper.refresh = Some(keeper.refresh.unwrap_or(Millis::MAX).min(steady() + TOGETHER));
            }
            () = due => {}
        }
    }
}

impl ProbeKeeper {
    /// Begins anew with other settings.
    async fn begin(&mut self) {
        self.lans.clear();
        let kept = self.settings.borrow_and_update().clone();
        self.state.keep(|pool| kept.pools.contains_key(pool));
        let strangers = self.ledger.look(Plan::quarantined).await.unwrap_or_default();
        self.strangers = strangers.into_iter().map(|stranger| (stranger, 0)).collect();
        self.refresh().await;
        let all = std::mem::take(&mut self.strangers);
        for (stranger, silent) in all {
            match self.place_of(stranger.ip) {
                Some(_) => self.strangers.push((stranger, silent)),
                // Nobody asks the LAN about it any more.
                None => self.end(&stranger, "its pool is no longer probed").await,
            }
        }
        self.plan_check();
    }

    /// When something is due next.
    fn next(&self) -> Option<Millis> {
        [self.stock.next(), self.check, self.refresh].into_iter().flatten().min()
    }

    /// Does what is due.
    async fn work(&mut self) {
        let now = steady();
        if self.refresh.is_some_and(|at| at <= now) {
            self.refresh().await;
        }
        if self.check.is_some_and(|at| at <= now) {
            for (stranger, _) in &self.strangers {
                self.stock.again(stranger.ip, now, self.generation);
            }
            self.plan_check();
        }
        let due = self.stock.due(now);
        for address in due.send {
            self.send(address);
            // The kernel does not send this host's own packets back to it.
            if let Some(mac) = self.own(address) {
                self.heard(address, mac).await;
            }
        }
        let is_news = !due.silent.is_empty();
        if is_news {
            self.publish();
        }
        for address in due.silent {
            self.tell(address, ProbeOutcome::Known);
            self.missed(address).await;
        }
    }

    fn plan_check(&mut self) {
        let again = self.settings.borrow().again.max(1);
        self.check = (!self.strangers.is_empty()).then(|| steady() + again);
        self.state.quarantined(self.strangers.len());
    }

    /// Looks at the plan: which addresses it would give next, and which silent ones were given.
    async fn refresh(&mut self) {
        self.refresh = None;
        let settings = self.settings.borrow().clone();
        if settings.pools.is_empty() {
            self.places.clear();
            return;
        }
        let silent = self.stock.silent(steady());
        let look = move |plan: &Plan| {
            let given: Vec<IpAddr> = silent.into_iter().filter(|address| plan.is_ours(*address)).collect();
            (plan.probe_candidates(STOCK), given, plan.counters().0)
        };
        let Ok((candidates, given, generation)) = self.ledger.look(look).await else { return };
        self.generation = generation;
        given.into_iter().for_each(|address| self.stock.forget(address));
        self.connect(&settings, &candidates);
        let now = steady();
        for address in candidates.iter().flat_map(|network| &network.next) {
            if self.place_of(*address).is_some() {
                // This host may have got the address after it was silent.
                if self.own(*address).is_some() {
                    self.stock.forget(*address);
                }
                self.stock.begin(*address, now, generation, false);
            }
        }
        self.publish();
        if !candidates.is_empty() {
            self.refresh = Some(now + LATER);
        }
    }

    /// Finds the interface of each network, and opens its socket.
    fn connect(&mut self, settings: &ProbeSettings, candidates: &[ProbeCandidates]) {
        self.places.clear();
        let links = if candidates.is_empty() { Ok(Vec::new()) } else { ethernet_links() };
        for network in candidates {
            let Some(wanted) = settings.pools.get(&network.pool) else { continue };
            let links = links.as_deref().map_err(|error| format!("the interfaces cannot be read: {error}"));
            let found = links.and_then(|links| interface(links, wanted.as_deref(), network.prefix));
            let opened = found.and_then(|link| self.open(link));
            if let Ok(name) = &opened {
                self.places.push((network.prefix, name.clone()));
            }
            self.state.set(&network.pool, opened);
        }
    }

    fn open(&mut self, link: EthernetLink) -> Result<String, String> {
        let name = link.name.clone();
        if self.lans.get(&name).is_some_and(|lan| lan.link == link) {
            return Ok(name);
        }
        match LanSocket::open(link, self.heard.clone()) {
            Ok(lan) => {
                self.lans.insert(name.clone(), lan);
                Ok(name)
            }
            // The second one is what the address families of the unit make of it.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::AFNOSUPPORT)) => {
                Err(format!(
                    "gipam may not send packets on {name}: it needs CAP_NET_RAW; install the drop-in lan-probes.conf (see docs/install.md)"
                ))
            }
            Err(error) => Err(format!("{name} cannot be opened: {error}")),
        }
    }

    fn place_of(&self, address: IpAddr) -> Option<&LanSocket> {
        let (_, name) = self.places.iter().find(|(prefix, _)| prefix.contains_address(address))?;
        self.lans.get(name)
    }

    /// A request waits for this address.
    async fn asked(&mut self, ProbeQuestion { address, answer }: ProbeQuestion) {
        if self.place_of(address).is_none() {
            self.refresh().await;
        }
        if self.place_of(address).is_none() {
            let _ = answer.send(ProbeOutcome::Unable);
            return;
        }
        self.waiting.entry(address).or_default().push(answer);
        self.stock.begin(address, steady(), self.generation, true);
        if !self.stock.is_underway(address) {
            return self.tell(address, ProbeOutcome::Known);
        }
        self.work().await;
    }

    /// The MAC of the interface if this host itself has the address there.
    fn own(&self, address: IpAddr) -> Option<Mac> {
        let link = &self.place_of(address)?.link;
        link.addresses.iter().any(|(own, _)| *own == address).then_some(link.mac)
    }

    fn send(&mut self, address: IpAddr) {
        let Some(lan) = self.place_of(address) else { return self.give_up(address) };
        let (sent, name) = (lan.probe(address), lan.link.name.clone());
        match sent {
            Ok(()) => self.state.sent(),
            Err(error) => self.lost(&name, &error.to_string()),
        }
    }

    /// An interface does not work any more: nothing on it is probed until the plan or the clock asks for it again.
    fn lost(&mut self, interface: &str, why: &str) {
        self.lans.remove(interface);
        let lost: Vec<Prefix> =
            self.places.iter().filter(|(_, name)| name == interface).map(|(prefix, _)| *prefix).collect();
        self.places.retain(|(_, name)| name != interface);
        tracing::warn!("addresses cannot be probed on {interface}: {why}; gipam tries again in a minute");
        let waiting: Vec<IpAddr> = self.waiting.keys().copied().collect();
        for address in waiting.into_iter().filter(|it| lost.iter().any(|prefix| prefix.contains_address(*it)))
        {
            self.give_up(address);
        }
        self.refresh = Some(steady() + LATER);
    }

    fn give_up(&mut self, address: IpAddr) {
        self.stock.forget(address);
        self.tell(address, ProbeOutcome::Unable);
    }

    fn tell(&mut self, address: IpAddr, outcome: ProbeOutcome) {
        for answer in self.waiting.remove(&address).unwrap_or_default() {
            let _ = answer.send(outcome);
        }
    }

    /// A machine has this address. Counts only if gipam asked.
    async fn heard(&mut self, address: IpAddr, mac: Mac) {
        let Some(began) = self.stock.answered(address) else { return };
        let result = ProbeResult::Answered { address, mac, began };
        // If the disk is full, the address stays out of the stock, and is probed again.
        let mut is_quarantined = false;
        if self.ledger.ask(Request::Probed(result)).await.is_ok() {
            let all = self.ledger.look(Plan::quarantined).await.unwrap_or_default();
            let stranger = all.into_iter().find(|stranger| stranger.ip == address);
            let known = self.strangers.iter().position(|(known, _)| known.ip == address);
            if let Some(stranger) = stranger {
                is_quarantined = true;
                match known {
                    Some(at) => self.strangers[at] = (stranger, 0),
                    None => {
                        let lan = self.place_of(address).map_or("", |lan| lan.link.name.as_str());
                        tracing::warn!(
                            "{address} is in use by {mac} on {lan}, which is not a container of this host; containers get other addresses"
                        );
                        self.strangers.push((stranger, 0));
                        self.state.found();
                    }
                }
                self.check = self.check.or(Some(steady() + self.settings.borrow().again.max(1)));
                self.state.quarantined(self.strangers.len());
            }
        }
        self.publish();
        self.tell(address, ProbeOutcome::Known);
        // An address that cannot be quarantined now would be probed again at once, without end.
        let soon = if is_quarantined { steady() } else { steady() + LATER };
        self.refresh = Some(self.refresh.unwrap_or(Millis::MAX).min(soon));
    }

    /// An address was silent; if a stranger had it, this counts.
    async fn missed(&mut self, address: IpAddr) {
        let Some(at) = self.strangers.iter().position(|(stranger, _)| stranger.ip == address) else { return };
        self.strangers[at].1 += 1;
        if self.strangers[at].1 >= SILENT_TIMES {
            let (stranger, _) = self.strangers.remove(at);
            self.end(&stranger, "it no longer answers").await;
            self.state.quarantined(self.strangers.len());
        }
    }

    async fn end(&mut self, stranger: &Quarantined, why: &str) {
        let Quarantined { serial, generation, ip, .. } = *stranger;
        let result = ProbeResult::Silent { serial, address: number(ip), generation };
        match self.ledger.ask(Request::Probed(result)).await {
            Ok(_) => tracing::info!("the quarantine of {ip} ends: {why}"),
            Err(refusal) => tracing::warn!("the quarantine of {ip} cannot end now: {refusal}"),
        }
    }

    fn publish(&mut self) {
        let silent = self.stock.silent(steady());
        let probed = Arc::new(Probed { silent, is_over: false });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = probed;
    }
}

/// The interface on which a network is probed.
fn interface(links: &[EthernetLink], wanted: Option<&str>, prefix: Prefix) -> Result<EthernetLink, String> {
    let on_link = |link: &&EthernetLink| link.addresses.iter().any(|(_, there)| there.overlaps(prefix));
    let (found, why) = match wanted {
        Some(name) => (
            links.iter().find(|link| link.name == name),
            format!("this host has no Ethernet interface {name}"),
        ),
        None => (
            links.iter().find(on_link),
            format!("no interface of this host has an address in {prefix}; write probe = \"INTERFACE\""),
        ),
    };
    found.cloned().ok_or(why)
}
