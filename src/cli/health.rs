//! The lines of `gipam status` about the health of gipam: addresses in use, books, hooks, Docker's Engine,
//! repair.
//!
//! Promises: pure; each part is one line, plus a few for failures; shows only what the row contains. Does not
//! decide how the parts are arranged: see `screen`.

use unicode_width::UnicodeWidthStr;

use super::paper::{Ink, Line, clock, short, size, span, wrapped};
use super::screen::{Frame, NAME, entry, grouped};
use super::tables::escaped;
use crate::reconcile::Finding;
use crate::text::counted;
use crate::view::digits;
use crate::view::rows::{HookRow, KernelRow, KindName, SourceRow, Status, StoreRow};

const FILLING: usize = 2;
const HOOKS: usize = 1;
const SOURCES: usize = 2;

/// How many addresses are in each state, in words that need no explanation.
pub(super) fn addresses(status: &Status) -> Vec<Line> {
    let count = |count: u64| digits(count.into());
    let held = format!(
        "{}, {}; {} cooling (released recently)",
        counted(count(status.subnets), "subnet"),
        counted(count(status.leases), "address"),
        count(status.cooling)
    );
    let kept = format!(
        "{} pinned (by --ip or by hand), {} reserved (not given dynamically)",
        count(status.pinned),
        grouped(status.reserved.0)
    );
    vec![entry("in use", &held), entry("", &kept)]
}

/// Where the books are, how large they are, and when they were last written.
pub(super) fn books(status: &Status, frame: Frame) -> Line {
    if let Some(seconds) = status.stalled {
        let text = format!("the disk has held up a write for {}", span(seconds.cast_signed()));
        return entry("books", "").and(Ink::Red, "CANNOT BE WRITTEN: ").and(Ink::Plain, text);
    }
    if status.writable == Some(false) {
        let why = status.last_error.as_deref().unwrap_or("see the log");
        return entry("books", "").and(Ink::Red, "CANNOT BE WRITTEN: ").quote(why);
    }
    let written = status.ago(status.synced.as_deref()).map(|ago| format!(", written {} ago", span(ago)));
    let sizes = format!("{}, WAL {}", size(status.books_bytes), size(status.log_bytes));
    let text = format!(": {sizes}{}", written.unwrap_or_default());
    let room = frame.columns.saturating_sub(11 + text.width());
    entry("books", &short(&status.books, room)).and(Ink::Plain, text)
}

/// The slices of this host, if several hosts divide the pools; a plan that cannot be used and its store have
/// their own lines.
pub(super) fn plan(status: &Status, frame: Frame) -> Vec<Line> {
    let Some(plan) = &status.plan else { return Vec::new() };
    let of = if plan.hosts > 0 { format!(" of {}", plan.hosts) } else { String::new() };
    let host = plan.host.as_ref().map(|host| format!("host {}{of}: ", short(host, 24))).unwrap_or_default();
    let text =
        format!("{host}{} held, room for {} more subnets", counted(plan.held, "slice"), grouped(plan.room.0));
    let leaving = if plan.leaving > 0 { format!(", {} leaving", plan.leaving) } else { String::new() };
    let free = plan.free.map(|free| format!(", {} free", grouped(free.0))).unwrap_or_default();
    let first = entry("plan", &(text + &leaving + &free));
    let lost = format!(", {} LOST to another host (see gipam slices)", plan.lost);
    let first = if plan.lost > 0 { first.and(Ink::Red, lost) } else { first };
    let error = plan.error.as_deref().map(|error| entry("", "").and(Ink::Yellow, escaped(error)));
    let store = plan.store.iter().filter(|_| status.running).flat_map(|store| self::store(store, status));
    std::iter::once(first)
        .chain(error)
        .chain(store)
        .chain(status.routes.iter().flat_map(|row| {
            let (line, why) = kernel_row("", row);
            let causes = why.map(|why| cause(true, Ink::Plain, &why, frame)).unwrap_or_default();
            std::iter::once(line).chain(causes)
        }))
        .collect()
}

/// Pools whose prefix may change: what they wait for, and how many subnets are on earlier prefixes.
pub(super) fn sources(status: &Status, frame: Frame) -> Vec<Line> {
    let line = |row: &SourceRow| {
        let name = short(&row.pool, NAME);
        let from = row.source.as_ref().map(|source| format!(" from {source}")).unwrap_or_default();
        let Some(base) = &row.base else {
            let text = format!("pool {name} has no {} prefix yet{from}", row.family);
            return entry("prefix", "").and(Ink::Yellow, short(&escaped(&text), frame.columns - 11));
        };
        if row.stale == 0 {
            let text = format!("{base} is the prefix of pool {name}{from}");
            return entry("prefix", &short(&escaped(&text), frame.columns - 11));
        }
        let text = format!("{} NOT IN {base} (pool {name}): gipam renumber", counted(row.stale, "subnet"));
        entry("prefix", "").and(Ink::Yellow, escaped(&text))
    };
    let waiting = |row: &&SourceRow| row.stale > 0 || row.base.is_none();
    let (first, then): (Vec<_>, Vec<_>) = status.sources.iter().partition(waiting);
    first.into_iter().chain(then).take(SOURCES).map(line).collect()
}

/// What was found on LANs, and why a pool is not probed.
pub(super) fn probes(status: &Status, frame: Frame) -> Vec<Line> {
    let Some(row) = &status.probes else { return Vec::new() };
    let text = format!(
        "{} in quarantine (see gipam leases --state quarantined)",
        counted(row.quarantined, "address")
    );
    let ink = if row.quarantined > 0 { Ink::Yellow } else { Ink::Plain };
    let errors = row
        .pools
        .iter()
        .filter_map(|pool| Some(format!("pool {} IS NOT PROBED: {}", pool.pool, pool.error.as_ref()?)));
    let errors = errors.enumerate().flat_map(|(n, text)| cause(n == 0, Ink::Red, &text, frame));
    std::iter::once(entry("probes", "").and(ink, text)).chain(errors).collect()
}

/// Why something does not work. The first reason of a part is shown in full, because its end says what to do; the others are cut to fit.
fn cause(is_first: bool, ink: Ink, text: &str, frame: Frame) -> Vec<Line> {
    let (text, room) = (escaped(text), frame.columns.saturating_sub(11));
    let texts = if is_first { wrapped(&text, room, room) } else { vec![text] };
    texts.into_iter().map(|text| entry("", "").and(ink, text)).collect()
}

/// What gipam keeps in the kernel besides the routes of the plan, which are in the plan's lines.
pub(super) fn kernel(status: &Status, frame: Frame) -> Vec<Line> {
    let (mut lines, mut is_first) = (Vec::new(), true);
    for row in status.kernel.iter().filter(|row| row.kind != KindName::Routes) {
        let label = if lines.is_empty() { "kernel" } else { "" };
        let (first, why) = kernel_row(label, row);
        lines.push(first);
        if let Some(why) = why {
            lines.extend(cause(std::mem::take(&mut is_first), Ink::Plain, &why, frame));
        }
    }
    lines
}

/// How many objects of a kind are in the kernel, and why the first missing one is not, or why they have no effect.
fn kernel_row(label: &str, row: &KernelRow) -> (Line, Option<String>) {
    let missing = row.wanted.saturating_sub(row.kept);
    let (ink, text) = match (missing, &row.error) {
        (0, Some(_)) if row.wanted > 0 => {
            (Ink::Red, format!("{} WITHOUT EFFECT", counted(row.kept, row.kind.one())))
        }
        (0, error) => {
            let ink = if error.is_some() { Ink::Yellow } else { Ink::Plain };
            (ink, format!("{} in the kernel", counted(row.kept, row.kind.one())))
        }
        _ => (Ink::Red, format!("{missing} of {} NOT IN THE KERNEL", counted(row.wanted, row.kind.one()))),
    };
    let first = row.unmade.first().map(|object| format!("{}: {}", object.prefix, object.why));
    (entry(label, "").and(ink, text), row.error.clone().or(first))
}

/// Whether the plan's store answers, and what this host waits for.
fn store(store: &StoreRow, status: &Status) -> Vec<Line> {
    let line = |ink, text: String| entry("", "").and(ink, text);
    if !store.joined {
        return vec![line(Ink::Yellow, "this host has not joined the plan: gipam join".to_owned())];
    }
    let mut lines = Vec::new();
    if let Some(why) = &store.stopped {
        lines.push(line(Ink::Red, format!("THIS HOST CLAIMS NOTHING: {}", escaped(why))));
    }
    if let Some(since) = &store.stale_since {
        let ago = status.ago(Some(since)).map(|ago| format!(" ({})", span(ago))).unwrap_or_default();
        let at = clock(since, status.now.as_deref());
        lines.push(line(Ink::Red, format!("etcd NOT REACHABLE since {at}{ago}")));
        lines.extend(store.trouble.as_deref().map(|why| line(Ink::Yellow, escaped(why))));
        lines.push(line(Ink::Plain, "own slices go on to be served; new ones cannot be claimed".to_owned()));
    } else if let Some(ago) = status.ago(store.answered.as_deref()) {
        lines.push(line(Ink::Plain, format!("etcd answered {} ago", span(ago))));
    }
    if !store.awaited.is_empty() {
        let names = escaped(&store.awaited.join(", "));
        lines.push(line(Ink::Yellow, format!("no host claims until these confirm their slices: {names}")));
    }
    lines
}

/// Pools and subnets that are filling up, a WAL that cannot be reset, and hooks; the first failing hook has
/// its own line.
pub(super) fn watched(status: &Status) -> Vec<Line> {
    let mut lines: Vec<Line> = status
        .filling
        .iter()
        .take(FILLING)
        .map(|row| entry("filling", "").and(Ink::Yellow, escaped(&row.to_string())))
        .collect();
    if let Some(bytes) = status.log_held {
        let since = clock(status.log_held_since.as_deref().unwrap_or_default(), status.now.as_deref());
        let text =
            format!("{} in use since {since}: a long-running reader keeps it from being reset", size(bytes));
        lines.push(entry("WAL", "").and(Ink::Yellow, text));
    }
    let (failing, well): (Vec<_>, Vec<_>) = status.hooks.iter().partition(|row| row.failing_since.is_some());
    if !well.is_empty() {
        let waits: u64 = well.iter().filter_map(|row| row.behind).sum();
        lines.push(entry("hooks", &format!("{} working, {}", well.len(), waiting(waits))));
    }
    let skipped: Vec<_> = status.hooks.iter().filter(|row| row.passed_over > 0).collect();
    if !skipped.is_empty() {
        let row =
            |row: &&HookRow| format!("{} by {}", digits(row.passed_over.into()), short(&row.hook, NAME));
        let hooks = skipped.iter().map(row).collect::<Vec<_>>().join(", ");
        lines.push(
            entry("hooks", "")
                .and(Ink::Yellow, format!("rejected events were skipped, see the log: {hooks}")),
        );
    }
    lines.extend(failing.into_iter().take(HOOKS).map(|row| {
        let since = clock(row.failing_since.as_deref().unwrap_or_default(), status.now.as_deref());
        let waits = waiting(row.behind.unwrap_or_default());
        entry("hook", &format!("{}: {waits}; ", short(&row.hook, NAME)))
            .and(Ink::Red, format!("failing since {since}: "))
            .quote(row.last_error.as_deref().unwrap_or_default())
    }));
    lines
}

fn waiting(events: u64) -> String {
    format!("{} queued", counted(grouped(events.into()), "event"))
}

/// Whether Docker's Engine answers.
pub(super) fn engine(status: &Status) -> Line {
    let now = status.now.as_deref();
    let since = status.engine_since.as_deref();
    let long = status.ago(since).map(|ago| format!(" ({})", span(ago))).unwrap_or_default();
    let since = since.map(|since| format!(" since {}{long}", clock(since, now))).unwrap_or_default();
    match (status.repair, status.engine) {
        (Some(false), _) => entry("Engine", "not checked: repair is off (gc.engine)"),
        (_, None) => entry("Engine", "not checked yet"),
        (_, Some(true)) => entry("Engine", &format!("answers{since}")),
        (_, Some(false)) => {
            let why = status.engine_error.as_deref().unwrap_or_default();
            entry("Engine", "")
                .and(Ink::Red, "does not answer")
                .and(Ink::Plain, format!("{since}: "))
                .quote(why)
        }
    }
}

/// The findings of repair, and the time of its next check.
pub(super) fn repair(status: &Status, most: usize) -> Vec<Line> {
    if status.repair != Some(true) {
        return Vec::new();
    }
    let ahead = status.ago(status.next_look.as_deref()).map(|ago| -ago);
    let next = match (ahead, status.engine) {
        (Some(ahead), Some(false)) => format!("next try in {}", span(ahead)),
        (Some(ahead), _) => format!("next in {}", span(ahead)),
        (None, _) => "next when Docker calls, or with gipam gc".to_owned(),
    };
    let looked = status.ago(status.looked.as_deref()).map(|ago| format!("{} ago", span(ago)));
    let Some(looked) = looked else { return vec![entry("repair", &format!("no check yet; {next}"))] };
    if status.findings == 0 {
        return vec![entry("repair", &format!("last check {looked}, no differences; {next}"))];
    }
    let found = counted(grouped(status.findings.into()), "finding");
    let ink = if status.duplicates > 0 { Ink::Red } else { Ink::Yellow };
    let first = entry("repair", "").and(ink, found);
    let mut lines = vec![first.and(Ink::Plain, format!(" {looked} (see gipam gc); {next}"))];
    lines.extend(status.suspects.iter().take(most).map(|finding| suspect(finding, status.now.as_deref())));
    lines
}

fn suspect(finding: &Finding, now: Option<&str>) -> Line {
    // If the date is today, the time alone is enough.
    let today = now.and_then(|now| now.split_once('T')).map(|(day, _)| format!("{day}T"));
    let action = today.map_or_else(|| finding.action.clone(), |today| finding.action.replace(&today, ""));
    let place = finding.address.as_deref().unwrap_or(&finding.subnet);
    let holder = finding.holder.as_ref().map(|holder| format!(" ({})", short(holder, 20)));
    let what = format!("{} {}{}: ", escaped(&finding.what), escaped(place), holder.unwrap_or_default());
    entry("", &what).quote(&action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Count;
    use crate::view::rows::{PlanRow, ProbedPool, ProbesRow, UnmadeObject};

    fn lines(plan: PlanRow) -> Vec<String> {
        let now = Some("2026-01-02T03:05:00Z".to_owned());
        let status = Status { running: true, now, plan: Some(plan), ..Status::default() };
        plan_lines(&status)
    }

    fn plan_lines(status: &Status) -> Vec<String> {
        let lines = plan(status, Frame { columns: 200, lines: 24 });
        lines.iter().map(|line| line.drawn(200, false).trim().to_owned()).collect()
    }

    fn row(store: Option<StoreRow>) -> PlanRow {
        let (held, hosts, room) = (2, 3, Count(30));
        PlanRow { host: Some("a".to_owned()), held, hosts, room, store, ..PlanRow::default() }
    }

    fn joined() -> StoreRow {
        let answered = Some("2026-01-02T03:04:53Z".to_owned());
        StoreRow { joined: true, answered, ..StoreRow::default() }
    }

    #[test]
    fn the_plan_says_what_this_host_has_and_what_it_lost() {
        let first = "plan       host a of 3: 2 slices held, room for 30 more subnets";
        assert_eq!(lines(row(None)), [first]);
        let free = PlanRow { leaving: 1, free: Some(Count(11)), ..row(None) };
        assert_eq!(lines(free), [format!("{first}, 1 leaving, 11 free")]);
        let lost = PlanRow { lost: 1, error: Some("plan.toml is empty".to_owned()), ..row(None) };
        let said = format!("{first}, 1 LOST to another host (see gipam slices)");
        assert_eq!(lines(lost), [said.as_str(), "plan.toml is empty"]);
        assert_eq!(plan_lines(&Status::default()), [""; 0], "a host alone has no plan");
    }

    #[test]
    fn the_routes_say_how_many_are_in_the_kernel_and_why_one_is_not() {
        let told = |row: KernelRow| {
            let status = Status { routes: Some(row), plan: Some(PlanRow::default()), ..Status::default() };
            plan_lines(&status).split_off(1)
        };
        let all = KernelRow { wanted: 6, kept: 6, ..KernelRow::default() };
        assert_eq!(told(all.clone()), ["6 routes in the kernel"]);
        let route = |prefix: &str, why: &str| {
            let (prefix, why) = (prefix.to_owned(), why.to_owned());
            UnmadeObject { prefix, why, ..UnmadeObject::default() }
        };
        let unmade = vec![route("10.8.16.0/20", "no link"), route("10.8.32.0/20", "no link")];
        let some = KernelRow { kept: 4, unmade, ..all };
        assert_eq!(told(some), ["2 of 6 routes NOT IN THE KERNEL", "10.8.16.0/20: no link"]);
        let none = KernelRow::failed(KindName::Routes, 6, "not allowed");
        assert_eq!(told(none), ["6 of 6 routes NOT IN THE KERNEL", "not allowed"]);
    }

    #[test]
    fn at_80_columns_the_first_reason_is_there_to_its_end() {
        let drawn = |lines: Vec<Line>| lines.iter().map(|line| line.drawn(80, false)).collect::<Vec<_>>();
        let why = "gipam may not change the neighbour entries of this host: it needs CAP_NET_ADMIN; install the drop-in \
            kernel-routes.conf (see docs/install.md)";
        let kernel = vec![
            KernelRow::failed(KindName::Proxies, 3, why),
            KernelRow::failed(KindName::Discards, 2, why),
            KernelRow {
                kind: KindName::Translations,
                wanted: 1,
                kept: 1,
                error: Some("it is foreign".to_owned()),
                unmade: Vec::new(),
            },
        ];
        let status = Status { kernel, ..Status::default() };
        assert_eq!(
            drawn(kernel_lines(&status)),
            [
                "kernel     3 of 3 proxy entries NOT IN THE KERNEL",
                "           gipam may not change the neighbour entries of this host: it needs",
                "           CAP_NET_ADMIN; install the drop-in kernel-routes.conf (see",
                "           docs/install.md)",
                "           2 of 2 discard routes NOT IN THE KERNEL",
                "           gipam may not change the neighbour entries of this host: it needs C..",
                "           1 translation WITHOUT EFFECT",
                "           it is foreign",
            ]
        );
        let why = "gipam may not send packets on eth0: it needs CAP_NET_RAW; install the drop-in lan-probes.conf (see \
            docs/install.md)";
        let pool = ProbedPool { pool: "lan".to_owned(), interface: None, error: Some(why.to_owned()) };
        let row = ProbesRow { pools: vec![pool], ..ProbesRow::default() };
        assert_eq!(
            drawn(probes(&Status { probes: Some(row), ..Status::default() }, Frame::NORMAL)),
            [
                "probes     0 addresses in quarantine (see gipam leases --state quarantined)",
                "           pool lan IS NOT PROBED: gipam may not send packets on eth0: it needs",
                "           CAP_NET_RAW; install the drop-in lan-probes.conf (see",
                "           docs/install.md)",
            ]
        );
    }

    fn kernel_lines(status: &Status) -> Vec<Line> {
        kernel(status, Frame::NORMAL)
    }

    #[test]
    fn the_store_of_the_plan_says_how_it_does() {
        let told = |store: StoreRow| lines(row(Some(store))).split_off(1);
        assert_eq!(told(joined()), ["etcd answered 7 s ago"]);
        assert_eq!(told(StoreRow::default()), ["this host has not joined the plan: gipam join"]);
        let stale = StoreRow {
            stale_since: Some("2026-01-02T03:00:00Z".to_owned()),
            trouble: Some("http://192.0.2.1:2379: connection refused".to_owned()),
            ..joined()
        };
        let expected = [
            "etcd NOT REACHABLE since 03:00:00 (5 min)",
            "http://192.0.2.1:2379: connection refused",
            "own slices go on to be served; new ones cannot be claimed",
        ];
        assert_eq!(told(stale), expected);
        let awaited = vec!["b".to_owned(), "c".to_owned()];
        let stopped = Some("another copy of these books is running".to_owned());
        let expected = [
            "THIS HOST CLAIMS NOTHING: another copy of these books is running",
            "etcd answered 7 s ago",
            "no host claims until these confirm their slices: b, c",
        ];
        assert_eq!(told(StoreRow { awaited, stopped, ..joined() }), expected);
        let status = Status { plan: Some(row(Some(joined()))), ..Status::default() };
        assert_eq!(plan_lines(&status).len(), 1, "without a daemon nobody knows how the store does");
    }
}
