//! `gipam doctor`: a healthy host, then one mistake after another, on a machine that is made of files.
//!
//! Promises: of this machine, only the routes and the clock are read.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;
#[path = "doctor/own_pools.rs"]
mod own_pools;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use daemon::{House, POOLS};
use gipam::config::{Options, Surroundings};
use gipam::doctor::{BooksPlace, DoctorFinding, Verdict, examine};

fn text(path: &Path) -> Option<String> {
    Some(path.display().to_string())
}

/// The flags that this house's daemon was started with.
fn flags(house: &House) -> Options {
    Options {
        config: text(&house.path("gipam.toml")),
        file: text(&house.path("gipam.db")),
        socket: text(&house.socket()),
        v4: Some(POOLS[1].to_owned()),
        v6: Some(POOLS[3].to_owned()),
        ..Options::default()
    }
}

/// Runs the checks for this house, on a machine whose files are under its `root`.
fn diagnose(house: &House) -> Vec<DoctorFinding> {
    let place = BooksPlace { root: house.path("root") };
    let surroundings =
        Surroundings { directory: house.directory.path().to_owned(), ..Surroundings::default() };
    examine(&flags(house), &surroundings, &place)
}

/// Verdicts and texts of the findings of one check.
fn of<'a>(findings: &'a [DoctorFinding], check: &str) -> Vec<(Verdict, &'a str)> {
    let of = findings.iter().filter(|finding| finding.check == check);
    of.map(|finding| (finding.verdict, finding.found.as_str())).collect()
}

fn house() -> House {
    let house = House::new(&POOLS);
    house.configure("[gc]\nengine = \"\"\n");
    house
}

fn put(house: &House, path: &str, content: &str) {
    let path = house.path("root").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn unreadable_certificates_of_a_hook_do_not_hide_other_findings() {
    let house = house();
    let hook = "[[hook]]\nname = \"x\"\nurl = \"https://192.0.2.80/\"\nca = \"missing.pem\"\n";
    house.configure(&format!("[gc]\nengine = \"\"\n{hook}"));
    let findings = diagnose(&house);
    let [(verdict, found)] = of(&findings, "configuration")[..] else { panic!("{findings:?}") };
    assert_eq!(verdict, Verdict::Wrong);
    assert!(found.contains("missing.pem: No such file"), "{found}");
    assert!(!of(&findings, "driver gipam").is_empty(), "{findings:?}");
}

#[test]
fn a_running_daemon_with_its_books_and_its_socket_is_well() {
    let house = house();
    let daemon = house.start();
    let findings = diagnose(&house);
    for check in ["books", "disk", "daemon", "driver gipam", "clock"] {
        let found = of(&findings, check);
        assert!(
            !found.is_empty() && found.iter().all(|(verdict, _)| *verdict == Verdict::Well),
            "{check}: {found:?}"
        );
    }
    daemon.kill();
    let findings = diagnose(&house);
    assert_eq!(of(&findings, "books")[0].0, Verdict::Well, "the books are whole without a daemon");
    assert_eq!(of(&findings, "daemon")[0].0, Verdict::Wrong);
    let (verdict, found) = of(&findings, "driver gipam")[0];
    assert_eq!(verdict, Verdict::Wrong);
    assert!(found.contains("is stale: no process listens"), "{found}");
    assert!(
        findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Wrong)
            .all(|finding| finding.advice.is_some())
    );
}

#[test]
fn damaged_books_and_a_foreign_plugin_are_wrong() {
    let house = house();
    fs::write(house.path("gipam.db"), "no books").unwrap();
    let _other = std::os::unix::net::UnixListener::bind(house.socket()).unwrap();
    let findings = diagnose(&house);
    assert_eq!(of(&findings, "books")[0].0, Verdict::Wrong);
    let (verdict, found) = of(&findings, "driver gipam")[0];
    assert_eq!(verdict, Verdict::Wrong, "{found}");
}

#[test]
fn pools_that_overlap_dockers_own_are_wrong() {
    let house = house();
    put(
        &house,
        "etc/docker/daemon.json",
        r#"{"default-address-pools": [{"base": "198.18.0.0/15", "size": 24}]}"#,
    );
    let (verdict, found) =
        of(&diagnose(&house), "Docker's own pools").first().map(|(v, f)| (*v, (*f).to_owned())).unwrap();
    assert_eq!(verdict, Verdict::Wrong);
    assert!(found.contains("overlaps pool default (198.18.0.0/16)"), "{found}");
    put(
        &house,
        "etc/docker/daemon.json",
        r#"{"default-address-pools": [{"base": "172.30.0.0/16", "size": 24}]}"#,
    );
    assert_eq!(of(&diagnose(&house), "Docker's own pools")[0].0, Verdict::Well);
    put(&house, "etc/docker/daemon.json", "{");
    assert_eq!(of(&diagnose(&house), "Docker's own pools")[0].0, Verdict::Warning);
}

#[test]
fn p3_gipam_must_start_before_docker() {
    let house = house();
    assert_eq!(
        of(&diagnose(&house), "boot order")[0].0,
        Verdict::Unknown,
        "the machine does not run systemd"
    );
    fs::create_dir_all(house.path("root/run/systemd/system")).unwrap();
    assert!(of(&diagnose(&house), "boot order")[0].1.contains("gipam.service is not installed"));
    put(&house, "lib/systemd/system/gipam.service", "[Unit]\nDescription=x\n");
    assert!(of(&diagnose(&house), "boot order")[0].1.contains("does not have Before=docker.service"));
    put(&house, "lib/systemd/system/gipam.service", include_str!("../packaging/systemd/gipam.service"));
    assert!(of(&diagnose(&house), "boot order")[0].1.contains("not enabled"));
    let wants = house.path("root/etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    symlink("/lib/systemd/system/gipam.service", wants.join("gipam.service")).unwrap();
    assert_eq!(of(&diagnose(&house), "boot order")[0].0, Verdict::Well);
}

#[test]
fn forwarding_and_advertised_routes_are_checked() {
    let house = house();
    put(&house, "proc/sys/net/ipv4/ip_forward", "0\n");
    put(&house, "proc/sys/net/ipv6/conf/all/disable_ipv6", "0\n");
    put(&house, "proc/sys/net/ipv6/conf/all/forwarding", "1\n");
    let verdicts = |findings: &[DoctorFinding], check: &str| {
        of(findings, check).iter().map(|(v, _)| *v).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&diagnose(&house), "forwarding"), [Verdict::Warning, Verdict::Well]);
    let zeros = "0".repeat(32);
    let route = format!(
        "{zeros} 00 {zeros} 00 fe80{} 00000400 00000001 00000000 00450003     eth0\n",
        "0".repeat(28)
    );
    put(&house, "proc/net/ipv6_route", &route);
    put(&house, "proc/sys/net/ipv6/conf/eth0/accept_ra", "1\n");
    let found = diagnose(&house);
    assert!(of(&found, "IPv6")[0].1.contains("comes from router advertisements on eth0"), "{found:?}");
    put(&house, "proc/sys/net/ipv6/conf/eth0/accept_ra", "2\n");
    assert!(of(&diagnose(&house), "IPv6").is_empty());
    put(&house, "proc/sys/net/ipv6/conf/all/disable_ipv6", "1\n");
    assert_eq!(of(&diagnose(&house), "IPv6")[0].0, Verdict::Wrong);
}

#[test]
fn the_command_prints_the_remedy_and_fails_if_something_is_wrong() {
    let house = house();
    let arguments: Vec<&str> = house.arguments.iter().map(String::as_str).collect();
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gipam"));
        command.args(&arguments).args(more).env_clear().output().unwrap()
    };
    let said = run(&["doctor"]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(
        text.contains("WRONG   daemon: ") && text.contains("        start the daemon: systemctl start gipam"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_slice(&run(&["doctor", "--json"]).stdout).unwrap();
    assert!(json.as_array().unwrap().iter().any(|row| row["check"] == "daemon" && row["verdict"] == "wrong"));
}

/// Answers as an Engine does, until the test ends: its version, and these networks.
fn engine(socket: &Path, networks: serde_json::Value) {
    use std::io::{Read, Write};
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4_096];
            let Ok(read) = stream.read(&mut head) else { continue };
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let body = match head.contains("/networks") {
                true => networks.to_string(),
                false => serde_json::json!({"Version": "28.5.2"}).to_string(),
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn p29_an_ipvlan_network_under_a_name_that_asks_for_macs_is_wrong_and_the_remedy_is_named() {
    let house = House::new(&POOLS);
    let socket = house.path("engine.sock");
    let network = |name: &str, kind: &str, driver: &str| serde_json::json!({"Name": name, "Driver": kind, "IPAM": {"Driver": driver}});
    engine(
        &socket,
        serde_json::json!([
            network("broken", "ipvlan", "gipam"),
            network("fine", "ipvlan", "without"),
            network("bridge", "bridge", "gipam"),
            network("theirs", "ipvlan", "default"),
        ]),
    );
    house.configure(&format!(
        "[gc]\nengine = \"{}\"\n[driver.without]\nrequires_mac_address = false\n",
        socket.display()
    ));
    let findings = diagnose(&house);
    let [(verdict, found)] = of(&findings, "ipvlan")[..] else { panic!("{findings:?}") };
    assert_eq!(verdict, Verdict::Wrong);
    assert!(
        found.contains("network broken cannot start") && found.contains("gipam asks Docker for MACs"),
        "{found}"
    );
    let advice = findings.iter().find(|finding| finding.check == "ipvlan").unwrap().advice.clone().unwrap();
    assert!(advice.contains("requires_mac_address = false"), "{advice}");
}

#[test]
fn with_admin_only_that_daemon_is_checked_and_the_worst_finding_comes_first() {
    let house = house();
    let daemon = house.start();
    let other = House::new(&POOLS);
    let elsewhere = other.path("other.sock").display().to_string();
    let doctor = |admin: &str, more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gipam"));
        command.current_dir(other.directory.path()).env_clear().args(["doctor", "--admin", admin]).args(more);
        let output = command.output().unwrap();
        let (out, said) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        (output.status.code().unwrap(), out, said)
    };
    let admin = house.admin().display().to_string();
    let (code, out, _) = doctor(&admin, &["--json"]);
    let findings: Vec<DoctorFinding> = serde_json::from_str(&out).unwrap();
    let one = |check: &str| {
        let [(verdict, found)] = of(&findings, check)[..] else { panic!("{check}: {findings:?}") };
        (verdict, found.to_owned())
    };
    assert_eq!((code, one("daemon").0, one("driver gipam").0), (0, Verdict::Well, Verdict::Well), "{out}");
    assert!(one("books").1.contains(&house.path("gipam.db").display().to_string()), "{out}");
    assert!(one("driver gipam").1.contains(&house.socket().display().to_string()), "{out}");
    // Neither this directory's configuration and books nor this machine's Docker is checked.
    for check in ["configuration", "Docker's own pools", "boot order", "ipvlan"] {
        assert!(of(&findings, check).is_empty(), "{out}");
    }
    let (code, out, said) = doctor(&elsewhere, &[]);
    assert!(code == 1 && out.starts_with("WRONG   daemon: ") && out.contains(&elsewhere), "{out}");
    assert_eq!(said, "gipam: found 1 problem on this host; see above\n");
    daemon.stop();
    fs::remove_file(house.socket()).ok();
    let (_, out, said) = doctor(&elsewhere, &["--file", &house.path("gipam.db").display().to_string()]);
    assert!(said.ends_with(" problems on this host; see above\n"), "{said}");
    let verdict =
        |line: &str| ["WRONG", "WARNING", "unknown", "well"].iter().position(|it| line.starts_with(it));
    let order: Vec<usize> = out.lines().filter_map(verdict).collect();
    assert!(order.is_sorted() && order.len() > 2, "{out}");
    assert!(out.lines().last().unwrap().contains(" wrong, "), "{out}");
}
