//! THE WIRE: libnetwork's remote IPAM protocol as real Engines use it, from the path and the JSON to the
//! ledger and back.
//!
//! Promises: seven fixed paths, POST only; every refusal is HTTP 4xx/5xx with the text under `Err` and
//! `Error`; a release reaches the ledger at the first poll, so that it is not lost if the caller disconnects;
//! an undelivered grant is undone; requests from web browsers are refused. Calls no Docker API (P5: that
//! deadlocks). Makes no decisions.

mod browsers;
mod callers;
pub mod control;
pub mod counters;
pub mod discovery;
pub mod engine;
mod halves;
mod streak;
mod survey;
pub mod wire;

use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::time::Instant;

pub use self::counters::Counters;

use smol_str::SmolStr;
use tokio::sync::Notify;

pub use self::browsers::HostNames;
pub use self::callers::{Callers, Containers, containers};
pub use self::halves::Halves;
pub use self::streak::Streak;
pub use self::survey::{Ask, Survey, Surveyor};
use crate::clock;
use crate::ledger::{Granted, Ledger, Refusal};
use crate::plan::error::ErrorKind;
use crate::plan::request::{Dead, Reply, Request, SubnetRequest, Wanted};
use crate::probe::Prober;
use crate::server::{DoorRefusal, Handler, HttpRequest, Response};
use crate::text;

const JSON: &str = "application/json";
/// Length to which the name of an unknown method is truncated before it is remembered.
const LONGEST_METHOD: usize = 100;

/// The leases and subnets that are proven dead at present; repair updates them.
pub type Proofs = Arc<RwLock<Arc<Dead>>>;

/// The driver of one name, which Docker calls at one listener.
#[derive(Debug)]
pub struct Driver {
    /// The driver name, for the log.
    pub name: SmolStr,
    /// Where requests are sent.
    pub ledger: Ledger,
    /// Pools open to this name, in order; all if absent.
    pub pools: Option<Arc<[String]>>,
    /// The value of the capability `RequiresMACAddress`.
    pub requires_mac_address: bool,
    /// The host names that dockerd may use for this listener.
    pub names: HostNames,
    /// The survey of this host, consulted when gipam chooses a subnet.
    pub survey: Survey,
    /// Probes addresses before their first use, in pools that want this.
    pub prober: Prober,
    /// Distinguishes Docker's overlap loop from requests for separate networks.
    pub streak: Streak,
    /// The leases and subnets that repair has proven dead, for explicit requests.
    pub proofs: Proofs,
    /// Notified when a request arrives.
    pub asked: Arc<Notify>,
    /// The recorded callers; shared by all listeners.
    pub callers: Arc<Callers>,
    /// The refused IPv6 halves; shared by all listeners.
    pub halves: Arc<Halves>,
    /// The counters; shared by all listeners.
    pub counters: Arc<Counters>,
}

impl Handler for Driver {
    async fn handle(&self, request: HttpRequest) -> Response {
        let (counters, begun) = (&self.counters, Instant::now());
        let method = request.path().strip_prefix('/').unwrap_or(request.path());
        counters.requests.fetch_add(1, Ordering::Relaxed);
        self.asked.notify_one();
        let response = self.answer(&request).await;
        if response.status != 200 {
            counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        if response.status == 200 {
            counters.ended(method, None);
        }
        counters.took(method, begun.elapsed());
        response
    }

    fn refuse(&self, why: DoorRefusal) -> Response {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        self.counters.malformed.fetch_add(1, Ordering::Relaxed);
        let text = format!("invalid request: {why}");
        tracing::warn!("{}: refused: {text}", self.name);
        self.counters.remember(clock::now(), &self.name, "", &text);
        Response::new(why.status, JSON, wire::refusal(&text))
    }
}

impl Driver {
    async fn answer(&self, request: &HttpRequest) -> Response {
        let method = request.path().strip_prefix('/').unwrap_or(request.path());
        if let Some(why) = browsers::refusal(request, &self.names) {
            let text = format!("invalid request: {why}");
            tracing::warn!("{}: refused: {text}", self.name);
            return self.turned_away(
                method,
                403,
                "it came from a web browser, or for a name that this listener does not serve",
                &text,
            );
        }
        let constant = match method {
            "Plugin.Activate" => wire::ACTIVATE.to_owned(),
            "IpamDriver.GetCapabilities" => wire::capabilities(self.requires_mac_address),
            "IpamDriver.GetDefaultAddressSpaces" => {
                self.streak.interrupt();
                wire::ADDRESS_SPACES.to_owned()
            }
            "IpamDriver.RequestPool"
            | "IpamDriver.ReleasePool"
            | "IpamDriver.RequestAddress"
            | "IpamDriver.ReleaseAddress" => String::new(),
            _ => {
                let text = format!(
                    "invalid request: unknown method {:?}",
                    method.chars().take(100).collect::<String>()
                );
                return self.turned_away(method, 404, "unknown method", &text);
            }
        };
        if request.method != "POST" {
            let text = format!("invalid request: {} is not POST", request.method);
            return self.turned_away(method, 405, "not a POST request", &text);
        }
        if !constant.is_empty() {
            // dockerd's first call comes before it starts any container (P2), so containers alive now belong
            // to an earlier dockerd. If the caller cannot be recorded here, the first request that grants
            // something tries again.
            let _ = self.callers.saw(request.peer).await;
            return Response::new(200, JSON, constant);
        }
        self.change(method, request).await
    }

    /// The four calls that may change something.
    async fn change(&self, method: &str, request: &HttpRequest) -> Response {
        let bytes = request.body.as_slice();
        let asked = wire::Body::parse(bytes).and_then(|body| match method {
            "IpamDriver.RequestPool" => {
                body.subnet_request(self.pools.clone(), self.dead()).map(Request::Subnet)
            }
            "IpamDriver.ReleasePool" => body.release_subnet(),
            "IpamDriver.RequestAddress" => body.address_request(self.dead()),
            _ => body.release_address(),
        });
        let mut asked = match asked {
            Ok(asked) => asked,
            Err(error) => {
                if wire::is_blank(bytes) {
                    self.counters.empty.fetch_add(1, Ordering::Relaxed);
                }
                return self.refused(method, &error);
            }
        };
        if matches!(asked, Request::Subnet(_) | Request::Address(_))
            && let Err(refusal) = self.callers.saw(request.peer).await
        {
            return self.refused(method, &refusal);
        }
        let half = match &mut asked {
            Request::Address(request) => {
                request.half = self.halves.of(request);
                Halves::of_v6(request)
            }
            _ => None,
        };
        let answer = match asked {
            Request::Subnet(request) if matches!(request.wanted, Wanted::Any { .. }) => {
                self.ask_for_any(request).await
            }
            Request::Address(request) => self.prober.ask(&self.ledger, request).await,
            asked => self.ledger.ask(asked).await,
        };
        match answer {
            Ok(granted) => {
                let body = wire::reply(&granted.reply);
                tracing::debug!("{}: {method}: {body}", self.name);
                let response = Response::new(200, JSON, body);
                match granted.ticket {
                    None => response,
                    Some(ticket) => {
                        let (counters, name) = (self.counters.clone(), self.name.clone());
                        response.or_undo(move || {
                            counters.undone.fetch_add(1, Ordering::Relaxed);
                            tracing::warn!(
                                "{name}: the caller disconnected before its answer was sent; the grant is undone"
                            );
                            ticket.undo();
                        })
                    }
                }
            }
            Err(refusal) => {
                if let Some(half) = half {
                    self.halves.refused(half, clock::now());
                }
                self.refused(method, &refusal)
            }
        }
    }

    /// The leases and subnets that repair has proven dead: an explicit request may replace them, and an
    /// identified holder may replace its own dead lease. They come with the subnets of the Engine's other
    /// networks, which gipam skips when it chooses a subnet.
    fn dead(&self) -> Arc<Dead> {
        self.proofs.read().map(|proofs| proofs.clone()).unwrap_or_default()
    }

    /// Requests a subnet that gipam chooses; for that, gipam must know which ones Docker would refuse (P12).
    async fn ask_for_any(&self, request: SubnetRequest) -> Result<Granted, Refusal> {
        let (in_a_row, _open) = self.streak.begin(&request);
        let mut in_use = self.survey.look(None).await?;
        loop {
            let request = SubnetRequest { in_a_row, in_use, ..request.clone() };
            let granted = self.ledger.ask(Request::Subnet(request)).await?;
            // The pools have changed since the survey.
            let Reply::Look(bases) = granted.reply else { return Ok(granted) };
            in_use = self.survey.look(Some(bases)).await?;
        }
    }

    /// Refuses a request before it reaches the ledger. `remembered` is the reason without any text from the
    /// caller.
    fn turned_away(&self, method: &str, status: u16, remembered: &str, text: &str) -> Response {
        self.counters.ended(method, Some(ErrorKind::Invalid));
        self.counters.remember(clock::now(), &self.name, &text::cut(method, LONGEST_METHOD), remembered);
        Response::new(status, JSON, wire::refusal(text))
    }

    /// Refuses one of the driver's calls.
    fn refused(&self, method: &str, refusal: &Refusal) -> Response {
        self.counters.ended(method, Some(refusal.kind));
        let (status, text) = (refusal.kind.status(), wire::tidy_message(&refusal.text));
        tracing::warn!("{}: {method} refused: {text}", self.name);
        self.counters.remember(clock::now(), &self.name, method, &text);
        let body = wire::refusal(&text);
        if let (500.., Ok(mut last)) = (status, self.counters.last_error.lock()) {
            *last = Some((clock::now(), text));
        }
        Response::new(status, JSON, body)
    }
}
