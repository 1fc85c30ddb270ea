//! Requests that the page's listener refuses: for host names that others could point here, and from pages of
//! other sites.

use super::support::{Site, TOML};

/// The headers of a browser when a person opens the page, or when the page sends a request.
const OWN: &str =
    "Host: localhost\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n";

#[test]
fn a_host_must_be_exactly_an_allowed_name() {
    let site = Site::new(&format!("http_hosts = [\"gipam.example\"]\n{TOML}"));
    for host in [
        "localhost",
        "LocalHost:9468",
        "localhost.",
        "localhost:",
        "127.0.0.1",
        "127.9.9.9:80",
        "[::1]",
        "[::1]:9468",
        "[::ffff:127.0.0.1]:1",
        "gipam.example",
        "GIPAM.example.:443",
    ] {
        assert_eq!(site.ask("GET", "/v1/pools", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    for host in [
        "[::1].evil.example",
        "[::1].evil.example:9468",
        "[::1]evil.example",
        "[::1]:9468.evil.example",
        "[::1",
        "::1",
        "[localhost]",
        "[127.0.0.1]",
        "localhost.evil.example",
        "evil.example.localhost.evil",
        "evillocalhost",
        "localhost..",
        "127.0.0.1.evil.example",
        "127.0.0.1..",
        "127.0.0.1:80:80",
        "127.0.0.1:80x",
        "127.0.0.1:99999",
        "127.0.0.1:+80",
        "localhost@evil.example",
        "evil.example@localhost",
        "localhost/evil.example",
        "localhost evil.example",
        "localhost,evil.example",
        "gipam.example.evil.example",
        "xgipam.example",
        "192.0.2.1",
        "[2001:db8::1]:1",
        "evil.example",
        ":9468",
        "\u{fc}.example",
        "",
    ] {
        let status = site.ask("GET", "/v1/pools", &format!("Host: {host}\r\n")).status;
        assert!(matches!(status, 400 | 421), "{host:?}: {status}");
    }
    for fields in
        ["", "Host: localhost\r\nHost: evil.example\r\n", "Host: evil.example\r\nHost: localhost\r\n"]
    {
        assert_eq!(site.ask("GET", "/v1/pools", fields).status, 421, "{fields:?}");
    }
    // A very old health checker sends no Host, and the health paths do not reveal addresses.
    assert_eq!(site.ask("GET", "/healthz", "").status, 200);
    assert_eq!(site.ask("GET", "/readyz", "").status, 200);
}

#[test]
fn requests_from_pages_of_other_sites_are_refused() {
    let site = Site::new(TOML);
    let fetch = |site: &str, more: &str| format!("Host: localhost\r\nSec-Fetch-Site: {site}\r\n{more}");
    for path in ["/", "/page.js", "/metrics", "/healthz", "/v1/leases", "/v1/events", "/v1/usage"] {
        for from in ["cross-site", "same-site", "CROSS-SITE", "anything"] {
            let answer = site.ask("GET", path, &fetch(from, ""));
            assert_eq!(answer.status, 403, "{path} {from}: {}", answer.text());
        }
        for origin in
            ["https://evil.example", "null", "http://localhost:9999", "http://localhost.evil.example"]
        {
            let answer = site.ask("GET", path, &format!("Host: localhost:1\r\nOrigin: {origin}\r\n"));
            assert_eq!(answer.status, 403, "{path} {origin}: {}", answer.text());
        }
    }
    let twice = "Sec-Fetch-Site: cross-site\r\n";
    assert_eq!(site.ask("GET", "/v1/pools", &fetch("same-origin", twice)).status, 403);
    // The page itself, a person who types its address, and a person who follows a link to it.
    assert_eq!(site.ask("GET", "/v1/pools", OWN).status, 200);
    assert_eq!(
        site.ask("GET", "/v1/pools", "Host: localhost:1\r\nOrigin: http://LOCALHOST:1\r\n").status,
        200
    );
    assert_eq!(site.ask("GET", "/", &fetch("none", "")).status, 200);
    let link = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    assert_eq!(site.ask("GET", "/", &fetch("cross-site", link)).status, 200);
    assert_eq!(site.ask("GET", "/v1/pools", &fetch("cross-site", link)).status, 403);
    let frame = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n";
    assert_eq!(site.ask("GET", "/", &fetch("cross-site", frame)).status, 403);
}

#[test]
fn a_name_needs_http_hosts_even_if_others_can_reach_the_page() {
    let everywhere = TOML.replace("http = \"0\"", "http = \"0.0.0.0:0\"");
    let site = Site::new(&everywhere);
    let port = site.address.port();
    for host in [format!("192.0.2.1:{port}"), format!("[2001:db8::1]:{port}"), "localhost".to_owned()] {
        assert_eq!(site.ask("GET", "/v1/pools", &format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    for host in ["evil.example", "host1", "host1.evil.example", "[2001:db8::1].evil.example"] {
        let answer = site.ask("GET", "/v1/pools", &format!("Host: {host}\r\n"));
        assert_eq!(answer.status, 421, "{host}");
        assert!(answer.text().contains("http_hosts"), "{}", answer.text());
    }
    let log = site.house.log();
    assert!(log.contains("http_hosts") && log.contains("DNS rebinding"), "{log}");
}

#[test]
fn requests_to_the_page_are_bounded() {
    let site = Site::new(TOML);
    let long = "x".repeat(5_000);
    for query in [
        format!("/v1/history?of={long}"),
        format!("/v1/leases?limit=9&search={long}"),
        format!("/v1/subnets?limit=9&search={long}"),
        format!("/v1/map?of={long}"),
        "/v1/history?limit=-1".to_owned(),
        "/v1/history?limit=99999999999999999999".to_owned(),
        "/v1/usage?seconds=-5".to_owned(),
    ] {
        let answer = site.get(&query);
        assert_eq!(answer.status, 400, "{}: {}", &query[..40.min(query.len())], answer.text());
        assert!(answer.body.len() < 2_000, "{}", answer.text());
    }
    assert_eq!(site.get("/v1/history?limit=4294967295").status, 200);
    assert_eq!(site.get("/v1/usage?seconds=18446744073709551615").status, 200);
}
