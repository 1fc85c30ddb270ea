//! The admin socket: views, and the few changes that a person may make. The page's listener serves the same views (`get`).
//!
//! Promises: everyone who can open the socket may do everything; views read the ledger's plan in short steps, on separate
//! threads, and only a few run at a time, even if clients disconnect; changes go through the ledger like all others. Does not
//! know about tables or exit codes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::asker::{FOR_EVERYBODY, MOST_LINES};
use super::moments::Moments;
use super::readers::Readers;
use super::running::RunningDaemon;
use super::{Asker, changing, hosts, import, joining, listed, pools};
use crate::clock;
use crate::config::Config;
use crate::docker::Survey;
use crate::ledger::{Altered, Ledger};
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::request::{Dead, Request};
use crate::plan::written;
use crate::reconcile;
use crate::server::{CutOff, DoorRefusal, Handler, HttpRequest, Response};
use crate::store::old_gipam;
use crate::view::census::{Census, CensusAge, Counting};
use crate::view::meant;
use crate::view::query::Query;
use crate::view::rows::SettingRow;
use crate::view::sink::Sink;
use crate::view::source::{PATIENCE, Source};
use crate::view::views::{AroundView, View};

const JSON: &str = "application/json";
/// How long a request for an unknown name waits for repair to query the Engine.
const A_LOOK: Duration = Duration::from_secs(2);

/// Maximum number of short views that run at a time on one listener.
const TURNS: usize = 1;
/// Maximum number of long lists that run at a time on one listener; clients may read them slowly.
const LONG_TURNS: usize = 1;
/// How long a client may take to accept the next piece of a long list.
const SLOWEST: Duration = Duration::from_secs(30);
/// The longest query on the page's listener: far longer than a search, a sort order and a page number need.
const LONGEST_QUERY: usize = 1_024;
/// The handler of the admin socket.
#[derive(Debug)]
pub struct Admin {
    ledger: Ledger,
    books: PathBuf,
    /// The configuration in force; a reload may replace it.
    config: watch::Receiver<Arc<Config>>,
    running: RunningDaemon,
    repair: reconcile::Handle,
    survey: Survey,
    reloads: mpsc::Sender<Reload>,
    source: Source,
    counting: Arc<Counting>,
    /// The clients that follow events.
    pub moments: Moments,
    /// The limits of the admin socket and of the page, each for short views and for long lists.
    turns: [[Readers; 2]; 2],
}

/// Asks the daemon to reload its configuration.
#[derive(Debug)]
pub struct Reload {
    /// Only report what would change.
    pub rehearsal: bool,
    /// One line for each change, or why nothing was changed.
    pub answer: oneshot::Sender<Result<Vec<String>, String>>,
}

#[derive(Deserialize)]
struct Rehearsal {
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct GcAsked {
    #[serde(default)]
    apply: bool,
    /// Accept the Engine that answers as the one to which the books belong.
    #[serde(default)]
    new_engine: bool,
}

#[derive(Deserialize)]
struct Adopt {
    subnet: String,
    id: String,
}

#[derive(Deserialize)]
struct Release {
    subnet: String,
    address: Option<String>,
    /// Do not ask the Engine whether the lease or subnet is alive.
    #[serde(default)]
    without_engine: bool,
}

impl Handler for Admin {
    async fn handle(&self, request: HttpRequest) -> Response {
        if request.method == "GET" {
            return self.get(request.path(), request.uri.query().unwrap_or_default(), Asker::Admin).await;
        }
        self.post(&request).await.map_or_else(refused, |body| Response::new(200, JSON, body))
    }

    fn refuse(&self, why: DoorRefusal) -> Response {
        Response { status: why.status, ..refused(Refusal::new(ErrorKind::Invalid, why.to_string())) }
    }
}

/// A refusal as an HTTP response.
fn refused(refusal: Refusal) -> Response {
    let body = serde_json::to_vec(&refusal).unwrap_or_default();
    Response::new(refusal.kind.admin_status(), JSON, body)
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
}

impl Admin {
    /// Creates the handler for a ledger and the books that it writes. Must be called on a runtime.
    pub fn new(
        ledger: Ledger,
        books: PathBuf,
        config: watch::Receiver<Arc<Config>>,
        running: RunningDaemon,
        repair: reconcile::Handle,
        survey: Survey,
        reloads: mpsc::Sender<Reload>,
    ) -> Self {
        let one_by_one = config.borrow().http.as_ref().map_or(0, |http| http.subnets);
        let source = Source::of(&ledger, PATIENCE);
        let turns = || [Readers::new(TURNS), Readers::new(LONG_TURNS)];
        Self {
            counting: Arc::new(Counting::new(&ledger, one_by_one)),
            ledger,
            books,
            config,
            moments: Moments::new(running.clone()),
            running,
            repair,
            survey,
            reloads,
            source,
            turns: [turns(), turns()],
        }
    }

    /// What only the running daemon knows.
    pub const fn running(&self) -> &RunningDaemon {
        &self.running
    }

    /// Counts of everything, at most a moment old. Blocks, so call it only on threads that may block.
    pub fn census(&self) -> Result<Arc<Census>, Refusal> {
        self.counting.look(|bases| self.survey.now(Some(bases)), CensusAge::AMoment)
    }

    /// Runs `work` on a thread that may block, within the page's limit for short views.
    pub async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let [_, [turns, _]] = &self.turns;
        turns.read(work).await
    }

    async fn post(&self, request: &HttpRequest) -> Result<Vec<u8>, Refusal> {
        let (ledger, body) = (&self.ledger, request.body.as_slice());
        match (request.method.as_str(), request.path()) {
            ("POST", "/v1/release") => self.release(body).await,
            ("POST", "/v1/reserve") => json(&changing::reserve(ledger, decode(body)?).await?),
            ("POST", "/v1/unreserve") => {
                let config = self.in_force();
                json(&changing::unreserve(ledger, decode(body)?, config.document.as_deref()).await?)
            }
            ("POST", "/v1/pin") => json(&changing::pin(ledger, decode(body)?, self.known()).await?),
            ("POST", "/v1/unpin") => json(&changing::unpin(ledger, decode(body)?).await?),
            ("POST", "/v1/pool") => json(&pools::pool(ledger, decode(body)?, self.in_force()).await?),
            ("POST", "/v1/import") => self.import(decode(body)?).await,
            ("POST", "/v1/listed") => self.listed(decode(body)?).await,
            ("POST", "/v1/adopt") => self.adopt(body).await,
            ("POST", "/v1/reload") => self.reload(decode::<Rehearsal>(body)?.dry_run).await,
            ("POST", "/v1/join") => joining::join(&self.running.claims, decode(body)?).await,
            ("POST", "/v1/gc") => self.gc(decode(body)?).await,
            ("POST", "/v1/forget") => {
                let RunningDaemon { plan, claims, .. } = &self.running;
                json(&hosts::forget(plan, claims, decode(body)?).await?)
            }
            (method, path) => {
                let path: String = path.chars().take(100).collect();
                Err(Refusal::new(ErrorKind::Missing, format!("unknown request {method} {path}")))
            }
        }
    }

    /// Answers a `GET` below `/v1/`.
    pub async fn get(&self, path: &str, query: &str, asker: Asker) -> Response {
        if path == "/v1/events" {
            return self.events(Query(query)).unwrap_or_else(refused);
        }
        let answer = match path {
            _ if asker == Asker::Everybody && !FOR_EVERYBODY.contains(&path) => {
                let path: String = path.chars().take(100).collect();
                Err(Refusal::new(ErrorKind::Missing, format!("unknown path {path}")))
            }
            _ if asker == Asker::Everybody && query.len() > LONGEST_QUERY => {
                let text = format!("the query has {} bytes; the maximum is {LONGEST_QUERY}", query.len());
                Err(Refusal::new(ErrorKind::Invalid, text))
            }
            "/v1/gc" => self.gc(GcAsked { apply: false, new_engine: false }).await,
            "/v1/config" => self.settings().await,
            "/v1/export" => self.export(query).await,
            _ => return self.view(path, query, asker).await.unwrap_or_else(refused),
        };
        answer.map_or_else(refused, |body| Response::new(200, JSON, body))
    }

    fn events(&self, query: Query<'_>) -> Result<Response, Refusal> {
        Ok(self.moments.wait(query.text("seen")?, query.parsed("hold", "number")?))
    }

    fn in_force(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// Every setting of the daemon. The pools come from the books, because a person may have changed them since the start.
    async fn settings(&self) -> Result<Vec<u8>, Refusal> {
        let pools = self.ledger.look(|plan| plan.settings().pools.clone()).await?;
        let config = self.in_force();
        let is_pool = |key: &str| key.starts_with("pool.") && (key.ends_with(".v4") || key.ends_with(".v6"));
        let mut rows: Vec<SettingRow> =
            config.shown.iter().filter(|shown| !is_pool(&shown.key)).map(SettingRow::from).collect();
        for pool in pools {
            for (family, base) in [("v4", pool.v4), ("v6", pool.v6)] {
                let Some(base) = base else { continue };
                let key = format!("pool.{}.{family}", pool.name);
                let value = format!("{} cut into /{}", base.base, base.size);
                let known = config.shown.iter().find(|shown| shown.key == key && shown.value == value);
                let origin = known.map_or_else(|| "the books".to_owned(), |shown| shown.origin.to_string());
                rows.push(SettingRow { key, value, origin });
            }
        }
        json(&rows)
    }

    /// What repair learned from its last query of the Engine.
    fn known(&self) -> Arc<Dead> {
        self.repair.proofs().read().map(|proofs| proofs.clone()).unwrap_or_default()
    }

    async fn view(&self, path: &str, query: &str, asker: Asker) -> Result<Response, Refusal> {
        let answer = self.rows(path, query, asker).await;
        if path == "/v1/who" && answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Missing) {
            // Engines before 29 do not send names: gipam learns a new container's name when repair queries the Engine.
            let _ = timeout(A_LOOK, self.repair.look(false)).await;
            return self.rows(path, query, asker).await;
        }
        answer
    }

    /// The rows of a view. An answer that is longer than one piece is sent piece by piece.
    async fn rows(&self, path: &str, query: &str, asker: Asker) -> Result<Response, Refusal> {
        let is_long = ["/v1/leases", "/v1/subnets", "/v1/slices"].contains(&path)
            && Query(query).text("limit")?.is_none();
        let turns = self.turns[usize::from(asker == Asker::Everybody)][usize::from(is_long)].clone();
        let (view, path, query) = (self.looking(asker), path.to_owned(), query.to_owned());
        let (pieces, mut later) = mpsc::channel(1);
        let (runtime, sender) = (Handle::current(), pieces.clone());
        let mut reading = Box::pin(async move {
            let read = move || {
                let mut hand_over = |piece| {
                    let sent = runtime.block_on(async { timeout(SLOWEST, sender.send(Ok(piece))).await });
                    let gone =
                        || Refusal::new(ErrorKind::Unavailable, "the client stopped reading the answer");
                    matches!(sent, Ok(Ok(()))).then_some(()).ok_or_else(gone)
                };
                let mut sink = Sink::new(&mut hand_over);
                view.answer(&path, &query, &mut sink)?;
                Ok(sink.rest())
            };
            turns.read(read).await
        });
        let first = tokio::select! {
            biased;
            Some(Ok(first)) = later.recv() => first,
            whole = &mut reading => {
                // A piece may have arrived between the two polls; the channel has room for one.
                let first = later.try_recv().ok().and_then(Result::ok).unwrap_or_default();
                return whole.map(|rest| Response::new(200, JSON, [first, rest].concat()));
            }
        };
        tokio::spawn(async move {
            // On an error, end the connection, so that the client does not mistake the answer for a complete one.
            let rest = reading.await.map_err(|_| CutOff);
            let _ = timeout(SLOWEST, pieces.send(rest)).await;
        });
        Ok(Response::new(200, JSON, first).and_later(later))
    }

    /// A view of the ledger's plan, with what only the daemon knows.
    fn looking(&self, asker: Asker) -> View {
        let (survey, running) = (self.survey.clone(), self.running.clone());
        let view = View::new(self.source.clone(), self.books.clone(), clock::now()).among(running.plan.get());
        view.in_daemon(AroundView {
            host: Box::new(move |bases| survey.now(Some(bases))),
            known: self.known(),
            counting: self.counting.clone(),
            most_lines: if asker == Asker::Everybody { MOST_LINES } else { u32::MAX },
            running: Box::new(move |status| running.add_to(status, asker == Asker::Everybody)),
        })
    }

    async fn gc(&self, asked: GcAsked) -> Result<Vec<u8>, Refusal> {
        if asked.new_engine {
            self.repair.trust().await?;
        }
        let findings =
            self.repair.look(asked.apply).await.map_err(|text| Refusal::new(ErrorKind::Unavailable, text))?;
        json(&findings)
    }

    async fn adopt(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let Adopt { subnet, id } = decode(body)?;
        let invalid = |text: String| Refusal::new(ErrorKind::Invalid, text);
        let (prefix, masked) = written::prefix(&subnet).map_err(|error| invalid(error.to_string()))?;
        if masked {
            return Err(invalid(format!("{subnet} has host bits set; write {prefix}")));
        }
        tracing::info!("adoption by hand: {prefix} with PoolID {id:?}");
        let findings = self.repair.adopt(prefix, id).await?;
        json(&findings)
    }

    async fn reload(&self, rehearsal: bool) -> Result<Vec<u8>, Refusal> {
        let (answer, lines) = oneshot::channel();
        let stopping = || Refusal::new(ErrorKind::Unavailable, "gipam is stopping");
        self.reloads.send(Reload { rehearsal, answer }).await.map_err(|_| stopping())?;
        let lines = lines.await.map_err(|_| stopping())?;
        let lines =
            lines.map_err(|text| Refusal::new(ErrorKind::Invalid, format!("nothing was changed: {text}")))?;
        json(&lines)
    }

    async fn release(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let asked: Release = decode(body)?;
        tracing::info!("release by hand: {} {}", asked.subnet, asked.address.as_deref().unwrap_or_default());
        let without_engine = asked.without_engine;
        let (subnet, address) = self.meant(asked).await?;
        match without_engine {
            false => self.repair.release(subnet, address).await?,
            true => {
                let force = Request::Force { subnet, address, generation: None };
                self.ledger.ask(force).await?;
            }
        }
        // If the released subnet or address is in use after all, repair adopts it again.
        self.repair.changed();
        Ok(b"{}".to_vec())
    }

    /// The subnet that the request names, and the address in it if the request names one.
    async fn meant(&self, asked: Release) -> Result<(String, Option<IpAddr>), Refusal> {
        let Release { subnet, address, .. } = asked;
        if let Some(address) = address.filter(|text| !text.is_empty()) {
            return Ok((subnet, Some(meant::address(&address)?)));
        }
        let looking = self.ledger.look(move |plan| match meant::lone_address(plan, &subnet)? {
            Some(address) => Ok((meant::subnet_of(plan, address, &subnet)?, Some(address))),
            None => Ok((subnet, None)),
        });
        looking.await?
    }

    async fn import(&self, asked: listed::Asked) -> Result<Vec<u8>, Refusal> {
        let config = self.in_force();
        let (settings, origin) = (&config.settings, &config.pools_origin);
        let plan = import::Importing::new(&asked.name, &asked.content, asked.replace, settings, origin)?;
        let summary = plan.summary();
        self.ledger.alter(move |known| Ok((plan.alter(known, known.now())?, ()))).await?;
        tracing::info!("{} imported: {summary}", asked.name);
        Ok(summary.to_string().into_bytes())
    }

    async fn listed(&self, asked: listed::Asked) -> Result<Vec<u8>, Refusal> {
        let apply = asked.apply;
        let answer = listed::take(&self.ledger, &self.running.names, asked).await;
        if apply && answer.is_ok() {
            // After repair queries the Engine, the imported leases have names and no longer count as missing.
            let repair = self.repair.clone();
            tokio::spawn(async move { repair.look(false).await });
        }
        answer
    }

    async fn export(&self, query: &str) -> Result<Vec<u8>, Refusal> {
        import::check_format(query)?;
        let (source, [[turns, _], _]) = (self.source.clone(), &self.turns);
        let bytes = turns.read(move || import::export(&source)).await?;
        let digest = old_gipam::digest(&bytes);
        let meta = vec![(import::EXPORTED_DIGEST.to_owned(), digest)];
        self.ledger.alter(|_| Ok((Altered { meta, ..Altered::default() }, ()))).await?;
        debug_assert_eq!(old_gipam::detect(&bytes), old_gipam::FileKind::Json);
        Ok(bytes)
    }
}

fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(ErrorKind::Invalid, format!("cannot parse the body: {error}")))
}
