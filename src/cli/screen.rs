//! `gipam status` as one screen.
//!
//! Promises: 24 lines of 80 columns on a pipe, for any host, and the whole screen on a larger terminal; if a part does not
//! fit, the screen names the command that shows the rest; readable without colour; shows only what the row contains. Sends
//! no requests: see `views` and `top`.

use unicode_width::UnicodeWidthStr;

use super::health::{addresses, books, engine, kernel, plan, probes, repair, sources, watched};
use super::paper::{Ink, Line, bar, clock, padded, short, span, wrapped};
use super::tables::escaped;
use crate::view::rows::{PoolRow, Status, SubnetUsage};
use crate::view::{Fullness, digits};

/// The characters of a bar, a name and a prefix at 80 columns.
const BAR: usize = 16;
pub(super) const NAME: usize = 12;
const PREFIX: usize = 24;
/// How many entries of each part are shown.
const DOORS: usize = 2;
const POOLS: usize = 4;
const FULLEST: usize = 4;
const SUSPECTS: usize = 2;
const REFUSALS: usize = 3;

/// The lines and columns of a normal terminal.
pub(super) const LINES: usize = 24;
pub(super) const COLUMNS: usize = 80;

/// The size of a terminal. Extra room goes to names, prefixes, bars and further rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl Frame {
    /// The frame for a pipe.
    pub(super) const NORMAL: Self = Self { columns: COLUMNS, lines: LINES };

    /// The frame for a terminal of this size, or for a pipe. A screen taller than the terminal scrolls.
    pub(super) fn of(size: Option<(usize, usize)>) -> Self {
        size.map_or(Self::NORMAL, |(columns, lines)| Self {
            columns,
            lines: lines.saturating_sub(1).max(LINES),
        })
    }

    /// The width of a text that is `width` wide at 80 columns: it grows by a third of the extra columns, at most by `most`.
    fn wider(self, width: usize, most: usize) -> usize {
        width + (self.columns.saturating_sub(COLUMNS) / 3).min(most)
    }

    /// The width of a name.
    fn name(self) -> usize {
        self.wider(NAME, 28)
    }

    /// How many entries of a part are shown if 24 lines have room for `entries`.
    fn entries(self, entries: usize) -> usize {
        match self.lines.checked_sub(LINES) {
            Some(more) => entries + more / 3,
            None => (entries * self.lines / (2 * LINES)).max(1),
        }
    }
}

/// A count that fits into a column: exact up to seven digits, then a power of two.
pub(super) fn grouped(count: u128) -> String {
    if count < 10_000_000 {
        return digits(count);
    }
    let power = count.ilog2() + u32::from(count.ilog2() > 0 && count >> (count.ilog2() - 1) == 3);
    let about = if count.is_power_of_two() { "" } else { "~" };
    format!("{about}2^{power}")
}

/// The screen of `gipam status`.
pub(super) fn drawn(status: &Status, frame: Frame, colour: bool) -> String {
    let refusals = refusals(status, frame, frame.entries(REFUSALS));
    let lines = joined(parts(status, frame).into_iter().chain([refusals]), frame.lines);
    lines.iter().map(|line| line.drawn(frame.columns, colour) + "\n").collect()
}

/// The parts that both `gipam status` and `gipam top` show.
pub(super) fn parts(status: &Status, frame: Frame) -> [Vec<Line>; 4] {
    let (head, pools, state) =
        (head(status, frame), pools(status, frame, frame.entries(POOLS)), state(status, frame));
    // What needs attention is in the state, so it comes before full subnets if there is not enough room for both.
    let others = head.len() + pools.len() + state.len() + 1;
    let room = frame.lines.saturating_sub(others + 1);
    let fullest = fullest(status, frame, frame.entries(FULLEST).min(room));
    [head, pools, fullest, state]
}

/// Joins the parts, with an empty line between them if there is room.
pub(super) fn joined(parts: impl IntoIterator<Item = Vec<Line>>, lines: usize) -> Vec<Line> {
    let parts: Vec<Vec<Line>> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let all: usize = parts.iter().map(Vec::len).sum();
    let empty = [Line::default()];
    let gap: &[Line] = if all + parts.len() <= lines + 1 { &empty } else { &[] };
    let mut joined = parts.join(gap);
    joined.truncate(lines);
    joined
}

/// Whether the daemon runs, since when, and where it listens.
fn head(status: &Status, frame: Frame) -> Vec<Line> {
    if !status.running {
        return vec![
            Line::default()
                .and(Ink::Red, "gipam is not running")
                .and(Ink::Plain, "; these numbers come from its books."),
            Line::of("Networks and containers that need an address cannot start until it runs again."),
        ];
    }
    let version = escaped(status.version.as_deref().unwrap_or_default());
    let started = status.started.as_deref().unwrap_or_default();
    let long = status.ago(status.started.as_deref()).map(|ago| format!(" ({})", span(ago)));
    let several = match status.names.len() {
        0..=DOORS => String::new(),
        all => format!(", {all} drivers"),
    };
    let since = format!(" since {} UTC{}{several}", clock(started, None), long.unwrap_or_default());
    let mut lines =
        vec![Line::of(format!("gipam {version} is ")).and(Ink::Green, "running").and(Ink::Plain, since)];
    for (name, door) in status.names.iter().zip(&status.doors).take(DOORS) {
        let at = format!(" at {}", short(door, frame.columns.saturating_sub(20 + frame.name())));
        lines.push(entry("driver", &short(name, frame.name())).and(Ink::Plain, at));
    }
    lines
}

/// A line `label      text`.
pub(super) fn entry(label: &str, text: &str) -> Line {
    Line::of(format!("{label:<11}")).and(Ink::Plain, text)
}

/// A name, a prefix, a bar, and the numbers that the bar represents.
fn gauge(frame: Frame, name: &str, prefix: &str, full: Option<Fullness>, text: &str) -> Line {
    let (of_name, of_prefix, signs) = (frame.name(), frame.wider(PREFIX, 20), frame.wider(BAR, 24));
    let (ink, bar) = full.map_or((Ink::Plain, " ".repeat(signs + 2)), |full| bar(full, signs));
    let percent = full.map(|full| full.to_string()).unwrap_or_default();
    let (name, prefix) = (short(name, of_name), short(prefix, of_prefix));
    Line::of(format!("{} {} ", padded(&name, of_name), padded(&prefix, of_prefix)))
        .and(ink, bar)
        .and(Ink::Plain, format!(" {:>4}  {text}", percent))
}

/// The usage of pools, counted in subnets.
fn pools(status: &Status, frame: Frame, most: usize) -> Vec<Line> {
    let mut heading = "POOLS, and how much of each is given to networks".to_owned();
    if status.usage.len() > most {
        heading.push_str(&format!(" ({} more: gipam pools)", status.usage.len() - most));
    }
    // One reason is enough on this screen: `gipam pools` lists all of them.
    let mut told = false;
    let pool = |row: &PoolRow| {
        let taken = row.subnets.0 + row.cooling.0;
        let all = grouped(taken.saturating_add(row.free.0));
        let (share, text) = match (row.closed, &row.unusable) {
            (true, _) => (None, format!("closed, {} /{}", grouped(taken), row.size)),
            (false, Some(_)) => (None, format!("unusable, {} /{}", grouped(taken), row.size)),
            (false, None) => (Some(row.share), format!("{} of {all} /{}", grouped(taken), row.size)),
        };
        let line = gauge(frame, &row.pool, &row.base, share, &text);
        let why = row.unusable.as_ref().filter(|_| !row.closed && !std::mem::replace(&mut told, true));
        let why = why.map(|why| Line::of("  ").and(Ink::Yellow, "unusable: ").quote(why));
        std::iter::once(line).chain(why)
    };
    // If not all fit, the fullest come first.
    let mut usage: Vec<&PoolRow> = status.usage.iter().collect();
    if usage.len() > most {
        usage.sort_by(|a, b| b.share.0.total_cmp(&a.share.0));
    }
    let lines = usage.into_iter().take(most).flat_map(pool);
    if status.usage.is_empty() {
        return vec![entry("pools", &format!("{}; see gipam pools", status.pools))];
    }
    std::iter::once(Line::default().and(Ink::Bold, heading)).chain(lines).collect()
}

/// The fullest subnets, by addresses.
fn fullest(status: &Status, frame: Frame, most: usize) -> Vec<Line> {
    if status.fullest.is_empty() || most == 0 {
        return Vec::new();
    }
    let mut heading = "FULLEST SUBNETS, by addresses".to_owned();
    let others = usize::try_from(status.subnets).unwrap_or(usize::MAX).saturating_sub(most);
    if others > 0 {
        heading.push_str(&format!(" ({} more: gipam subnets)", digits(others as u128)));
    }
    let subnet = |subnet: &SubnetUsage| {
        let taken = subnet.leased.0 + subnet.cooling.0;
        let all = taken.saturating_add(subnet.free.0);
        let text = format!("{} of {}", grouped(taken), grouped(all));
        gauge(frame, subnet.network.as_deref().unwrap_or("-"), &subnet.prefix, subnet.share, &text)
    };
    let lines = status.fullest.iter().take(most).map(subnet);
    std::iter::once(Line::default().and(Ink::Bold, heading)).chain(lines).collect()
}

/// Addresses, books, Engine, repair and hooks.
fn state(status: &Status, frame: Frame) -> Vec<Line> {
    let mut lines = addresses(status);
    lines.push(books(status, frame));
    lines.extend(sources(status, frame));
    lines.extend(plan(status, frame));
    lines.extend(kernel(status, frame));
    lines.extend(probes(status, frame));
    lines.extend(watched(status));
    if status.running {
        lines.push(engine(status));
        lines.extend(repair(status, frame.entries(SUSPECTS)));
    }
    lines
}

/// The most recent refusals of Docker's requests.
fn refusals(status: &Status, frame: Frame, most: usize) -> Vec<Line> {
    let now = status.now.as_deref();
    if !status.running {
        return Vec::new();
    }
    let count = |count: Option<u64>| digits(count.unwrap_or_default().into());
    let refused = status.refused.unwrap_or_default();
    let all = format!("{} from Docker since the start, {}", count(status.requests), count(status.refused));
    let last = if refused == 0 { " refused" } else { " refused; the latest:" };
    let mut lines = vec![entry("requests", &format!("{all}{last}"))];
    // The latest is shown in full, because its end says what to do; others are cut to fit.
    for refusal in &status.refusals {
        let method = refusal.method.rsplit('.').next().filter(|method| !method.is_empty()).unwrap_or("-");
        let head = format!("  {} ", clock(&refusal.at, now));
        let method = format!("{} ", short(method, 14));
        let (text, room) =
            (escaped(&refusal.text), frame.columns.saturating_sub(head.len() + method.width()));
        if lines.len() > most {
            break;
        }
        let mut texts = wrapped(&text, room, frame.columns.saturating_sub(11)).into_iter();
        let fits = lines.len() + texts.len() <= most + 1;
        let first = texts.next().filter(|_| fits).unwrap_or(text);
        lines.push(Line::of(head).and(Ink::Yellow, method).and(Ink::Plain, first));
        lines.extend(texts.filter(|_| fits).map(|text| entry("", &text)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::Finding;
    use crate::view::rows::{Count, HookRow, RefusalRow};

    fn pool(n: u64) -> PoolRow {
        PoolRow {
            pool: format!("a-pool-with-a-long-name-{n}"),
            family: "v6".to_owned(),
            base: "2001:db8:aaaa:bbbb:cccc:dddd:0:0/96".to_owned(),
            size: 120,
            subnets: Count(1),
            free: Count((1 << 24) - 1),
            cooling: Count(0),
            unusable: None,
            closed: n == 1,
            reserved: Count(0),
            share: Fullness(0.95),
            full: "95%".to_owned(),
        }
    }

    fn subnet(network: Option<&str>, share: Option<f64>) -> SubnetUsage {
        SubnetUsage {
            prefix: "192.0.2.0/24".to_owned(),
            id: "local/192.0.2.0/24#0123456789abcdef".to_owned(),
            space: "local".to_owned(),
            pool: None,
            network: network.map(str::to_owned),
            leased: Count(1 << 64),
            cooling: Count(1),
            free: Count(1 << 63),
            share: share.map(Fullness),
        }
    }

    /// A host with many problems, many entries and long names.
    fn crowded() -> Status {
        let finding = Finding {
            what: "lease".to_owned(),
            subnet: "192.0.2.0/24".to_owned(),
            address: Some("192.0.2.7".to_owned()),
            holder: Some("\u{1b}[2Jweb".to_owned()),
            since: None,
            first_seen: None,
            last_seen: None,
            why: "no running container has it".to_owned(),
            action: "will be freed after 2026-01-02T03:14:05Z".to_owned(),
            advice: None,
        };
        let refusal = RefusalRow {
            at: "2026-01-02T03:04:05Z".to_owned(),
            driver: "gipam".to_owned(),
            method: "IpamDriver.RequestAddress".to_owned(),
            text: "address already in use: 192.0.2.7 is held by web; free it with: gipam release 192.0.2.0/24 192.0.2.7 --force".to_owned(),
        };
        let time = || Some("2026-01-02T03:04:05Z".to_owned());
        Status {
            running: true,
            names: (0..5).map(|n| format!("driver-with-a-long-name-{n}")).collect(),
            doors: (0..5)
                .map(|n| format!("unix:///a/very/long/way/to/{}/d{n}.sock", "x".repeat(90)))
                .collect(),
            version: Some("0.1.0".to_owned()),
            books: format!("/{}/gipam.db", "y".repeat(200)),
            subnets: 12_345,
            leases: 1_234_567,
            started: Some("2025-12-01T00:00:00Z".to_owned()),
            now: time(),
            usage: (0..9).map(pool).collect(),
            fullest: vec![subnet(Some("web\n\u{1b}[31m"), Some(1.0)); 5],
            books_bytes: 9 << 30,
            synced: time(),
            repair: Some(true),
            engine: Some(false),
            engine_since: time(),
            engine_error: Some("the Engine at /var/run/docker.sock does not answer: ".repeat(3)),
            looked: time(),
            next_look: Some("2026-01-02T04:04:05Z".to_owned()),
            findings: 40,
            suspects: vec![finding; 9],
            refusals: vec![refusal; 9],
            requests: Some(99_999_999),
            refused: Some(9),
            ..Status::default()
        }
    }

    #[test]
    fn a_crowded_host_fits_24_lines_of_80_columns_and_the_screen_names_commands_that_show_more() {
        let text = drawn(&crowded(), Frame::NORMAL, false);
        assert_eq!(text.lines().count(), LINES, "{text}");
        assert!(text.lines().all(|line| line.width() <= COLUMNS), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        for part in [
            "(32 d 3 h), 5 drivers",
            "(5 more: gipam pools)",
            "(12,341 more: gipam subnets)",
            "40 findings",
            "see gipam gc",
            "does not answer since 03:04:05",
            "next try in 1 h 0 min",
            "9 refused; the latest:",
            "with: gipam release 192.0.2.0/24 192.0.2.7 --force",
        ] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
    }

    #[test]
    fn a_larger_terminal_is_filled_and_a_narrow_one_is_not_exceeded() {
        for (columns, lines) in [(50, 30), (80, 20), (120, 40), (200, 60)] {
            let frame = Frame::of(Some((columns, lines)));
            let text = drawn(&crowded(), frame, false);
            assert!(text.lines().all(|line| line.width() <= columns), "{columns}: {text}");
            assert!(text.lines().count() <= (lines - 1).max(LINES), "{lines}: {text}");
        }
        let text = drawn(&crowded(), Frame::of(Some((200, 60))), false);
        assert!(text.contains("a-pool-with-a-long-name-0"), "names are not shortened: {text}");
        assert!(text.contains("2001:db8:aaaa:bbbb:cccc:dddd:0:0/96"), "prefixes are not shortened: {text}");
        assert!(!text.contains("more: gipam pools"), "all pools fit: {text}");
        assert!(text.lines().any(|line| line.width() > 120), "{text}");
    }

    #[test]
    fn the_reason_for_an_unusable_pool_is_shown_and_events_that_hooks_rejected_are_counted() {
        let why = Some(
            "lies in the on-link route 10.9.0.0/16 dev eth0 scope link, so Docker would refuse all of it"
                .to_owned(),
        );
        let lan =
            PoolRow { pool: "lan".to_owned(), base: "10.9.0.0/16".to_owned(), unusable: why, ..pool(0) };
        let well = HookRow { hook: "well".to_owned(), ..HookRow::default() };
        let mut hooks = vec![well.clone(), HookRow { hook: "dns".to_owned(), passed_over: 2, ..well }];
        let status = Status { usage: vec![lan], hooks: hooks.clone(), ..crowded() };
        let text = drawn(&status, Frame::NORMAL, false);
        for part in [
            "unusable, 1 /120",
            "unusable: lies in the on-link route 10.9.0.0/16",
            "rejected events were skipped, see the log: 2 by dns",
        ] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        hooks[1].passed_over = 0;
        let text = drawn(&Status { hooks, ..status }, Frame::NORMAL, false);
        assert!(!text.contains("skipped"), "{text}");
    }

    #[test]
    fn colour_does_not_change_the_text() {
        let (plain, mut painted) =
            (drawn(&crowded(), Frame::NORMAL, false), drawn(&crowded(), Frame::NORMAL, true));
        assert!(painted.contains("\u{1b}[31m"));
        for sgr in [0, 1, 31, 32, 33] {
            painted = painted.replace(&format!("\u{1b}[{sgr}m"), "");
        }
        assert_eq!(painted, plain);
    }

    #[test]
    fn findings_are_yellow_or_red_if_two_containers_have_one_address() {
        for (duplicates, ink) in [(0, 33), (1, 31)] {
            let painted = drawn(&Status { duplicates, ..crowded() }, Frame::NORMAL, true);
            assert!(painted.contains(&format!("\u{1b}[{ink}m40 findings")), "{painted:?}");
        }
    }

    #[test]
    fn the_status_of_an_older_daemon_is_shown_without_invented_values() {
        let old = r#"{"running":true,"names":["gipam"],"doors":["unix:///d.sock"],"version":"0.0.9","books":"/b",
            "pools":2,"subnets":1,"leases":3,"started":"2026-01-02T03:04:05Z","last_error":null,"last_error_at":null,
            "requests":7}"#;
        let text = drawn(&serde_json::from_str(old).unwrap(), Frame::NORMAL, false);
        assert!(text.starts_with("gipam 0.0.9 is running since 2026-01-02 03:04:05 UTC\n"), "{text}");
        assert!(text.contains("pools      2; see gipam pools"), "{text}");
        assert!(text.contains("1 subnet, 3 addresses"), "{text}");
        assert!(!text.contains("FULLEST") && !text.contains("repair"), "{text}");
    }

    #[test]
    fn large_counts_are_powers_of_two_and_small_ones_exact() {
        let counts = [0, 9_999_999, 1 << 24, (1 << 32) - 3, (1 << 64) - 5, (1 << 40) + 1, u128::MAX];
        assert_eq!(counts.map(grouped), ["0", "9,999,999", "2^24", "~2^32", "~2^64", "~2^40", "~2^128"]);
    }
}
