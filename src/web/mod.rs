//! Serves the page, the metrics and the health checks over HTTP, on a separate read-only listener.
//!
//! ```text
//!   browser ──▶ /, /page.css, /page.js ... embedded in the program; the page loads nothing from elsewhere
//!          ──▶ /v1/...                     the views of the admin socket, without secrets
//!   Prometheus ──▶ /metrics                census (reads the plan), metrics, table
//! ```
//!
//! Promises: accepts only GET and HEAD, and no request changes anything; only a few views run at a time, and their length is
//! limited; host names that a foreign page could point at this machine are refused, and so are requests from pages of other
//! sites. Does not ask for a password: everyone who can reach the address can read everything.

mod hosts;
mod metrics;
mod strangers;
pub mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use self::hosts::Hosts;
use self::metrics::Scrape;
use crate::admin::{Admin, Asker};
use crate::ledger::{Altered, Ledger};
use crate::server::{DoorRefusal, Handler, HttpRequest, Limits, Response};

/// How long the ledger may take to answer a health check.
const PATIENCE: Duration = Duration::from_secs(2);

const TEXT: &str = "text/plain; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Headers of every answer: load nothing from elsewhere, no frames, no type guessing, no referrer.
macro_rules! fields {
    ($($name:literal: $value:literal),*) => {
        &[
            ("content-security-policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
              connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
              require-trusted-types-for 'script'"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
            $(($name, $value)),*
        ]
    };
}

const FRESH: &[(&str, &str)] = fields!("cache-control": "no-store");
const KEPT: &[(&str, &str)] = fields!("cache-control": "no-cache");
const ONLY_GET: &[(&str, &str)] = fields!("cache-control": "no-store", "allow": "GET, HEAD");

/// Files that are embedded in the program: path, content type, text.
const ASSETS: [(&str, &str, &str); 13] = [
    ("/", "text/html; charset=utf-8", include_str!("assets/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
    ("/page.js", SCRIPT, include_str!("assets/page.js")),
    ("/dom.js", SCRIPT, include_str!("assets/dom.js")),
    ("/edge.js", SCRIPT, include_str!("assets/edge.js")),
    ("/history.js", SCRIPT, include_str!("assets/history.js")),
    ("/map.js", SCRIPT, include_str!("assets/map.js")),
    ("/rows.js", SCRIPT, include_str!("assets/rows.js")),
    ("/state.js", SCRIPT, include_str!("assets/state.js")),
    ("/story.js", SCRIPT, include_str!("assets/story.js")),
    ("/tables.js", SCRIPT, include_str!("assets/tables.js")),
    ("/usage.js", SCRIPT, include_str!("assets/usage.js")),
    ("/icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// The limits of this listener, for a few browsers, a scraper and a health check. Only a few requests read the plan at a time,
/// so many connections cost little, and slow clients need many connections to keep others out.
pub fn limits() -> Limits {
    Limits { max_body: 0, idle: Duration::from_secs(60), ..Limits::default() }
}

/// The handler of the page's listener.
pub struct Web {
    ledger: Ledger,
    books: PathBuf,
    admin: Arc<Admin>,
    hosts: Hosts,
    /// Number of subnets that the metrics show individually.
    subnets: usize,
}

impl Handler for Web {
    async fn handle(&self, request: HttpRequest) -> Response {
        let response = self.answer(&request).await;
        if response.fields.is_empty() { response.with_fields(FRESH) } else { response }
    }

    fn refuse(&self, why: DoorRefusal) -> Response {
        Response::new(why.status, TEXT, format!("{why}\n")).with_fields(FRESH)
    }
}

impl Web {
    /// Creates the handler for a ledger and the books that it writes; `local` if only this machine can reach the listener.
    pub fn new(
        ledger: &Ledger,
        books: PathBuf,
        admin: Arc<Admin>,
        config: &crate::config::Http,
        local: bool,
    ) -> Self {
        Self {
            ledger: ledger.clone(),
            books,
            admin,
            hosts: Hosts::new(local, &config.hosts),
            subnets: config.subnets,
        }
    }

    async fn answer(&self, request: &HttpRequest) -> Response {
        if !self.hosts.allow(request) {
            let text = "this page is not served under that host name; use localhost, or add the name to http_hosts\n";
            return Response::new(421, TEXT, text);
        }
        if !strangers::is_ours(request) {
            let text = "a page of another site sent this request; open this page directly\n";
            return Response::new(403, TEXT, text);
        }
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Response::new(405, TEXT, "read-only: use GET or HEAD\n").with_fields(ONLY_GET);
        }
        if let Some((_, kind, text)) = ASSETS.iter().find(|(path, ..)| *path == request.path()) {
            return Response::new(200, kind, *text).with_fields(KEPT);
        }
        match request.path() {
            "/healthz" => Response::new(200, TEXT, "alive\n"),
            "/readyz" => self.ready().await,
            "/metrics" => self.metrics().await,
            "/v1/events" if request.value("last-event-id").is_some() => {
                self.admin.moments.wait(request.value("last-event-id").map(|id| id.into_owned()), None)
            }
            path if path.starts_with("/v1/") => {
                let query = request.uri.query().unwrap_or_default();
                self.admin.get(path, query, Asker::Everybody).await
            }
            _ => Response::new(404, TEXT, "not found; the page is at /\n"),
        }
    }

    /// Whether the books accept writes, tested through the ledger's own queue. When this runs, all listeners are open.
    async fn ready(&self) -> Response {
        let nothing = |_: &crate::plan::Plan| Ok((Altered::default(), ()));
        match timeout(PATIENCE, self.ledger.alter(nothing)).await {
            _ if self.admin.moments.stopping() => Response::new(503, TEXT, "not ready: gipam is stopping\n"),
            Ok(Ok(())) => Response::new(200, TEXT, "ready\n"),
            Ok(Err(refusal)) => Response::new(503, TEXT, format!("not ready: {refusal}\n")),
            Err(_) => {
                let stalled = self.ledger.meters().stalled().unwrap_or(PATIENCE).as_secs();
                Response::new(503, TEXT, format!("not ready: the disk has held up a write for {stalled} s\n"))
            }
        }
    }

    async fn metrics(&self) -> Response {
        let admin = self.admin.clone();
        let counted = self.admin.off_thread(move || Ok((admin.running().hooks.rows(), admin.census()))).await;
        // While the disk hangs, all other metrics are still written.
        let (hooks, census) = counted.unwrap_or_else(|refusal| (Vec::new(), Err(refusal)));
        if let Err(error) = &census {
            tracing::warn!("metrics: cannot count subnets and addresses: {error}");
        }
        let running = self.admin.running();
        let scrape = Scrape {
            running: running.clone(),
            census: census.ok(),
            found: running.watch.found(),
            hooks,
            sizes: metrics::sizes(&self.books),
            subnets: self.subnets,
            viewers: self.admin.moments.count(),
        };
        match scrape.text() {
            Ok(text) => Response::new(200, METRICS, text),
            Err(error) => Response::new(500, TEXT, format!("{error}\n")),
        }
    }
}
