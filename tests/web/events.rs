//! Events are sent after a commit, and only then.

use std::time::{Duration, Instant};

use super::support::{Site, TOML};

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn a_follower_gets_each_commit_and_misses_none_between_two_answers() {
    let site = Site::new(TOML);
    let hello = site.get("/v1/events");
    assert!(hello.head.contains("content-type: text/event-stream"), "{}", hello.head);
    let hello = hello.text();
    assert_eq!(field(&hello, "event"), "hello");
    let follow =
        |id: &str| format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {id}\r\n\r\n");
    let mut waiting = site.wire();
    waiting.send(follow(field(&hello, "id")).as_bytes()).unwrap();
    site.daemon.wire().subnet(false);
    let change = waiting.answer().unwrap().text();
    assert_eq!(field(&change, "event"), "change");
    // An event that happened before the next request is sent at once.
    site.daemon.wire().subnet(true);
    let begun = Instant::now();
    waiting.send(follow(field(&change, "id")).as_bytes()).unwrap();
    let change = waiting.answer().unwrap().text();
    assert_eq!(field(&change, "event"), "change");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let picture = site.json("/v1/subnets?limit=9");
    assert_eq!(picture["total"], 2, "the event can be seen in the rows");
}

#[test]
fn pages_beyond_the_limit_are_refused_and_metrics_still_answer() {
    let site = Site::new(TOML);
    let hello = site.get("/v1/events").text();
    let id = field(&hello, "id");
    let mut waiting = Vec::new();
    for _ in 0..32 {
        let mut wire = site.wire();
        wire.send(
            format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {id}\r\n\r\n").as_bytes(),
        )
        .unwrap();
        waiting.push(wire);
    }
    super::daemon::until("all pages follow", || {
        (site.sample("gipam_page_viewers") == Some(32.0)).then_some(())
    });
    assert_eq!(site.get("/v1/events").status, 503);
    assert_eq!(site.get("/metrics").status, 200);
    drop(waiting);
    super::daemon::until("no page follows any more", || {
        (site.sample("gipam_page_viewers") == Some(0.0)).then_some(())
    });
}

/// The head of the event stream's answer is sent at once, so that a page on a quiet host knows that the
/// daemon runs.
#[test]
fn an_event_stream_is_answered_at_once() {
    let site = Site::new(TOML);
    let hello = site.get("/v1/events").text();
    let id = field(&hello, "id");
    let mut waiting = site.wire();
    let asked = Instant::now();
    waiting
        .send(format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {id}\r\n\r\n").as_bytes())
        .unwrap();
    let head = waiting.head().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(3), "the head came after {:?}", asked.elapsed());
    assert!(head.status == 200 && head.head.contains("content-type: text/event-stream"), "{}", head.head);
    site.daemon.wire().subnet(false);
    let change = String::from_utf8(waiting.body(&head.head).unwrap()).unwrap();
    assert_eq!(field(&change, "event"), "change");
    // The same connection serves the next request.
    waiting.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(waiting.answer().unwrap().text(), "alive\n");
    // A HEAD request does not open a stream, so the next request is answered.
    let head = format!("HEAD /v1/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {id}\r\n\r\n");
    waiting.send(head.as_bytes()).unwrap();
    assert_eq!(waiting.head().unwrap().status, 200);
    waiting.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(waiting.answer().unwrap().text(), "alive\n");
}
