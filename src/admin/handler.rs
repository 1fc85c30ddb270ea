//! The admin socket: views from the books, and the few things that a person may change.
//!
//! Promises: everyone who can open the socket may do everything; views are read from the books, off the request path;
//! one at a time, even if the client leaves meanwhile; changes go through the ledger like all others. Knows no tables and no exit codes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::readers::Readers;
use super::{changing, import, listed, pools, wait};
use crate::clock;
use crate::config::Config;
use crate::docker::{Counters, Survey};
use crate::hooks::Hooks;
use crate::ledger::{Altered, Ledger};
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::request::{Dead, Request};
use crate::plan::settings::Millis;
use crate::plan::written;
use crate::reconcile;
use crate::server::{DoorRefusal, Handler, HttpRequest, Response};
use crate::store::old_gipam;
use crate::view::meant;
use crate::view::rows::{ChangedRow, HookRow, SettingRow, Status};
use crate::view::views::View;
use crate::watch::Watch;

const JSON: &str = "application/json";
/// How long a request for an unknown name waits for a look at the Engine.
const A_LOOK: Duration = Duration::from_secs(2);

/// What answers at the admin socket.
#[derive(Debug)]
pub struct Admin {
    pub(super) ledger: Ledger,
    books: PathBuf,
    pub(super) names: Vec<String>,
    pub(super) doors: Vec<String>,
    /// The configuration in force: a reload may have read another one.
    config: watch::Receiver<Arc<Config>>,
    pub(super) counters: Arc<Counters>,
    pub(super) repair: reconcile::Handle,
    pub(super) hooks: Option<Hooks>,
    pub(super) watch: Option<Watch>,
    pub(super) survey: Survey,
    reloads: mpsc::Sender<Reload>,
    readers: Readers,
    pub(super) started: Millis,
}

/// Asks the daemon to read its configuration again.
#[derive(Debug)]
pub struct Reload {
    /// Only say what would change.
    pub rehearsal: bool,
    /// A line for each change, or why nothing was changed.
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
    /// The books belong to the Engine that answers.
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
    /// Do not ask the Engine whether it is alive.
    #[serde(default)]
    without_engine: bool,
}

#[derive(Deserialize)]
struct Import {
    name: String,
    content: String,
    #[serde(default)]
    replace: bool,
}

impl Handler for Admin {
    async fn handle(&self, request: HttpRequest) -> Response {
        match self.answer(&request).await {
            Ok(body) => Response::new(200, JSON, body),
            Err(error) => {
                Response::new(error.kind.admin_status(), JSON, serde_json::to_vec(&error).unwrap_or_default())
            }
        }
    }

    fn refuse(&self, why: DoorRefusal) -> Response {
        let error = Refusal::new(ErrorKind::Invalid, why.to_string());
        Response::new(why.status(), JSON, serde_json::to_vec(&error).unwrap_or_default())
    }
}

impl Admin {
    /// For a ledger and the books that it writes.
    pub fn new(
        ledger: Ledger,
        books: PathBuf,
        config: watch::Receiver<Arc<Config>>,
        counters: Arc<Counters>,
        repair: reconcile::Handle,
        survey: Survey,
        reloads: mpsc::Sender<Reload>,
    ) -> Self {
        let started_with = config.borrow().clone();
        Self {
            ledger,
            books,
            names: started_with.drivers.iter().map(|driver| driver.name.clone()).collect(),
            doors: started_with.drivers.iter().map(|driver| driver.door.to_string()).collect(),
            config,
            counters,
            repair,
            hooks: None,
            watch: None,
            survey,
            reloads,
            readers: Readers::default(),
            started: clock::now(),
        }
    }

    /// The same, with these hooks and what is watched in the status.
    #[must_use]
    pub fn with(self, hooks: Hooks, watch: Watch) -> Self {
        Self { hooks: Some(hooks), watch: Some(watch), ..self }
    }

    async fn answer(&self, request: &HttpRequest) -> Result<Vec<u8>, Refusal> {
        let query = request.query.clone().unwrap_or_default();
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/release") => self.release(&request.body).await,
            ("POST", "/v1/reserve") => row(&changing::reserve(&self.ledger, decode(&request.body)?).await?),
            ("POST", "/v1/unreserve") => {
                let (asked, config) = (decode(&request.body)?, self.in_force());
                row(&changing::unreserve(&self.ledger, asked, config.document.as_deref()).await?)
            }
            ("POST", "/v1/pin") => {
                row(&changing::pin(&self.ledger, decode(&request.body)?, self.known()).await?)
            }
            ("POST", "/v1/unpin") => row(&changing::unpin(&self.ledger, decode(&request.body)?).await?),
            ("POST", "/v1/pool") => {
                row(&pools::pool(&self.ledger, decode(&request.body)?, self.in_force()).await?)
            }
            ("POST", "/v1/import") => self.import(&request.body).await,
            ("POST", "/v1/listed") => self.listed(decode(&request.body)?).await,
            ("POST", "/v1/adopt") => self.adopt(&request.body).await,
            ("POST", "/v1/reload") => self.reload(decode::<Rehearsal>(&request.body)?.dry_run).await,
            ("GET", "/v1/gc") => self.gc(GcAsked { apply: false, new_engine: false }).await,
            ("POST", "/v1/gc") => self.gc(decode(&request.body)?).await,
            ("GET", "/v1/wait") => {
                let commits = self.ledger.meters().follow();
                let moment = wait::wait(&query, commits, &self.counters, self.started).await?;
                serde_json::to_vec(&moment)
                    .map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
            }
            ("GET", "/v1/config") => self.settings().await,
            ("GET", "/v1/export") => self.export(&query).await,
            ("GET", path) => self.view(path.to_owned(), query).await,
            (method, path) => {
                let text = format!(
                    "unknown request {method} {path}",
                    path = path.chars().take(100).collect::<String>()
                );
                Err(Refusal::new(ErrorKind::Missing, text))
            }
        }
    }

    fn in_force(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// Every setting of the daemon; the pools are those of the books, which a person may have changed since the start.
    async fn settings(&self) -> Result<Vec<u8>, Refusal> {
        let pools = self.read(|view, _| Ok(view.plan().settings().pools.clone())).await?;
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
        serde_json::to_vec(&rows).map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
    }

    /// Reads the books on a thread of its own, when it is its turn.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(View, &Path) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let books = self.books.clone();
        self.readers.read(move || look(View::open(&books, clock::now())?, &books)).await
    }

    /// The result of the last look at the Engine.
    fn known(&self) -> Arc<Dead> {
        self.repair.proofs().read().map(|proofs| proofs.clone()).unwrap_or_default()
    }

    async fn view(&self, path: String, query: String) -> Result<Vec<u8>, Refusal> {
        if path == "/v1/status" {
            return self.status(query).await;
        }
        let by_name = path == "/v1/who";
        let answer = self.rows(path.clone(), query.clone()).await;
        if by_name && answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Missing) {
            // Engines before 29 do not send names: that of a container that has just started is known after a look.
            let _ = tokio::time::timeout(A_LOOK, self.repair.look(false)).await;
            return self.rows(path, query).await;
        }
        answer
    }

    /// The rows of a view, as the books have them.
    async fn rows(&self, path: String, query: String) -> Result<Vec<u8>, Refusal> {
        let survey = self.survey.clone();
        let look = move |bases| survey.now(Some(bases));
        let known = self.known();
        self.read(move |view, _| {
            let view = view.knowing(known);
            let looks = ["/v1/pools", "/v1/map"].contains(&path.as_str());
            let view = if looks { view.on(&look) } else { view };
            view.answer(&path, &query, look)
                .unwrap_or_else(|| Err(Refusal::new(ErrorKind::Missing, format!("unknown view {path}"))))
        })
        .await
    }

    async fn status(&self, query: String) -> Result<Vec<u8>, Refusal> {
        let hooks = self.hooks.clone();
        let survey = self.survey.clone();
        let look = move |view: View, books: &Path| {
            let view = view.on(|bases| survey.now(Some(bases)));
            let hooks = hooks.iter().flat_map(Hooks::report).map(HookRow::from).collect();
            Ok(Status { hooks, ..view.status_for(books, &query)? })
        };
        let status = self.read(look).await?;
        self.with_counters(status)
    }

    async fn gc(&self, asked: GcAsked) -> Result<Vec<u8>, Refusal> {
        if asked.new_engine {
            self.repair.trust().await?;
        }
        let findings =
            self.repair.look(asked.apply).await.map_err(|text| Refusal::new(ErrorKind::Unavailable, text))?;
        serde_json::to_vec(&findings).map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
    }

    async fn adopt(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let Adopt { subnet, id } = decode(body)?;
        let invalid = |text: String| Refusal::new(ErrorKind::Invalid, text);
        let (prefix, masked) = written::prefix(&subnet).map_err(|error| invalid(error.to_string()))?;
        if masked {
            return Err(invalid(format!("{subnet} has bits set beyond its length; write {prefix}")));
        }
        tracing::info!("adoption by hand: {prefix} under PoolID {id:?}");
        let findings = self.repair.adopt(prefix, id).await?;
        serde_json::to_vec(&findings).map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
    }

    async fn reload(&self, rehearsal: bool) -> Result<Vec<u8>, Refusal> {
        let (answer, lines) = oneshot::channel();
        let stopping = || Refusal::new(ErrorKind::Unavailable, "gipam is stopping");
        self.reloads.send(Reload { rehearsal, answer }).await.map_err(|_| stopping())?;
        let lines = lines.await.map_err(|_| stopping())?;
        let lines =
            lines.map_err(|text| Refusal::new(ErrorKind::Invalid, format!("nothing was changed: {text}")))?;
        serde_json::to_vec(&lines).map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
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
        // Should it live after all, it is adopted again.
        self.repair.changed();
        Ok(b"{}".to_vec())
    }

    /// The subnet, and the address in it, if one is meant.
    async fn meant(&self, asked: Release) -> Result<(String, Option<IpAddr>), Refusal> {
        let Release { subnet, address, .. } = asked;
        if let Some(address) = address.filter(|text| !text.is_empty()) {
            return Ok((subnet, Some(meant::address(&address)?)));
        }
        self.read(move |view, _| match meant::lone_address(&view, &subnet)? {
            Some(address) => Ok((meant::subnet_of(&view, address, &subnet)?, Some(address))),
            None => Ok((subnet, None)),
        })
        .await
    }

    async fn import(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let asked: Import = decode(body)?;
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
        let answer = listed::take(&self.ledger, &self.names, asked).await;
        if apply && answer.is_ok() {
            // After repair's look, what was imported has names and does not count as missing any more.
            let repair = self.repair.clone();
            tokio::spawn(async move { repair.look(false).await });
        }
        answer
    }

    async fn export(&self, query: &str) -> Result<Vec<u8>, Refusal> {
        import::check_format(query)?;
        let bytes = self.read(|view, _| Ok(import::export(view.plan()))).await?;
        let digest = import::digest_text(&bytes);
        let meta = vec![(import::EXPORTED_DIGEST.to_owned(), digest)];
        self.ledger.alter(|_| Ok((Altered { meta, ..Altered::default() }, ()))).await?;
        debug_assert_eq!(old_gipam::detect(&bytes), old_gipam::FileKind::Json);
        Ok(bytes)
    }
}

fn row(row: &ChangedRow) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(row).map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
}

fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(ErrorKind::Invalid, format!("the body cannot be read: {error}")))
}
