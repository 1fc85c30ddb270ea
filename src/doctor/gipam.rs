//! Checks of gipam itself: its configuration, its books and their disk, its daemon, its listeners.
//!
//! Promises: reads the books as views do, even while a daemon runs; asks a listener only to identify itself.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use super::DoctorReport;
use crate::config::{Config, Content, DoorSettings};
use crate::plan::settings::PoolSettings;
use crate::server::client::{ClientError, request_blocking};
use crate::store::Reader;
use crate::store::log::{LONG, log_in_use};
use crate::text::counted;
use crate::view::rows::KernelRow;

/// How long to wait for a listener to identify itself.
const PATIENCE: Duration = Duration::from_secs(3);
/// The advice if no Engine is configured.
pub(super) const NO_ENGINE: &str = "set gc.engine, so that gipam can find releases that Docker lost";
/// Less free space than this on the disk of the books is a problem.
const ROOM: u64 = 64 << 20;

/// Reports the warnings of the configuration, or its driver names if there are none.
pub(super) fn configuration(report: &mut DoctorReport, config: &Config) {
    for warning in &config.warnings {
        report.warning("configuration", warning.clone(), "see gipam config show");
    }
    if config.warnings.is_empty() {
        let names: Vec<&str> = config.drivers.iter().map(|driver| driver.name.as_str()).collect();
        report.well("configuration", format!("drivers: {}", names.join(", ")));
    }
}

/// Reads the whole books, checks their disk, and returns the pools in force.
pub(super) fn books(report: &mut DoctorReport, config: &Config) -> Vec<PoolSettings> {
    let configured = config.settings.pools.clone();
    let wanted = config.file.resolve(Content::Absent).books;
    let path = config.file.existing().unwrap_or(&wanted);
    let pools = whole(report, path, configured);
    disk(report, path);
    if pools.is_empty() {
        report.wrong(
            "pools",
            "no pools are configured",
            "give -v4, -v6 or a [[pool]] in /etc/gipam/gipam.toml",
        );
    }
    pools
}

/// Reads the whole books; returns their pools, or `configured` if the books have none.
fn whole(report: &mut DoctorReport, path: &Path, configured: Vec<PoolSettings>) -> Vec<PoolSettings> {
    let plan = Reader::open(path).and_then(|reader| reader.plan());
    match plan {
        Ok(plan) => {
            let held = plan.subnets().filter(|subnet| subnet.is_held()).count();
            report.well("books", format!("{} is intact: {} held", path.display(), counted(held, "subnet")));
            plan.settings().pools.clone()
        }
        Err(crate::store::StoreError::Absent(_)) => {
            let advice = "the first start creates them; to check other books, give --file PATH";
            report.warning("books", format!("no books found at {}", path.display()), advice);
            configured
        }
        Err(error) => {
            let advice = "stop gipam, then restore a backup: gipam restore FILE";
            report.wrong("books", error.to_string(), advice);
            configured
        }
    }
}

/// Reports the free space on the disk of the books, and the size of their WAL.
fn disk(report: &mut DoctorReport, books: &Path) {
    let directory = books.ancestors().skip(1).find(|directory| directory.is_dir());
    let Some(space) = directory.and_then(|directory| rustix::fs::statvfs(directory).ok()) else {
        return report
            .unknown("disk", format!("cannot read the free space on the disk of {}", books.display()));
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let found = format!("{} MiB free on the disk of the books", free >> 20);
    if free < ROOM {
        report.wrong("disk", found, "free some space: on a full disk gipam refuses new addresses");
    } else {
        report.well("disk", found);
    }
    if let Some(size) = log_in_use(books).filter(|size| *size > LONG) {
        let advice =
            "a long-running reader (an open sqlite3 shell?) keeps the WAL from being reset; close it";
        report.warning("disk", format!("the WAL of the books has grown to {} MiB", size >> 20), advice);
    }
}

/// Reports whether the daemon answers; returns its status if it does.
pub(super) fn daemon(report: &mut DoctorReport, admin: &Path) -> Option<serde_json::Value> {
    let answer = request_blocking(admin, "GET", "/v1/status", Vec::new(), PATIENCE);
    match answer {
        Ok(reply) if reply.status == 200 => {
            let status: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            let text = |key: &str| status[key].as_str().unwrap_or("?").to_owned();
            report.well(
                "daemon",
                format!("gipam {} has been running since {}", text("version"), text("started")),
            );
            if let Some(error) = status["last_error"].as_str() {
                let advice = "see the daemon's log: journalctl -u gipam";
                report.warning(
                    "daemon",
                    format!("last error, at {}: {error}", text("last_error_at")),
                    advice,
                );
            }
            duplicates(report, &status);
            hooks(report, &status["hooks"]);
            filling(report, &status["filling"]);
            plan(report, &status["plan"]);
            kernel(report, &status["kernel"]);
            probes(report, &status["probes"]);
            return Some(status);
        }
        Ok(reply) => {
            let found = format!("{} answers with status {}", admin.display(), reply.status);
            report.wrong(
                "daemon",
                found,
                "if the socket belongs to another program, give gipam's socket with --admin PATH",
            );
        }
        Err(ClientError::Unreachable { path, .. }) => {
            let advice = "start the daemon: systemctl start gipam, or gipam serve";
            report.wrong("daemon", format!("no daemon listens at {}", path.display()), advice);
        }
        Err(error) => report.wrong("daemon", error.to_string(), "see the daemon's log: journalctl -u gipam"),
    }
    None
}

/// Reports on the daemon behind this socket from its status: books, listeners, Engine. Returns its pools.
pub(super) fn of_daemon(report: &mut DoctorReport, admin: &Path) -> Vec<PoolSettings> {
    let Some(status) = daemon(report, admin) else { return Vec::new() };
    let path = Path::new(status["books"].as_str().unwrap_or_default());
    let pools = whole(report, path, Vec::new());
    disk(report, path);
    let texts = |key: &str| -> Vec<String> {
        let listed = status[key].as_array().into_iter().flatten();
        listed.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    for (name, door) in texts("names").iter().zip(texts("doors")) {
        let check = format!("driver {name}");
        match door.strip_prefix("unix://") {
            Some(path) => socket(report, &check, Path::new(path)),
            None => report.unknown(&check, format!("listens at {door}")),
        }
    }
    match (status["repair"].as_bool(), status["engine"].as_bool()) {
        (Some(true), Some(true)) => report.well("Engine", "answers"),
        (Some(true), Some(false)) => {
            let why = status["engine_error"].as_str().unwrap_or("it does not answer").to_owned();
            report.warning("Engine", why, "start Docker, or set gc.engine to its API socket");
        }
        (Some(true), None) => report.unknown("Engine", "not checked yet"),
        _ => report.warning("Engine", "repair is off (gc.engine is empty)", NO_ENGINE),
    }
    pools
}

/// Reports addresses that two containers use at the same time.
fn duplicates(report: &mut DoctorReport, status: &serde_json::Value) {
    let suspects = status["suspects"].as_array();
    for row in suspects.into_iter().flatten().filter(|row| row["what"] == "duplicate") {
        let text = |key: &str| row[key].as_str().unwrap_or("?").to_owned();
        let advice = "disconnect one of the two (docker network disconnect NETWORK CONTAINER), then connect it again; to list all: gipam gc";
        report.wrong("duplicate address", format!("{}: {}", text("address"), text("why")), advice);
    }
}

/// Reports pools and subnets that are filling up, according to the daemon.
fn filling(report: &mut DoctorReport, rows: &serde_json::Value) {
    for row in rows.as_array().into_iter().flatten() {
        let what = match (row["subnet"].as_str(), row["pool"].as_str(), row["family"].as_str()) {
            (Some(subnet), ..) => format!("subnet {subnet}"),
            (None, pool, family) => format!("pool {} ({})", pool.unwrap_or("?"), family.unwrap_or("?")),
        };
        let found = format!("{what} is {}% full (warn_at is {}%)", row["percent"], row["warn_at"]);
        let advice = "remove unused networks and containers, or enlarge the pool or subnet; warn_at sets the threshold";
        report.warning("filling", found, advice);
    }
}

/// Reports on the slices of this host, if several hosts divide the pools.
fn plan(report: &mut DoctorReport, row: &serde_json::Value) {
    let count = |key: &str| row[key].as_u64().unwrap_or(0);
    let host = row["host"].as_str().unwrap_or("?");
    let store = &row["store"];
    if let Some(error) = row["error"].as_str() {
        let advice = match store.is_object() {
            true => "the slices stay as they are; see gipam hosts and gipam slices",
            false => "the slices stay as they are; mend the file, then run gipam reload",
        };
        report.wrong("plan", error.to_owned(), advice);
    }
    if store.is_object() {
        plan_store(report, host, store);
    }
    if count("lost") > 0 {
        let found = format!("host {host} has networks in {} of other hosts", counted(count("lost"), "slice"));
        report.wrong(
            "plan",
            found,
            "remove these networks, or give the slices back to this host; see gipam slices",
        );
    }
    // With a store, the first network gets the first slice.
    if row.is_object() && count("held") == 0 && !store.is_object() {
        let found = format!("host {host} has no slice, so divided pools give no subnets here");
        report.warning("plan", found, "add slices to this host in the plan file, then run gipam reload");
    }
    if count("held") > 0 {
        report.well("plan", format!("host {host} holds {}", counted(count("held"), "slice")));
    }
}

/// Reports whether what gipam keeps in the kernel is there.
fn kernel(report: &mut DoctorReport, rows: &serde_json::Value) {
    let rows: Vec<KernelRow> = serde_json::from_value(rows.clone()).unwrap_or_default();
    for row in rows {
        let (name, kind) = (row.kind.name(), row.kind);
        if let Some(error) = row.error {
            report.wrong(name, error, format!("see {}", kind.page()));
        }
        for object in row.unmade.iter().take(9) {
            let found = format!("{} {}: {}", kind.lacking(), object.prefix, object.why);
            report.warning(name, found, kind.advice());
        }
        if row.kept == row.wanted {
            report.well(name, format!("{} in the kernel", counted(row.kept, kind.one())));
        }
    }
}

/// Reports whether the addresses of pools with `probe` are probed.
fn probes(report: &mut DoctorReport, row: &serde_json::Value) {
    for row in row["pools"].as_array().into_iter().flatten() {
        let name = row["pool"].as_str().unwrap_or("?");
        match (row["interface"].as_str(), row["error"].as_str()) {
            (_, Some(why)) => {
                let found = format!("the addresses of pool {name} are given without a probe: {why}");
                report.wrong("probes", found, "see docs/ipv6.md");
            }
            (Some(interface), None) => report.well("probes", format!("pool {name} is probed on {interface}")),
            (None, None) => {}
        }
    }
}

/// Reports whether the plan's store answers, and whether this host may claim slices.
fn plan_store(report: &mut DoctorReport, host: &str, store: &serde_json::Value) {
    if store["joined"] != true {
        let found = format!("host {host} has not joined the plan, so divided pools give no subnets here");
        return report.wrong("plan", found, "join it: gipam join");
    }
    if let Some(why) = store["stopped"].as_str() {
        report.wrong(
            "plan",
            format!("host {host} claims nothing: {why}"),
            "its networks go on; gipam hosts lists the hosts of the plan",
        );
    }
    if let Some(since) = store["stale_since"].as_str() {
        let why = store["trouble"].as_str().unwrap_or("no answer");
        report.wrong(
            "plan",
            format!("etcd has not answered since {since}: {why}"),
            "own slices go on to be served, but new ones cannot be claimed; check the members with etcdctl endpoint health",
        );
    }
    let awaited: Vec<&str> =
        store["awaited"].as_array().into_iter().flatten().filter_map(|it| it.as_str()).collect();
    if !awaited.is_empty() {
        report.warning(
            "plan",
            format!(
                "no host claims slices until these confirm theirs after the restore: {}",
                awaited.join(", ")
            ),
            "start these hosts; for one that is gone for good: gipam hosts forget NAME",
        );
    }
}

/// Reports whether all hooks receive their events.
fn hooks(report: &mut DoctorReport, rows: &serde_json::Value) {
    for row in rows.as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str().unwrap_or("?").to_owned();
        let check = format!("hook {}", text("hook"));
        let waiting = row["behind"].as_u64().unwrap_or(0);
        let waiting = counted(waiting, "event");
        if row["last_error"].is_string() {
            let found =
                format!("failing since {}, {waiting} queued: {}", text("failing_since"), text("last_error"));
            report.warning(
                &check,
                found,
                "fix the hook's program or server; queued events are then delivered (docs/hooks.md)",
            );
        } else {
            report.well(&check, format!("delivered up to {}, {waiting} queued", row["upto"]));
        }
    }
}

/// Checks whether Docker finds each driver name, and whether it finds gipam there.
pub(super) fn doors(report: &mut DoctorReport, config: &Config) {
    for driver in &config.drivers {
        let check = format!("driver {}", driver.name);
        let files =
            ["spec", "json"].map(|ending| config.plugin_dirs.specs.join(format!("{}.{ending}", driver.name)));
        let there: Vec<String> =
            files.iter().filter(|file| file.exists()).map(|file| file.display().to_string()).collect();
        match &driver.door {
            DoorSettings::Unix { path } => {
                socket(report, &check, path);
                if !there.is_empty() {
                    let found = format!("{} is left over from an earlier TCP address", there.join(", "));
                    report.warning(
                        &check,
                        found,
                        "remove the file: Docker would use it whenever the socket is missing",
                    );
                }
            }
            DoorSettings::Tcp { address, .. } if there.is_empty() => {
                let found = format!("no plugin file announces {address} to Docker");
                report.wrong(&check, found, "start gipam: it writes the file when it listens");
            }
            DoorSettings::Tcp { .. } => {
                report.well(&check, format!("Docker finds the driver through {}", there.join(", ")))
            }
        }
    }
}

/// Checks which program listens on a plugin socket.
fn socket(report: &mut DoctorReport, check: &str, path: &Path) {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Err(_) => {
            let advice = "start gipam, or enable gipam.socket";
            return report.wrong(check, format!("socket {shown} does not exist"), advice);
        }
        Ok(found) if !found.file_type().is_socket() => {
            return report.wrong(
                check,
                format!("{shown} is not a socket"),
                "move the file away, then start gipam",
            );
        }
        Ok(_) => {}
    }
    match request_blocking(path, "POST", "/Plugin.Activate", Vec::new(), PATIENCE) {
        Ok(reply) if String::from_utf8_lossy(&reply.body).contains("IpamDriver") => {
            report.well(check, format!("an IPAM driver answers at {shown}"));
        }
        Ok(reply) => {
            let found = format!("the program at {shown} is not an IPAM driver (status {})", reply.status);
            report.wrong(check, found, "another plugin uses this name; choose a different one with --name");
        }
        Err(ClientError::Unreachable { .. }) => {
            report.wrong(
                check,
                format!("{shown} is stale: no process listens on it"),
                "start gipam: it replaces the file",
            );
        }
        Err(error) => report.wrong(check, error.to_string(), "see the log: journalctl -u gipam"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::doctor::Verdict;

    fn said(row: Value) -> Vec<(Verdict, String)> {
        let mut report = DoctorReport::default();
        plan(&mut report, &row);
        report.0.into_iter().map(|finding| (finding.verdict, finding.found)).collect()
    }

    #[test]
    fn the_plan_is_reported_with_its_store() {
        let host = |store: Value| json!({"host": "a", "held": 2, "lost": 0, "store": store});
        let well = (Verdict::Well, "host a holds 2 slices".to_owned());
        assert_eq!(said(host(json!({"joined": true, "awaited": []}))), std::slice::from_ref(&well));
        let stale = json!({"joined": true, "stale_since": "2026-01-02T03:04:05Z", "trouble": "refused", "awaited": ["b"]});
        let expected = [
            (Verdict::Wrong, "etcd has not answered since 2026-01-02T03:04:05Z: refused".to_owned()),
            (
                Verdict::Warning,
                "no host claims slices until these confirm theirs after the restore: b".to_owned(),
            ),
            well,
        ];
        assert_eq!(said(host(stale)), expected);
        let text = "host a has not joined the plan, so divided pools give no subnets here";
        assert_eq!(
            said(json!({"host": "a", "store": {"joined": false}})),
            [(Verdict::Wrong, text.to_owned())]
        );
        assert_eq!(said(Value::Null), [], "a host alone has no plan");
    }

    #[test]
    fn slices_that_another_host_has_and_a_plan_file_that_cannot_be_used_are_wrong() {
        let found = said(json!({"host": "a", "held": 0, "lost": 1, "error": "/p is empty", "store": null}));
        let expected = [
            (Verdict::Wrong, "/p is empty".to_owned()),
            (Verdict::Wrong, "host a has networks in 1 slice of other hosts".to_owned()),
            (Verdict::Warning, "host a has no slice, so divided pools give no subnets here".to_owned()),
        ];
        assert_eq!(found, expected);
    }
}
