//! Who may send which requests, and what every answer contains.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use super::daemon::{House, PATIENCE, until};
use super::http::Wire;
use super::support::{Site, TOML};

#[test]
fn the_page_is_not_served_unless_it_is_configured() {
    let house = House::with_toml(&TOML.replace("http = \"0\"\n", ""));
    let _daemon = house.start();
    assert!(!house.log().contains("http://"), "{}", house.log());
}

/// As `make run` does if dockerd, and gipam with it, is in a network namespace that a browser cannot reach.
#[test]
fn a_socket_that_was_passed_serves_the_page() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    let house = House::with_toml(TOML);
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$@\"";
    let child = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_gipam")])
        .args(&house.arguments)
        .env_clear()
        .envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "http")])
        .current_dir(house.directory.path())
        .stdin(Stdio::from(OwnedFd::from(passed)))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(house.path("log")).unwrap())
        .spawn()
        .unwrap();
    let daemon = house.adopt(child);
    until("the driver is served", || Wire::try_unix(&daemon.socket));
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut wire = Wire::over(stream);
    wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(wire.answer().unwrap().status, 200, "{}", house.log());
    assert!(house.log().contains(&format!("are at http://{address}")), "{}", house.log());
    assert!(daemon.stop().success());
}

#[test]
fn only_get_and_head_are_allowed() {
    let site = Site::new(TOML);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = site.ask(method, "/v1/subnets", "Host: localhost\r\n");
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: GET, HEAD"), "{}", answer.head);
    }
    let body = site.ask("GET", "/", "Host: localhost\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(body.status, 413);
    for path in ["/v1/config", "/v1/export", "/v1/gc", "/nothing", "/v1/nothing", "/../etc/passwd"] {
        assert_eq!(site.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_foreign_name_is_refused_everywhere() {
    let site = Site::new(TOML);
    for path in ["/", "/metrics", "/v1/leases", "/v1/events", "/healthz"] {
        assert_eq!(site.ask("GET", path, "Host: evil.example\r\n").status, 421, "{path}");
    }
    let named = Site::new(&format!("http_hosts = [\"gipam.example\"]\n{TOML}"));
    assert_eq!(named.ask("GET", "/", "Host: gipam.example:443\r\n").status, 200);
}

#[test]
fn every_answer_forbids_foreign_content() {
    let site = Site::new(TOML);
    for path in ["/", "/page.js", "/metrics", "/v1/pools", "/nothing"] {
        let head = site.get(path).head;
        for field in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(field), "{path}: {head}");
        }
    }
    let page: String = ["/", "/page.css", "/page.js", "/dom.js", "/map.js", "/tables.js", "/usage.js"]
        .map(|path| site.get(path).text())
        .concat();
    let foreign = ["https://", "//cdn", "@import", "innerHTML"].map(|word| (word, page.contains(word)));
    assert!(foreign.iter().all(|(_, found)| !found), "{foreign:?}");
}

#[test]
fn head_is_the_same_without_a_body() {
    let site = Site::new(TOML);
    let (whole, head) = (site.get("/"), site.ask("HEAD", "/", "Host: localhost\r\n"));
    assert_eq!(head.status, 200);
    assert!(head.head.contains(&format!("content-length: {}", whole.body.len())), "{}", head.head);
}

#[test]
fn alive_and_ready_until_the_end() {
    let site = Site::new(TOML);
    assert_eq!((site.get("/healthz").status, site.get("/readyz").status), (200, 200));
    let mut daemon = site.daemon;
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.wait().success());
    assert!(std::net::TcpStream::connect(site.address).is_err());
}

#[test]
fn an_open_event_stream_does_not_delay_the_end() {
    let site = Site::new(TOML);
    let mut wire = site.wire();
    let first = site.get("/v1/events").text();
    let id = first.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    wire.send(
        format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {id}\r\n\r\n").as_bytes(),
    )
    .unwrap();
    until("the page follows the events", || (site.sample("gipam_page_viewers") == Some(1.0)).then_some(()));
    let begun = std::time::Instant::now();
    let log = site.house.path("log");
    assert!(site.daemon.stop().success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains("cut off"), "{log}");
}

#[test]
fn an_address_in_use_is_a_clear_error_at_the_start() {
    let site = Site::new(TOML);
    let house = House::with_toml(&TOML.replace("http = \"0\"", &format!("http = \"{}\"", site.address)));
    let (code, log) = house.refuse();
    assert_eq!(code, 1);
    assert!(log.contains("cannot open the page's address (http)") && log.contains("in use"), "{log}");
}
