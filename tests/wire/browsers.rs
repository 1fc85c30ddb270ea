//! Driver listeners and web browsers: a page that is open on this machine can send requests to a plain TCP
//! listener, and to the page's own host name if that points there. dockerd never sends any of the headers
//! that identify a browser.

use std::net::TcpStream;

use serde_json::json;

use crate::daemon::{House, PATIENCE, POOLS, until};
use crate::facts::asked;
use crate::http::{Answer, Wire};

const BODY: &str = r#"{"AddressSpace":"local","Pool":"","SubPool":"","Options":{},"V6":false}"#;

fn ask(wire: &mut Wire, fields: &str) -> Answer {
    let head = format!(
        "POST /IpamDriver.RequestPool HTTP/1.1\r\n{fields}Content-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    wire.send(head.as_bytes()).unwrap();
    wire.answer().unwrap()
}

/// A daemon that serves over plain TCP, and its address.
fn over_tcp(toml: &str) -> (House, crate::daemon::Daemon, String) {
    let mut house = House::with_toml(toml);
    house.arguments.extend(["-address", "127.0.0.1:0"].iter().chain(&POOLS).map(ToString::to_string));
    let at = house.arguments.iter().position(|argument| argument == "--socket").unwrap();
    house.arguments.drain(at..at + 2);
    house.arguments.extend(["--admin".to_owned(), house.admin().display().to_string()]);
    let daemon = house.spawn();
    let spec = until("the spec is written", || std::fs::read_to_string(house.path("specs/gipam.spec")).ok());
    let address = spec.trim().strip_prefix("tcp://").unwrap().to_owned();
    (house, daemon, address)
}

fn tcp(address: &str) -> Wire {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Wire::over(stream)
}

/// Headers that only browsers send.
const SIGNS: [&str; 8] = [
    "Origin: https://evil.example\r\nContent-Type: text/plain\r\n",
    "Origin: null\r\n",
    "origin: http://127.0.0.1\r\n",
    "Sec-Fetch-Site: cross-site\r\n",
    "Sec-Fetch-Site: same-origin\r\n",
    "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\n",
    "sec-ch-ua: \"Chromium\"\r\n",
    "Referer: http://127.0.0.1/\r\n",
];

#[test]
fn a_browsers_request_changes_nothing_at_any_listener() {
    let house = House::new(&POOLS);
    let daemon = house.start();
    let (_house, remote, address) = over_tcp("");
    for sign in SIGNS {
        for wire in [&mut tcp(&address), &mut daemon.wire()] {
            let answer = ask(wire, &format!("Host: plugin.moby.localhost\r\n{sign}"));
            assert_eq!(answer.status, 403, "{sign}: {}", answer.text());
            let text = answer.refused();
            assert!(text.contains("browser"), "{text}");
        }
    }
    daemon.assert_empty("a browser sent a request to the UNIX socket");
    remote.assert_empty("a browser sent a request to the TCP listener");
}

#[test]
fn a_plain_tcp_listener_serves_only_the_host_names_that_dockerd_uses() {
    let (house, daemon, address) = over_tcp("advertise = \"ipam.example:9000\"\n");
    let dockerd = [
        "plugin.moby.localhost",
        "",
        "127.0.0.1",
        &address,
        "[::1]:9000",
        "localhost:1",
        "ipam.example:9000",
    ];
    for host in dockerd {
        let answer = ask(&mut tcp(&address), &format!("Host: {host}\r\n"));
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    }
    let held = daemon.view("/v1/subnets").as_array().unwrap().len();
    assert_eq!(held, dockerd.len());
    for host in [
        "Host: evil.example\r\n",
        "Host: evil.example:9000\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "Host: [::1].evil.example\r\n",
        "Host: plugin.moby.localhost.evil.example\r\n",
        "Host: ipam.example.evil\r\n",
        "Host: 127.0.0.1\r\nHost: evil.example\r\n",
    ] {
        let answer = ask(&mut tcp(&address), host);
        assert_eq!(answer.status, 403, "{host}: {}", answer.text());
        let text = answer.refused();
        assert!(text.contains("advertise"), "{text}");
    }
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), held);
    let status = house.json(&["status"]);
    assert_eq!(status["refusals"][0]["method"], json!("IpamDriver.RequestPool"), "{status}");
}

#[test]
fn a_refusal_is_remembered_once_and_says_its_own_reason() {
    let house = House::new(&POOLS);
    let daemon = house.start();
    let mut wire = daemon.wire();
    let body = asked("local", "192.0.2.0/24", "", json!({}), false);
    wire.ok("RequestPool", &body);
    let text = wire.refused("RequestPool", &body);
    // Refusals of overlapping requests have the status that browsers get, too.
    let status = house.json(&["status"]);
    let remembered: Vec<_> = status["refusals"].as_array().unwrap().iter().map(|one| &one["text"]).collect();
    assert_eq!(remembered, [&json!(text)], "{status}");
    assert_eq!(status["refused"], json!(1), "{status}");
    assert_eq!(wire.call("IpamDriver.Frobnicate", "{}").status, 404);
    let status = house.json(&["status"]);
    assert_eq!(status["refusals"].as_array().unwrap().len(), 2, "{status}");
    assert_eq!(status["refusals"][0]["text"], json!("unknown method"), "{status}");
}
