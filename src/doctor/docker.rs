//! The Docker Engine: its version, the limitations of that version, and the start order.
//!
//! Promises: reads `/version` over the API socket and two files; the limitations of each major version of the Engine were
//! observed in real runs (see the version table of the protocol in `docs/`).

use std::time::Duration;

use super::gipam::NO_ENGINE;
use super::{BooksPlace, DoctorReport, UNITS};
use crate::config::Config;
use crate::server::client::{ClientError, encoded, request_blocking};

/// How long to wait for the Engine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks whether the Engine answers, and reports the limitations of its version.
pub(super) fn engine(report: &mut DoctorReport, config: &Config) {
    let Some(socket) = &config.gc.engine else {
        return report.warning("Engine", "repair is off (gc.engine is empty)", NO_ENGINE);
    };
    let reply = match request_blocking(socket, "GET", "/version", Vec::new(), PATIENCE) {
        Ok(reply) => reply,
        Err(error) => {
            let found = match error {
                ClientError::Unreachable { .. } => format!("no Engine listens at {}", socket.display()),
                other => other.to_string(),
            };
            return report.warning("Engine", found, "start Docker, or set gc.engine to its API socket");
        }
    };
    let version: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let Some(text) = version["Version"].as_str() else {
        return report.unknown("Engine", format!("{} does not report its version", socket.display()));
    };
    let Some(major) = text.split('.').next().and_then(|major| major.parse::<u32>().ok()) else {
        return report.unknown("Engine", format!("cannot parse version {text}"));
    };
    let mut limits = Vec::new();
    if major < 28 {
        limits.push("no IPv6-only networks before Engine 28");
    }
    if major < 29 {
        limits.push("containers are recognized only by MAC, because Engines before 29 do not send names");
    }
    let limits = if limits.is_empty() { String::new() } else { format!("; {}", limits.join("; ")) };
    report.well("Engine", format!("Docker {text}{limits}"));
}

/// ipvlan refuses every requested MAC, and Docker generates one for a driver that requires MACs (P29), so the containers of
/// such a network do not start.
pub(super) fn ipvlan(report: &mut DoctorReport, config: &Config) {
    const CHECK: &str = "ipvlan";
    let asks = config.drivers.iter().filter(|driver| driver.requires_mac_address);
    let asks: Vec<&str> = asks.map(|driver| driver.name.as_str()).collect();
    let Some(socket) = config.gc.engine.as_ref().filter(|_| !asks.is_empty()) else { return };
    // An Engine that does not answer is reported elsewhere.
    let path = format!("/networks?filters={}", encoded(r#"{"driver":["ipvlan"]}"#));
    let Ok(reply) = request_blocking(socket, "GET", &path, Vec::new(), PATIENCE) else { return };
    let networks: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    for network in networks.as_array().into_iter().flatten().filter(|it| it["Driver"] == "ipvlan") {
        let (Some(name), Some(driver)) = (network["Name"].as_str(), network["IPAM"]["Driver"].as_str())
        else {
            continue;
        };
        if !asks.contains(&driver) {
            continue;
        }
        let name = name.escape_debug();
        report.wrong(
            CHECK,
            format!("containers of the ipvlan network {name} cannot start: its driver {driver} asks Docker for MACs"),
            format!(
                "add a driver name with requires_mac_address = false, restart gipam, and recreate {name} with it; see \
                 docs/troubleshooting.md, \"ipvlan interfaces do not support custom mac address assignment\""
            ),
        );
    }
}

/// gipam must start before Docker: a missing driver delays Docker by 15 s per network, and the containers stay down.
pub(super) fn boot_order(report: &mut DoctorReport, place: &BooksPlace) {
    const CHECK: &str = "boot order";
    if !place.path("/run/systemd/system").is_dir() {
        return report.unknown(
            CHECK,
            "systemd does not run here: let the program that starts Docker start gipam first",
        );
    }
    let Some(unit) = UNITS.iter().find_map(|folder| place.text(&format!("{folder}/gipam.service"))) else {
        let advice = "install the unit; see docs/install.md";
        return report.warning(CHECK, "gipam.service is not installed: nothing starts gipam at boot", advice);
    };
    let before = unit
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Before="))
        .any(|list| list.contains("docker.service"));
    let wants = ["multi-user.target.wants/gipam.service", "sockets.target.wants/gipam.socket"];
    let enabled = wants
        .iter()
        .any(|link| place.path(&format!("/etc/systemd/system/{link}")).symlink_metadata().is_ok());
    match (before, enabled) {
        (false, _) => report.warning(
            CHECK,
            "gipam.service does not have Before=docker.service",
            "use the unit that comes with gipam",
        ),
        (true, false) => report.warning(
            CHECK,
            "gipam.service is not enabled",
            "systemctl enable gipam.socket gipam.service",
        ),
        (true, true) => report.well(CHECK, "gipam is started before Docker"),
    }
}
