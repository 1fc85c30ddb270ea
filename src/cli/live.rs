//! What `gipam top` shows: the screen of `gipam status` with calls per second, and the latest events.
//!
//! Promises: pure; fits the given terminal, and on a small one leaves out what matters least. On a pipe, each change
//! is one line. Sends no requests.

use serde_json::{Value, json};

use super::feed::{Live, METHODS};
use super::paper::{Ink, Line, clock, short};
use super::screen::{self, Frame};
use super::tables::escaped;
use crate::text::counted;
use crate::view::rows::{HistoryRow, Status};

/// Lines that are kept for events, however long the state is.
const EVENTS: usize = 6;

/// The screen.
pub(super) fn lines(live: &Live, frame: Frame) -> Vec<Line> {
    let Live { status, trouble, rates } = live;
    let mut parts = screen::parts(status, frame);
    let [head, pools, fullest, state] = &mut parts;
    if status.running {
        // The listeners' addresses matter less here.
        head.truncate(1);
    }
    if let Some(first) = head.first_mut() {
        *first = std::mem::take(first).and(Ink::Plain, "  q quits");
    }
    head.extend(trouble.as_ref().map(|trouble| Line::default().and(Ink::Red, escaped(trouble))));
    if status.running {
        let [subnets, subnets_released, addresses, released, _] = rates;
        head.push(Line::of(format!(
            "calls/s    request subnet {subnets:.1}, address {addresses:.1}; release subnet {subnets_released:.1}, \
             address {released:.1}"
        )));
    }
    let others = head.len() + pools.len() + fullest.len();
    state.truncate(frame.lines.saturating_sub(others + EVENTS).max(1));
    let used: usize = parts.iter().map(Vec::len).sum();
    let events = events(status, frame.lines.saturating_sub(used));
    screen::joined(parts.into_iter().chain([events]), frame.lines)
}

/// Events and refusals, latest first.
fn events(status: &Status, rows: usize) -> Vec<Line> {
    if rows < 2 {
        return Vec::new();
    }
    let now = status.now.as_deref();
    let line = |at: &str| Line::of(format!("  {} ", clock(at, now)));
    let refusals = status.refusals.iter().map(|refusal| {
        let method = refusal.method.rsplit('.').next().unwrap_or_default();
        let text = format!("{} {}", short(method, 14), refusal.text);
        (&refusal.at, line(&refusal.at).and(Ink::Yellow, "refused ").quote(&text))
    });
    let events = status.events.iter().flatten().map(|row| (&row.at, line(&row.at).quote(&told(row))));
    let mut events: Vec<(&String, Line)> = refusals.chain(events).collect();
    // Times are whole seconds: within one second, refusals come first, and the rest keeps its order.
    events.sort_by(|(a, _), (b, _)| b.cmp(a));
    let heading = Line::default().and(Ink::Bold, "LAST EVENTS (more: gipam history)");
    std::iter::once(heading).chain(events.into_iter().map(|(_, line)| line)).take(rows).collect()
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

/// The rows that were added after `before`, oldest first; both lists begin with the latest.
fn new<'a, T: PartialEq>(before: &[T], after: &'a [T]) -> impl Iterator<Item = &'a T> {
    let new: Vec<&T> = after.iter().take_while(|row| Some(*row) != before.first()).collect();
    new.into_iter().rev()
}

/// The changes from one status to the next, oldest first.
pub(super) fn changes(before: &Status, after: &Status) -> Vec<LiveChange> {
    let list = |status: &Status| status.events.clone().unwrap_or_default();
    let (earlier, events) = (list(before), list(after));
    let event =
        |row: &HistoryRow| LiveChange { at: row.at.clone(), text: told(row), event: Some(row.clone()) };
    let mut changes: Vec<LiveChange> = new(&earlier, &events).map(event).collect();
    if after.running {
        changes.extend(new(&before.refusals, &after.refusals).map(|refusal| LiveChange {
            at: refusal.at.clone(),
            text: format!("refused {} {}", refusal.method, refusal.text),
            event: None,
        }));
    }
    let mut add = |text: String| {
        changes.push(LiveChange { at: after.now.clone().unwrap_or_default(), text, event: None });
    };
    match (before.running, after.running) {
        (true, false) => add("gipam is not running; the numbers come from its books".to_owned()),
        (false, true) => add("gipam is running".to_owned()),
        _ => {}
    }
    if before.engine != after.engine && after.running {
        let word = if after.engine == Some(true) { "answers" } else { "does not answer" };
        add(format!("the Engine {word}"));
    }
    if before.findings != after.findings {
        add(format!("repair: {}; see gipam gc", counted(after.findings, "finding")));
    }
    changes
}

impl LiveChange {
    /// The state at the start.
    pub(super) fn first(status: &Status) -> Self {
        let running = if status.running { "gipam is running" } else { "gipam is not running" };
        Self { at: status.now.clone().unwrap_or_default(), text: running.to_owned(), event: None }
    }

    pub(super) fn line(&self, Live { status, rates, .. }: &Live, as_json: bool) -> String {
        if as_json {
            let rates: serde_json::Map<String, Value> =
                METHODS.iter().zip(rates).map(|(name, rate)| ((*name).to_owned(), json!(rate))).collect();
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
        let status = Status { running: true, events, ..Status::default() };
        let live = Live { status, ..Live::default() };
        let lines = |frame| lines(&live, frame);
        for rows in [1, 2, 5, 12, 24, 50] {
            let shown = lines(Frame { columns: 40, lines: rows });
            assert!(shown.len() <= rows, "{rows}");
            assert!(shown.iter().all(|line| line.drawn(40, false).width() <= 40));
        }
        assert_eq!(lines(Frame { columns: 80, lines: 50 }).len(), 50, "events fill the rest of the screen");
        let text: Vec<String> = lines(Frame::NORMAL).iter().map(|line| line.drawn(80, false)).collect();
        assert!(text[0].ends_with("q quits"), "{text:#?}");
        assert!(text.iter().any(|line| line.contains("03:04:59 leased 192.0.2.59")), "{text:#?}");
        assert!(!text.concat().contains('\u{1b}'));
    }

    #[test]
    fn each_change_is_shown_once_oldest_first() {
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
