//! ONE ADDRESS IN TWO LIVE CONTAINERS: the most serious finding, reported wherever a person may look.
//!
//! Promises: a real daemon and a fake Engine that shows one address twice; `gc`, `doctor`, `status`, the
//! page, the metrics, the alert rule and a hook all report it, each with both containers or with the number
//! that triggers the alert. `tests/repair` checks how it is found.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "page/engine.rs"]
#[allow(dead_code, reason = "shared with the tests of the page")]
mod engine;
#[path = "support/http.rs"]
mod http;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use daemon::{House, until};
use serde_json::{Value, json};

fn output(house: &House, arguments: &[&str]) -> (Option<i32>, String) {
    let output = house.gipam(arguments);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn page(house: &House, path: &str) -> String {
    let log = house.log();
    let address = log.split("are at http://").nth(1).unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn one_address_in_two_containers_is_reported_everywhere() {
    let house = House::with_toml("");
    let shown = engine::start(&house.path("engine.sock"));
    house.configure(&format!(
        "http = \"0\"\n[gc]\nengine = {:?}\n[[pool]]\nname = \"lan\"\nv4 = {{ base = \"198.51.100.0/24\", size = 28 }}\n\
         [[hook]]\nname = \"test\"\ncommand = [\"./hook.sh\"]\nevents = [\"duplicate\"]\n",
        house.path("engine.sock")
    ));
    fs::write(house.path("hook.sh"), "#!/bin/sh\ncat >>\"${0%/*}/delivered\"\n").unwrap();
    fs::set_permissions(house.path("hook.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (id, prefix) = wire.subnet(false);
    let address =
        wire.address(&id, "", json!({"com.docker.network.endpoint.macaddress": "02:00:00:00:00:01"}));
    let holder = |name: &str| json!({"Name": name, "IPv4Address": address, "MacAddress": ""});
    let front = json!({"Name": "front", "Id": "front", "Scope": "local", "IPAM": {"Driver": "gipam", "Config": [{"Subnet": prefix}]},
        "Containers": {"id-one": holder("one"), "id-two": holder("two")}});
    shown.lock().unwrap().insert("front".to_owned(), front);

    let both =
        |text: &str| text.contains("container one in network front and container two in network front");
    let found = until("gc finds the duplicate", || {
        let found = house.json(&["gc"]);
        (found[0]["what"] == "duplicate").then(|| found[0].clone())
    });
    assert_eq!(found["address"].as_str(), address.split('/').next());
    assert!(both(found["why"].as_str().unwrap()), "{found}");
    let (_, text) = output(&house, &["gc"]);
    assert!(text.contains("docker network disconnect front two"), "{text}");

    let config = house.path("gipam.toml").display().to_string();
    let (code, text) = output(&house, &["doctor", "--config", &config]);
    assert_eq!(code, Some(1), "{text}");
    let rows = output(&house, &["doctor", "--json", "--config", &config]).1;
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let row = rows.iter().find(|row| row["check"] == "duplicate address").unwrap();
    assert_eq!(row["verdict"], "wrong", "{row}");
    assert!(both(row["found"].as_str().unwrap()), "{row}");

    let status = house.json(&["status"]);
    assert_eq!(status["duplicates"], 1, "{status}");
    let (_, screen) = output(&house, &["status"]);
    let line = screen.lines().find(|line| line.contains("duplicate")).unwrap_or_else(|| panic!("{screen}"));
    assert!(line.contains(address.split('/').next().unwrap()) && line.contains("one, two"), "{line}");

    let on_page: Value = serde_json::from_str(&page(&house, "/v1/status")).unwrap();
    assert_eq!(on_page["suspects"][0]["what"], "duplicate", "{on_page}");
    assert_eq!(on_page["suspects"][0]["holder"], "one, two");
    let metrics = page(&house, "/metrics");
    let sample = "gipam_repair_findings{what=\"duplicate\"}";
    assert!(metrics.lines().any(|line| line == format!("{sample} 1.0")), "{metrics}");
    let rules = include_str!("../packaging/prometheus/gipam.rules.yml");
    let rule = rules.split("- alert: ").find(|rule| rule.contains(&format!("expr: {sample} > 0"))).unwrap();
    assert!(rule.contains("severity: critical"), "{rule}");

    let delivered = until("the hook gets the event", || {
        fs::read_to_string(house.path("delivered")).ok().filter(|delivered| delivered.ends_with('\n'))
    });
    let delivered: Value = serde_json::from_str(delivered.lines().next().unwrap()).unwrap();
    assert_eq!(delivered["event"], "duplicate", "{delivered}");
    assert!(both(delivered["why"].as_str().unwrap()), "{delivered}");
    daemon.stop();
}
