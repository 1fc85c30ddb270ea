//! Which requests are accepted, which are refused, and with which texts.

use crate::support::*;
use gipam::server::{Limits, Peer};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

fn short() -> Limits {
    Limits { head: Duration::from_millis(150), body: Duration::from_millis(150), ..Limits::default() }
}

#[tokio::test]
async fn p6_no_content_type_and_empty_host_are_accepted() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    let bytes = b"POST /Plugin.Activate HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n\
        Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n";
    let got = ask(&mut client, bytes).await;
    assert_eq!((got.status, got.body.as_str()), (200, ""));
    let request = server.began("/Plugin.Activate").await;
    assert_eq!((request.method.as_str(), request.body.len(), request.uri.query()), ("POST", 0, None));
}

#[tokio::test]
async fn method_path_query_body_and_peer_reach_the_handler() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    let got = ask(&mut client, &post("/a/b?c=d&e", "{\"Pool\":\"\"}\n")).await;
    assert_eq!(got.body, "{\"Pool\":\"\"}\n");
    assert!(got.head.contains("content-type: text/plain\r\n"), "{}", got.head);
    let request = server.began("/a/b").await;
    assert_eq!(request.uri.query(), Some("c=d&e"));
    let Peer::Unix { uid, pid, .. } = request.peer else { panic!("{:?}", request.peer) };
    assert_eq!((uid, pid), (rustix::process::getuid().as_raw(), Some(std::process::id() as i32)));
}

#[tokio::test]
async fn methods_are_up_to_the_handler() {
    let mut server = Running::unix();
    for method in ["GET", "DELETE", "OPTIONS", "FOO", "post"] {
        let mut client = server.connect().await;
        let got = ask(&mut client, format!("{method} /m HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await;
        assert_eq!(got.status, 200, "{method}");
        assert_eq!(server.began("/m").await.method, method);
        assert_eq!(server.event().await, Event::Kept("/m".into()));
    }
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let server = Running::unix();
    let mut client = server.connect().await;
    let got = ask(&mut client, b"POST /x HTTP/1.0\r\nContent-Length: 1\r\n\r\ny").await;
    assert_eq!((got.status, got.body.as_str()), (200, "y"));
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn over_tcp_the_handler_gets_the_clients_address() {
    let mut server = Running::tcp();
    let mut client = server.connect_tcp().await;
    assert_eq!(ask(&mut client, &post("/x", "y")).await.body, "y");
    assert_eq!(server.began("/x").await.peer, Peer::Tcp(client.local_addr().unwrap()));
}

#[tokio::test]
async fn p6_one_connection_serves_many_requests() {
    let server = Running::unix();
    let mut client = server.connect().await;
    for n in 0..200 {
        let body = n.to_string();
        assert_eq!(ask(&mut client, &post("/x", &body)).await.body, body);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Running::unix();
    let mut client = server.connect().await;
    let bytes: Vec<u8> = (0..50).flat_map(|n| post("/x", &n.to_string())).collect();
    client.write_all(&bytes).await.unwrap();
    for n in 0..50 {
        assert_eq!(answer(&mut client).await.body, n.to_string());
    }
}

#[tokio::test]
async fn chunked_bodies_are_put_together() {
    let server = Running::unix();
    let mut client = server.connect().await;
    let bytes = b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n";
    assert_eq!(ask(&mut client, bytes).await.body, "hello world");
    assert_eq!(ask(&mut client, &post("/x", "again")).await.body, "again");
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    let head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let go_on = ask(&mut client, head).await;
    assert_eq!(go_on.status, 100);
    assert_eq!(ask(&mut client, b"body").await.body, "body");
    server.began("/x").await;
    assert_eq!(server.event().await, Event::Kept("/x".into()));
}

#[tokio::test]
async fn bodies_byte_by_byte_arrive_whole() {
    let server = Running::unix();
    let mut client = server.connect().await;
    for byte in post("/x", "a slow request arrives") {
        client.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(answer(&mut client).await.body, "a slow request arrives");
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_served() {
    let server = Running::unix();
    let mut client = server.connect().await;
    let body = "x".repeat(64 * 1024);
    assert_eq!(ask(&mut client, &post("/x", &body)).await.body, body);
}

#[tokio::test]
async fn an_oversize_body_is_refused_and_the_client_reads_why() {
    for size in [64 * 1024 + 1, 3 << 20] {
        let mut server = Running::unix();
        let mut client = server.connect().await;
        let got = ask(&mut client, &post("/x", &"x".repeat(size))).await;
        assert_eq!(got.status, 413);
        assert!(got.body.contains("larger than 65536 bytes"), "{}", got.body);
        assert!(got.head.contains("connection: close"), "{}", got.head);
        assert_eq!(rest(&mut client).await, b"");
        assert!(server.events.try_recv().is_err(), "the handler must not see the request");
    }
}

#[tokio::test]
async fn an_oversize_body_over_tcp_is_refused_and_the_client_reads_why() {
    let server = Running::tcp();
    let mut client = server.connect_tcp().await;
    assert_eq!(ask(&mut client, &post("/x", &"x".repeat(3 << 20))).await.status, 413);
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn an_oversize_chunked_body_is_refused() {
    let server = Running::unix();
    let mut client = server.connect().await;
    let mut bytes = b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        bytes.extend_from_slice(b"1000\r\n");
        bytes.extend_from_slice(&[b'x'; 0x1000]);
        bytes.extend_from_slice(b"\r\n");
    }
    assert_eq!(ask(&mut client, &bytes).await.status, 413);
}

#[tokio::test]
async fn an_oversize_body_announced_with_expect_is_refused_without_continue() {
    let server = Running::unix();
    let mut client = server.connect().await;
    let head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(ask(&mut client, head).await.status, 413);
}

#[tokio::test]
async fn endless_headers_end_with_408() {
    let server = Running::unix_with(short(), PATIENCE);
    let mut client = server.connect().await;
    let got = ask(&mut client, b"POST /x HTTP/1.1\r\nHost: h\r\nX-A").await;
    assert_eq!(got.status, 408);
    assert!(got.body.contains("head did not arrive within 150ms"), "{}", got.body);
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn endless_headers_on_a_used_connection_end_with_408() {
    let server = Running::unix_with(short(), PATIENCE);
    let mut client = server.connect().await;
    assert_eq!(ask(&mut client, &post("/x", "y")).await.body, "y");
    assert_eq!(ask(&mut client, b"POST").await.status, 408);
}

#[tokio::test]
async fn a_head_that_never_ends_is_refused_with_431() {
    let server = Running::unix();
    let mut client = server.connect().await;
    let mut bytes = b"POST /x HTTP/1.1\r\n".to_vec();
    for n in 0..2000 {
        bytes.extend_from_slice(format!("X-{n}: {n}\r\n").as_bytes());
    }
    let got = ask(&mut client, &bytes).await;
    assert_eq!(got.status, 431);
    assert!(got.body.starts_with("{\"Err\":\""), "{}", got.body);
}

#[tokio::test]
async fn a_body_that_never_ends_is_refused_with_408() {
    let mut server = Running::unix_with(short(), PATIENCE);
    let mut client = server.connect().await;
    let got = ask(&mut client, b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc").await;
    assert_eq!(got.status, 408);
    assert!(got.body.contains("body did not arrive within 150ms"), "{}", got.body);
    assert_eq!(rest(&mut client).await, b"");
    assert!(server.events.try_recv().is_err(), "the handler must not see the request");
}

#[tokio::test]
async fn bytes_that_are_not_a_request_are_refused_with_the_handlers_text() {
    let hostile: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST /x HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /x HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: banana\r\n\r\n",
    ];
    for bytes in hostile {
        let mut server = Running::unix();
        let mut client = server.connect().await;
        let got = ask(&mut client, bytes).await;
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(got.status, 400, "{shown}");
        assert!(
            got.body.starts_with("{\"Err\":\"this is not an HTTP/1.1 request ("),
            "{shown}: {}",
            got.body
        );
        assert_eq!(rest(&mut client).await, b"", "{shown}");
        assert!(server.events.try_recv().is_err(), "the handler must not see {shown}");
    }
}

#[tokio::test]
async fn broken_chunks_are_refused() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    let bytes = b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n";
    let got = ask(&mut client, bytes).await;
    assert_eq!(got.status, 400);
    assert!(got.body.contains("the request body is broken"), "{}", got.body);
    assert!(server.events.try_recv().is_err(), "the handler must not see the request");
}

#[tokio::test]
async fn garbage_after_a_request_is_refused_after_its_answer() {
    let server = Running::unix();
    let mut client = server.connect().await;
    let mut bytes = post("/x", "first");
    bytes.extend_from_slice(b"\x00\x01garbage\r\n\r\n");
    assert_eq!(ask(&mut client, &bytes).await.body, "first");
    assert_eq!(answer(&mut client).await.status, 400);
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn a_body_cut_short_never_reaches_the_handler() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    client.write_all(b"POST /cut HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    drop(client);
    let mut client = server.connect().await;
    assert_eq!(ask(&mut client, &post("/x", "y")).await.body, "y");
    server.began("/x").await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait_and_are_served_later() {
    let mut server = Running::unix_with(Limits { max_connections: 2, ..Limits::default() }, PATIENCE);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = server.connect().await;
        client.write_all(&post("/wait", "")).await.unwrap();
        server.began("/wait").await;
        clients.push(client);
    }
    let mut third = server.connect().await;
    third.write_all(&post("/x", "3")).await.unwrap();
    // Connections with a request in progress keep their places; the next client gets the first place that
    // becomes free.
    let early = tokio::time::timeout(Duration::from_millis(300), answer(&mut third)).await;
    assert!(early.is_err(), "a client was served beyond the limit");
    drop(clients.pop());
    assert_eq!(answer(&mut third).await.body, "3");
}

#[tokio::test]
async fn idle_connections_give_way_the_longest_silent_first() {
    let server = Running::unix_with(Limits { max_connections: 2, ..Limits::default() }, PATIENCE);
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    assert_eq!(ask(&mut first, &post("/x", "1")).await.body, "1");
    assert_eq!(ask(&mut second, &post("/x", "2")).await.body, "2");
    let mut third = server.connect().await;
    assert_eq!(ask(&mut third, &post("/x", "3")).await.body, "3");
    assert!(rest(&mut first).await.is_empty(), "the connection is closed without an answer");
    assert_eq!(ask(&mut third, &post("/x", "4")).await.body, "4");
}

#[tokio::test]
async fn an_unread_answer_is_given_up() {
    let limits = Limits { answer: Duration::from_millis(150), ..Limits::default() };
    let mut server = Running::unix_with(limits, PATIENCE);
    let mut client = server.connect().await;
    client.write_all(&post("/big", "")).await.unwrap();
    server.began("/big").await;
    assert_eq!(server.event().await, Event::Kept("/big".into()), "a byte was written: never undone");
    server.stop();
    server.ended().await;
    assert!(rest(&mut client).await.len() < 8 << 20);
}
