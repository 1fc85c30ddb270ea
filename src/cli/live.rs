//! What `gipam top` shows: the state of the daemon, calls per second, and the latest events.
//!
//! Promises: pure; fits the given terminal, and on a small one leaves out what matters least. On a pipe, each change
//! is one line. Sends no requests.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::feed::News;
use super::frame::Frame;
use super::health;
use super::paper::{Ink, Line, clock, short};
use super::screen;
use super::tables::escaped;
use crate::text::counted;
use crate::view::rows::{HistoryRow, Status, WaitMoment};

/// The window over which calls per second are counted.
const WINDOW: Duration = Duration::from_secs(5);
/// Methods with their own rate; all others share one.
const METHODS: [&str; 4] = ["RequestPool", "ReleasePool", "RequestAddress", "ReleaseAddress"];

/// Calls by method.
type CallCounts = BTreeMap<String, u64>;

/// The current state.
pub(super) struct Live {
    status: Status,
    trouble: Option<String>,
    /// The start time of the daemon that counted these calls, and its counters at several moments.
    started: String,
    counted: VecDeque<(Instant, CallCounts)>,
}

impl Live {
    /// Starts with this status.
    pub(super) const fn new(status: Status) -> Self {
        Self { status, trouble: None, started: String::new(), counted: VecDeque::new() }
    }

    /// Takes in news; returns the changes as lines, for a pipe.
    pub(super) fn hear(&mut self, news: News, at: Instant) -> Vec<LiveChange> {
        let before = self.status.clone();
        if let Some(status) = news.status {
            self.status = status;
        }
        if let Some(moment) = &news.moment {
            self.count(moment, at);
            (self.status.requests, self.status.refused) = (Some(moment.requests), Some(moment.refused));
            self.status.now =
                Some(moment.now.clone()).filter(|now| !now.is_empty()).or(self.status.now.take());
        }
        self.trouble = news.trouble;
        changes(&before, &self.status)
    }

    fn count(&mut self, moment: &WaitMoment, at: Instant) {
        if self.started != moment.started {
            self.started.clone_from(&moment.started);
            self.counted.clear();
        }
        let calls = moment.calls.iter().map(|(method, outcomes)| {
            let name = method.rsplit('.').next().unwrap_or(method);
            let name = if METHODS.contains(&name) { name } else { "others" };
            (name.to_owned(), outcomes.values().sum::<u64>())
        });
        let mut sums = CallCounts::new();
        for (name, count) in calls {
            *sums.entry(name).or_default() += count;
        }
        self.counted.push_back((at, sums));
        while self.counted.len() > 2 && self.counted.front().is_some_and(|(then, _)| at - *then > WINDOW) {
            self.counted.pop_front();
        }
    }

    /// Calls per second by method, the known ones first; 0 until there are two moments.
    pub(super) fn rates(&self) -> Vec<(&str, f64)> {
        let (first, last) = (self.counted.front(), self.counted.back());
        let rate = |name: &str| {
            let ((then, before), (now, after)) = (first?, last?);
            let count = |calls: &CallCounts| calls.get(name).copied().unwrap_or(0);
            let seconds = (*now - *then).as_secs_f64();
            // Loss of precision is acceptable here.
            (seconds > 0.0).then(|| count(after).saturating_sub(count(before)) as f64 / seconds)
        };
        METHODS.into_iter().chain(["others"]).map(|name| (name, rate(name).unwrap_or(0.0))).collect()
    }

    /// The screen.
    pub(super) fn lines(&self, frame: Frame) -> Vec<Line> {
        let rows = frame.lines;
        let mut head = screen::head(&self.status, frame);
        if self.status.running {
            // The listeners' addresses matter less here.
            head.truncate(1);
        }
        if let Some(first) = head.first_mut() {
            *first = std::mem::take(first).and(Ink::Plain, "  q quits");
        }
        if let Some(trouble) = &self.trouble {
            head.push(Line::default().and(Ink::Red, escaped(trouble)));
        }
        if self.status.running {
            let rates = self.rates();
            let rate =
                |name: &str| rates.iter().find(|(known, _)| *known == name).map_or(0.0, |(_, rate)| *rate);
            head.push(Line::of(format!(
                "calls/s    subnets {:.1} asked, {:.1} freed; addresses {:.1} asked, {:.1} freed",
                rate("RequestPool"),
                rate("ReleasePool"),
                rate("RequestAddress"),
                rate("ReleaseAddress")
            )));
        }
        let mut state = health::addresses(&self.status);
        state.truncate(1);
        if self.status.running {
            state.push(health::engine(&self.status));
            state.extend(health::repair(&self.status, 0));
        }
        let (pools, fullest) = match rows {
            ..20 => (1, 2),
            20..40 => (3, 4),
            _ => (8, 8),
        };
        let pools = screen::pools(&self.status, frame, pools);
        let fullest = screen::fullest(&self.status, frame, fullest);
        let parts = [head, pools, fullest, state];
        let used: usize = parts.iter().map(Vec::len).sum();
        let events = self.events(rows.saturating_sub(used));
        screen::joined(parts.into_iter().chain([events]), rows)
    }

    /// Events and refusals, the latest first.
    fn events(&self, rows: usize) -> Vec<Line> {
        if rows < 2 {
            return Vec::new();
        }
        let now = self.status.now.as_deref();
        let mut events: Vec<(&str, Line)> = Vec::new();
        for refusal in &self.status.refusals {
            let method = refusal.method.rsplit('.').next().unwrap_or_default();
            let line = Line::of(format!("  {} ", clock(&refusal.at, now)))
                .and(Ink::Yellow, "refused ")
                .quote(&format!("{} {}", short(method, 14), refusal.text));
            events.push((&refusal.at, line));
        }
        for row in self.status.events.iter().flatten() {
            let line = Line::of(format!("  {} ", clock(&row.at, now))).quote(&told(row));
            events.push((&row.at, line));
        }
        // Times are whole seconds: within one second, refusals come first, and the rest keeps its order.
        events.sort_by(|(a, _), (b, _)| b.cmp(a));
        let heading = Line::default().and(Ink::Bold, "LAST EVENTS (more: gipam history)");
        std::iter::once(heading).chain(events.into_iter().map(|(_, line)| line)).take(rows).collect()
    }
}

/// One line of text for an event.
fn told(row: &HistoryRow) -> String {
    let subnet = row.subnet.as_deref().unwrap_or_default();
    let place = row.address.as_ref().map_or(subnet, |address| address);
    let who = row.holder.as_ref().or(row.mac.as_ref()).or(row.kind.as_ref());
    let who = who.map(|who| format!(" {}", short(who, 24))).unwrap_or_default();
    let why = row.why.as_ref().filter(|why| *why != "docker").map(|why| format!(": {why}"));
    format!("{} {place}{who}{}", row.event, why.unwrap_or_default())
}

/// One change, printed as a line.
pub(super) struct LiveChange {
    at: String,
    text: String,
    event: Option<HistoryRow>,
}

/// The changes from one status to the next, the oldest first.
fn changes(before: &Status, after: &Status) -> Vec<LiveChange> {
    let at = |text: String| LiveChange { at: after.now.clone().unwrap_or_default(), text, event: None };
    let mut changes = Vec::new();
    let last = before.events.iter().flatten().next();
    let new = after.events.iter().flatten().take_while(|row| Some(*row) != last);
    let mut new: Vec<&HistoryRow> = new.collect();
    new.reverse();
    changes.extend(new.into_iter().map(|row| LiveChange {
        at: row.at.clone(),
        text: told(row),
        event: Some(row.clone()),
    }));
    let last = before.refusals.first();
    let refused = after.refusals.iter().take_while(|row| Some(*row) != last).filter(|_| after.running);
    let mut refused: Vec<_> = refused.collect();
    refused.reverse();
    changes.extend(refused.into_iter().map(|refusal| LiveChange {
        at: refusal.at.clone(),
        text: format!("refused {} {}", refusal.method, refusal.text),
        event: None,
    }));
    match (before.running, after.running) {
        (true, false) => changes.push(at("gipam is not running; this is what its books say".to_owned())),
        (false, true) => changes.push(at("gipam is running".to_owned())),
        _ => {}
    }
    if before.engine != after.engine && after.running {
        let word = if after.engine == Some(true) { "answers" } else { "does not answer" };
        changes.push(at(format!("the Engine {word}")));
    }
    if before.findings != after.findings {
        changes.push(at(format!("repair: {}; see gipam gc", counted(after.findings, "finding"))));
    }
    changes
}

impl LiveChange {
    /// The state at the start.
    pub(super) fn first(status: &Status) -> Self {
        let running = if status.running { "gipam is running" } else { "gipam is not running" };
        Self { at: status.now.clone().unwrap_or_default(), text: running.to_owned(), event: None }
    }

    pub(super) fn line(&self, live: &Live, as_json: bool) -> String {
        let status = &live.status;
        if as_json {
            let rates: serde_json::Map<String, Value> =
                live.rates().into_iter().map(|(name, rate)| (name.to_owned(), json!(rate))).collect();
            let value = json!({
                "at": self.at, "what": self.text, "event": self.event, "running": status.running,
                "subnets": status.subnets, "leases": status.leases, "cooling": status.cooling,
                "pinned": status.pinned, "requests": status.requests, "refused": status.refused,
                "calls_per_second": rates, "engine": status.engine, "findings": status.findings,
            });
            return format!("{value}\n");
        }
        let subnets = counted(status.subnets, "subnet");
        let state = format!("{subnets}, {} leased, {} cooling", status.leases, status.cooling);
        format!("{}  {state}  {}\n", escaped(&self.at), escaped(&self.text))
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    fn moment(started: &str, leased: u64) -> News {
        let calls = [("IpamDriver.RequestAddress", leased), ("Plugin.Activate", 1), ("unknown", 1)];
        let calls = calls.map(|(method, count)| (method.to_owned(), [("ok".to_owned(), count)].into()));
        let moment = WaitMoment { started: started.to_owned(), calls: calls.into(), ..WaitMoment::default() };
        News { moment: Some(moment), ..News::default() }
    }

    #[test]
    fn rates_are_over_the_last_seconds_and_start_again_with_the_daemon() {
        let mut live = Live::new(Status { running: true, ..Status::default() });
        let begun = Instant::now();
        let rate = |live: &Live| live.rates().iter().map(|(_, rate)| *rate).collect::<Vec<_>>();
        live.hear(moment("a", 100), begun);
        assert_eq!(rate(&live), [0.0; 5]);
        live.hear(moment("a", 104), begun + Duration::from_secs(2));
        assert_eq!(rate(&live), [0.0, 0.0, 2.0, 0.0, 0.0]);
        for second in 3..20 {
            live.hear(moment("a", 104), begun + Duration::from_secs(second));
        }
        assert_eq!(rate(&live), [0.0; 5], "what is long ago does not count");
        live.hear(moment("b", 7), begun + Duration::from_secs(20));
        assert_eq!(rate(&live), [0.0; 5]);
    }

    #[test]
    fn the_screen_fits_every_terminal() {
        let event = |n: u64| HistoryRow {
            at: format!("2026-01-02T03:04:{:02}Z", n % 60),
            event: "leased".to_owned(),
            subnet: Some("192.0.2.0/24".to_owned()),
            address: Some(format!("192.0.2.{n}")),
            kind: None,
            holder: Some("\u{1b}[2J".repeat(40)),
            mac: None,
            space: None,
            why: None,
            network: None,
            number: None,
        };
        let events = Some((0..60).map(event).collect());
        let mut live = Live::new(Status { running: true, events, ..Status::default() });
        live.hear(moment("a", 1), Instant::now());
        for rows in [1, 2, 5, 12, 24, 50] {
            let lines = live.lines(Frame { columns: 40, lines: rows });
            assert!(lines.len() <= rows, "{rows}");
            assert!(lines.iter().all(|line| line.drawn(40, false).width() <= 40));
        }
        assert_eq!(live.lines(Frame { columns: 80, lines: 50 }).len(), 50, "events fill what is left");
        let text: Vec<String> = live.lines(Frame::NORMAL).iter().map(|line| line.drawn(80, false)).collect();
        assert!(text[0].ends_with("q quits"), "{text:#?}");
        assert!(text.iter().any(|line| line.contains("03:04:59 leased 192.0.2.59")), "{text:#?}");
        assert!(!text.concat().contains('\u{1b}'));
    }

    #[test]
    fn what_changed_is_shown_once_the_oldest_first() {
        let row = |n: u32| HistoryRow {
            at: "2026-01-02T03:04:05Z".to_owned(),
            event: format!("event {n}"),
            subnet: None,
            address: None,
            kind: None,
            holder: None,
            mac: None,
            space: None,
            why: None,
            network: None,
            number: None,
        };
        let status = |events: &[u32], running| Status {
            running,
            events: Some(events.iter().map(|n| row(*n)).collect()),
            ..Status::default()
        };
        let told = |before: &Status, after: &Status| -> Vec<String> {
            changes(before, after).into_iter().map(|change| change.text).collect()
        };
        let (first, second) = (status(&[2, 1], true), status(&[4, 3, 2, 1], true));
        assert_eq!(told(&first, &second), ["event 3 ", "event 4 "]);
        assert!(told(&second, &second).is_empty());
        assert_eq!(told(&first, &status(&[2, 1], false)).len(), 1);
    }
}
