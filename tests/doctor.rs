//! `gipam doctor`: a host that is well, and one mistake after another on a machine that is made up of files.
//!
//! Promises: nothing of this machine but its routes and its clock is looked at.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use daemon::{House, POOLS};
use gipam::config::{Options, Surroundings};
use gipam::doctor::{Finding, Place, Verdict, examine};

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

/// Looks at this house on a machine whose files lie under its `root`.
fn look(house: &House) -> Vec<Finding> {
    let place = Place { root: house.path("root") };
    let surroundings =
        Surroundings { directory: house.directory.path().to_owned(), ..Surroundings::default() };
    examine(&flags(house), &surroundings, &place)
}

/// Verdicts and words of what was found by one check.
fn of<'a>(findings: &'a [Finding], check: &str) -> Vec<(Verdict, &'a str)> {
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
fn a_hooks_certificates_that_cannot_be_read_are_said_beside_everything_else() {
    let house = house();
    let hook = "[[hook]]\nname = \"x\"\nurl = \"https://192.0.2.80/\"\nca = \"missing.pem\"\n";
    house.configure(&format!("[gc]\nengine = \"\"\n{hook}"));
    let findings = look(&house);
    let [(verdict, found)] = of(&findings, "configuration")[..] else { panic!("{findings:?}") };
    assert_eq!(verdict, Verdict::Wrong);
    assert!(found.contains("missing.pem: No such file"), "{found}");
    assert!(!of(&findings, "driver gipam").is_empty(), "{findings:?}");
}

#[test]
fn a_running_daemon_with_its_books_and_its_door_is_well() {
    let house = house();
    let daemon = house.start();
    let findings = look(&house);
    for check in ["books", "disk", "daemon", "driver gipam", "clock"] {
        let found = of(&findings, check);
        assert!(
            !found.is_empty() && found.iter().all(|(verdict, _)| *verdict == Verdict::Well),
            "{check}: {found:?}"
        );
    }
    daemon.kill();
    let findings = look(&house);
    assert_eq!(of(&findings, "books")[0].0, Verdict::Well, "the books are whole without a daemon");
    assert_eq!(of(&findings, "daemon")[0].0, Verdict::Wrong);
    let (verdict, found) = of(&findings, "driver gipam")[0];
    assert_eq!(verdict, Verdict::Wrong);
    assert!(found.contains("is stale: nobody listens"), "{found}");
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
    let findings = look(&house);
    assert_eq!(of(&findings, "books")[0].0, Verdict::Wrong);
    let (verdict, found) = of(&findings, "driver gipam")[0];
    assert_eq!(verdict, Verdict::Wrong, "{found}");
}

#[test]
fn pools_that_docker_has_too_are_wrong() {
    let house = house();
    put(
        &house,
        "etc/docker/daemon.json",
        r#"{"default-address-pools": [{"base": "198.18.0.0/15", "size": 24}]}"#,
    );
    let (verdict, found) =
        of(&look(&house), "Docker's own pools").first().map(|(v, f)| (*v, (*f).to_owned())).unwrap();
    assert_eq!(verdict, Verdict::Wrong);
    assert!(found.contains("overlaps pool default (198.18.0.0/16)"), "{found}");
    put(
        &house,
        "etc/docker/daemon.json",
        r#"{"default-address-pools": [{"base": "172.30.0.0/16", "size": 24}]}"#,
    );
    assert_eq!(of(&look(&house), "Docker's own pools")[0].0, Verdict::Well);
    put(&house, "etc/docker/daemon.json", "{");
    assert_eq!(of(&look(&house), "Docker's own pools")[0].0, Verdict::Warning);
}

#[test]
fn p3_gipam_must_start_before_docker() {
    let house = house();
    assert_eq!(of(&look(&house), "boot order")[0].0, Verdict::Unknown, "no systemd");
    fs::create_dir_all(house.path("root/run/systemd/system")).unwrap();
    assert!(of(&look(&house), "boot order")[0].1.contains("gipam.service is not installed"));
    put(&house, "lib/systemd/system/gipam.service", "[Unit]\nDescription=x\n");
    assert!(of(&look(&house), "boot order")[0].1.contains("does not say Before=docker.service"));
    put(&house, "lib/systemd/system/gipam.service", include_str!("../packaging/systemd/gipam.service"));
    assert!(of(&look(&house), "boot order")[0].1.contains("not enabled"));
    let wants = house.path("root/etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    symlink("/lib/systemd/system/gipam.service", wants.join("gipam.service")).unwrap();
    assert_eq!(of(&look(&house), "boot order")[0].0, Verdict::Well);
}

#[test]
fn forwarding_and_advertised_routes_are_looked_at() {
    let house = house();
    put(&house, "proc/sys/net/ipv4/ip_forward", "0\n");
    put(&house, "proc/sys/net/ipv6/conf/all/disable_ipv6", "0\n");
    put(&house, "proc/sys/net/ipv6/conf/all/forwarding", "1\n");
    let verdicts =
        |findings: &[Finding], check: &str| of(findings, check).iter().map(|(v, _)| *v).collect::<Vec<_>>();
    assert_eq!(verdicts(&look(&house), "forwarding"), [Verdict::Warning, Verdict::Well]);
    let zeros = "0".repeat(32);
    let route = format!(
        "{zeros} 00 {zeros} 00 fe80{} 00000400 00000001 00000000 00450003     eth0\n",
        "0".repeat(28)
    );
    put(&house, "proc/net/ipv6_route", &route);
    put(&house, "proc/sys/net/ipv6/conf/eth0/accept_ra", "1\n");
    let found = look(&house);
    assert!(of(&found, "IPv6")[0].1.contains("comes from advertisements on eth0"), "{found:?}");
    put(&house, "proc/sys/net/ipv6/conf/eth0/accept_ra", "2\n");
    assert!(of(&look(&house), "IPv6").is_empty());
    put(&house, "proc/sys/net/ipv6/conf/all/disable_ipv6", "1\n");
    assert_eq!(of(&look(&house), "IPv6")[0].0, Verdict::Wrong);
}

#[test]
fn the_command_prints_what_to_do_and_fails_where_something_is_wrong() {
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
        text.contains("WRONG   daemon: ") && text.contains("        start it: systemctl start gipam"),
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
fn p29_an_ipvlan_network_under_a_name_that_asks_for_macs_is_wrong_and_the_way_out_is_said() {
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
    let findings = look(&house);
    let [(verdict, found)] = of(&findings, "ipvlan")[..] else { panic!("{findings:?}") };
    assert_eq!(verdict, Verdict::Wrong);
    assert!(
        found.contains("network broken cannot start") && found.contains("gipam asks Docker for MACs"),
        "{found}"
    );
    let advice = findings.iter().find(|finding| finding.check == "ipvlan").unwrap().advice.clone().unwrap();
    assert!(advice.contains("requires_mac_address = false"), "{advice}");
}

/// What is said of Docker's own pools with this daemon.json.
fn own_pools(json: &[u8]) -> Vec<(Verdict, String)> {
    let house = house();
    put(&house, "etc/docker/daemon.json", "");
    fs::write(house.path("root/etc/docker/daemon.json"), json).unwrap();
    let findings = look(&house);
    of(&findings, "Docker's own pools")
        .into_iter()
        .map(|(verdict, found)| (verdict, found.to_owned()))
        .collect()
}

#[test]
fn every_key_of_daemon_json_that_takes_addresses_counts() {
    for (json, verdict, words) in [
        (r#"{"ipv6":true,"bip6":"2001:db8:77:9::1/64"}"#, Verdict::Wrong, "2001:db8:77:9::/64 of bip6"),
        (r#"{"fixed-cidr-v6":"2001:db8:77:9::/64"}"#, Verdict::Wrong, "fixed-cidr-v6"),
        (r#"{"bip":"198.18.3.1/24"}"#, Verdict::Wrong, "198.18.3.0/24 of bip"),
        (r#"{"bip":"172.30.0.1/24","bip":"198.18.3.1/24"}"#, Verdict::Wrong, "198.18.3.0/24 of bip"),
        (r#"{"fixed-cidr":"198.18.3.0/24"}"#, Verdict::Wrong, "fixed-cidr"),
        (
            r#"{"default-address-pools":[{"Base":"198.18.0.0/15","SIZE":24}]}"#,
            Verdict::Wrong,
            "198.18.0.0/15",
        ),
        (r#"{"default-gateway":"198.18.3.9"}"#, Verdict::Warning, "198.18.3.9 of default-gateway"),
        (r#"{"default-gateway-v6":"2001:db8:77::9"}"#, Verdict::Warning, "default-gateway-v6"),
        (r#"{"dns":["192.0.2.1","198.18.3.9"]}"#, Verdict::Warning, "198.18.3.9 of dns"),
        (r#"{"host-gateway-ip":"198.18.3.9"}"#, Verdict::Warning, "host-gateway-ip"),
        (r#"{"ip":"198.18.3.9"}"#, Verdict::Warning, "198.18.3.9 of ip"),
    ] {
        let found = own_pools(json.as_bytes());
        let right = found.iter().any(|(it, text)| *it == verdict && text.contains(words));
        assert!(right, "{json}: {found:?}");
    }
    let marked = [b"\xef\xbb\xbf".as_slice(), br#"{"bip":"198.18.3.1/24"}"#].concat();
    assert_eq!(own_pools(&marked)[0].0, Verdict::Wrong, "a mark of UTF-8");
    let wide: Vec<u8> =
        "\u{feff}{\"bip\":\"198.18.3.1/24\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(own_pools(&wide)[0].0, Verdict::Wrong, "as Windows writes it");
}

#[test]
fn what_dockerd_refuses_is_not_well() {
    for (json, words) in [
        (
            r#"{"default-address-pools":{"base":"172.30.0.0/16","size":24}}"#,
            "is an object, and must be a list",
        ),
        (r#"{"default-address-pools":[{"base":"172.30.0.0/33","size":24}]}"#, "is not a prefix"),
        (r#"{"default-address-pools":[{"base":"172.30.0.0/16","size":"24"}]}"#, "is not a number"),
        (r#"{"default-address-pools":["172.30.0.0/16"]}"#, "is not an object"),
        (r#"{"bip":["172.30.0.1/24"]}"#, "is a list, and must be a text"),
        (r#"{"BIP":"172.30.0.1/24"}"#, "spelled \"bip\""),
        (r#"{"dns":"192.0.2.1"}"#, "must be a list"),
        (r#"["bip"]"#, "is not a JSON object"),
        (r#"{"bip":"172.30.0.1/24",}"#, "cannot be read as JSON"),
        (r#"{"bip":"172.30.0.1/24"} {}"#, "cannot be read as JSON"),
    ] {
        let found = own_pools(json.as_bytes());
        let right = found.iter().any(|(it, text)| *it == Verdict::Warning && text.contains(words));
        assert!(right && found.iter().all(|(it, _)| *it != Verdict::Well), "{json}: {found:?}");
    }
    for json in ["", " \n", "{}", "null", r#"{"bip":"172.30.0.1/24","labels":["a=b"]}"#] {
        assert_eq!(own_pools(json.as_bytes())[0].0, Verdict::Well, "{json}");
    }
}

#[test]
fn what_is_built_into_docker_counts_where_nothing_else_is_said() {
    let built_in = |pool: &str, file: Option<&str>| {
        let house = house();
        house.configure(&format!("[gc]\nengine = \"\"\n[[pool]]\nname = \"x\"\nv4 = \"{pool}\"\n"));
        if let Some(file) = file {
            put(&house, "etc/docker/daemon.json", file);
        }
        let findings = look(&house);
        of(&findings, "Docker's own pools")
            .first()
            .map(|(verdict, found)| (*verdict, (*found).to_owned()))
            .unwrap()
    };
    for pool in ["172.17.0.0/16", "172.31.0.0/20", "192.168.44.0/24", "172.16.0.0/12"] {
        let (verdict, found) = built_in(pool, None);
        assert!(verdict == Verdict::Warning && found.contains("built into Docker"), "{pool}: {found}");
        assert_eq!(built_in(pool, Some("{\"debug\": true}")).0, Verdict::Warning, "{pool}");
        let others = r#"{"bip":"10.9.0.1/24","default-address-pools":[{"base":"10.8.0.0/16","size":24}]}"#;
        assert_eq!(built_in(pool, Some(others)).0, Verdict::Well, "{pool}");
    }
    assert_eq!(built_in("172.16.0.0/16", None).0, Verdict::Well);
}

#[test]
fn flags_of_dockerd_count_as_its_file_does() {
    let house = house();
    let unit = "[Service]\nExecStart=/usr/bin/dockerd -H fd:// \\\n  --bip 198.18.3.1/24\n";
    put(&house, "lib/systemd/system/docker.service", unit);
    let found = of(&look(&house), "Docker's own pools")[0].1.to_owned();
    assert!(found.contains("198.18.3.0/24 of --bip"), "{found}");
    let more = "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --default-address-pool=base=198.18.0.0/16,size=24\n";
    put(&house, "etc/systemd/system/docker.service.d/10-pools.conf", more);
    let found = of(&look(&house), "Docker's own pools")[0].1.to_owned();
    assert!(found.contains("198.18.0.0/16 of --default-address-pool"), "{found}");
    // The one that runs has the say, and may have its file elsewhere.
    put(&house, "proc/4711/cmdline", "/usr/bin/dockerd\0--config-file\0/srv/docker.json\0");
    put(&house, "srv/docker.json", "{\"bip\": \"198.18.7.1/24\"}");
    let found = of(&look(&house), "Docker's own pools")[0].1.to_owned();
    assert!(found.contains("bip in /srv/docker.json"), "{found}");
}
