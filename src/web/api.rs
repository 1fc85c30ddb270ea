//! `/api/`: what the page shows, as JSON.
//!
//! Promises: one picture for one answer; reading, searching and folding run on a thread of their own, one at a time;
//! what is asked for is bounded in length, lines and time; a refusal is `{"Err", "kind"}` as on the admin socket.

use serde::Serialize;

use super::picture::Picture;
use super::{Web, listing, state, usage};
use crate::clock;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::settings::Millis;
use crate::server::Response;
use crate::store::Reader;
use crate::view::look::map;
use crate::view::query::Query;

const JSON: &str = "application/json";
/// The longest time that a curve spans: what a history may reach back to.
const LONGEST: Millis = 400 * 86_400_000;

/// The longest query: a search, a sort and a page fit many times.
const LONGEST_QUERY: usize = 1_024;
/// The most lines of history in an answer.
const MOST_LINES: u32 = 1_000;

/// Work for the readers' thread.
type ReadingWork = Box<dyn FnOnce() -> Result<Vec<u8>, Refusal> + Send>;

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
}

impl Web {
    /// Answers what lies below `/api/`.
    pub(super) async fn api(&self, path: &str, query: &str) -> Response {
        match self.look(path, query.to_owned()).await {
            Ok(body) => Response::new(200, JSON, body),
            Err(error) => {
                let status = match error.kind {
                    ErrorKind::Invalid | ErrorKind::Missing => error.kind.admin_status(),
                    _ => 503,
                };
                Response::new(status, JSON, serde_json::to_vec(&error).unwrap_or_default())
            }
        }
    }

    async fn look(&self, path: &str, query: String) -> Result<Vec<u8>, Refusal> {
        if query.len() > LONGEST_QUERY {
            let text = format!("the query has {} bytes; write at most {LONGEST_QUERY}", query.len());
            return Err(Refusal::new(ErrorKind::Invalid, text));
        }
        let off_thread = |work| self.readers.read::<Vec<u8>>(work);
        if path == "/api/history" {
            let books = self.books.clone();
            return off_thread(Box::new(move || history(&books, &query)) as ReadingWork).await;
        }
        let picture = self.gallery.look().await?;
        match path {
            "/api/status" => self.status(&picture),
            "/api/pools" => json(&picture.pools),
            "/api/subnets" => {
                off_thread(Box::new(move || json(&listing::page(&picture.subnets, &query)?))).await
            }
            "/api/leases" => {
                off_thread(Box::new(move || json(&listing::page(&picture.leases, &query)?))).await
            }
            "/api/map" => {
                let map = move || {
                    json(&map(&picture.plan, &picture.in_use, Query(&query), &|whose| picture.name(whose))?)
                };
                off_thread(Box::new(map)).await
            }
            "/api/usage" => {
                let books = self.books.clone();
                off_thread(Box::new(move || json(&curve(&books, &picture, &query)?))).await
            }
            _ => Err(Refusal::new(ErrorKind::Missing, format!("unknown path {path}"))),
        }
    }

    /// The status of the admin view, and what the page's head shows in addition.
    fn status(&self, picture: &Picture) -> Result<Vec<u8>, Refusal> {
        let status = self.admin.with_counters(picture.status.clone())?;
        let mut value: serde_json::Value = serde_json::from_slice(&status)
            .map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))?;
        let meters = self.ledger.meters();
        let time = |at: Option<Millis>| at.map(crate::plan::settings::rfc3339);
        let cooling = picture.leases.iter().filter(|lease| lease.state == "cooling").count();
        if let Some(map) = value.as_object_mut() {
            map.insert("now".to_owned(), time(Some(clock::now())).into());
            map.insert("cooling".to_owned(), cooling.into());
            map.insert("synced".to_owned(), time(meters.synced_at()).into());
            map.insert("writable".to_owned(), meters.is_writable().into());
            map.insert("engine".to_owned(), self.repair.engine_answers().into());
            map.insert("repair".to_owned(), self.repair.on.into());
            map.insert("findings".to_owned(), self.repair.found().iter().sum::<u64>().into());
            state::bound(map, &picture.hooks);
            map.insert("by_hand".to_owned(), serde_json::to_value(&picture.by_hand).unwrap_or_default());
        }
        Ok(value.to_string().into_bytes())
    }
}

fn history(books: &std::path::Path, query: &str) -> Result<Vec<u8>, Refusal> {
    let query = Query(query);
    let (limit, of) = (query.parsed("limit", "number")?.unwrap_or(50), query.text("of")?);
    let lines = Reader::open(books)?.history(of.as_deref(), u32::min(limit, MOST_LINES))?;
    json(&lines.into_iter().map(crate::view::rows::HistoryRow::from).collect::<Vec<_>>())
}

fn curve(books: &std::path::Path, picture: &Picture, query: &str) -> Result<usage::Usage, Refusal> {
    let seconds: Millis = Query(query).parsed("seconds", "number")?.unwrap_or(86_400);
    let span = seconds.saturating_mul(1_000).clamp(60_000, LONGEST);
    usage::usage(books, clock::now(), span, picture.status.leases, picture.status.subnets)
}
