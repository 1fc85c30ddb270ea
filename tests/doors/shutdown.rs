//! Stopping without losing a request (facts P6 and P8: Docker repeats a lost request with an empty body).

use crate::support::*;
use gipam::server::Limits;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

#[tokio::test]
async fn p8_a_request_in_flight_is_finished_and_its_answer_says_close() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    client.write_all(&post("/wait", "y")).await.unwrap();
    server.began("/wait").await;
    server.stop();
    let path = server.path();
    while path.exists() {
        tokio::task::yield_now().await;
    }
    server.permit();
    let got = answer(&mut client).await;
    assert_eq!(got.body, "y");
    assert!(got.head.contains("connection: close"), "{}", got.head);
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(server.event().await, Event::Kept("/wait".into()));
    assert_eq!(server.ended().await.cut_off, 0);
}

#[tokio::test]
async fn idle_connections_are_closed_and_the_socket_file_is_removed() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    ask(&mut client, &post("/x", "y")).await;
    let path = server.path();
    server.stop();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(server.ended().await.cut_off, 0);
    assert!(!path.exists());
}

#[tokio::test]
async fn idle_tcp_connections_are_closed() {
    let mut server = Running::tcp();
    let mut client = server.connect_tcp().await;
    ask(&mut client, &post("/x", "y")).await;
    server.stop();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(server.ended().await.cut_off, 0);
}

#[tokio::test]
async fn p8_a_request_written_during_the_shutdown_is_served_or_not_sent_at_all() {
    // The client writes at the moment of the shutdown. Either its write fails with nothing sent (it may then
    // safely try elsewhere), or it gets an answer; a request must not be accepted and then lost.
    for round in 0..200 {
        let mut server = Running::unix();
        let mut client = server.connect().await;
        ask(&mut client, &post("/x", "y")).await;
        let late = tokio::spawn(async move {
            for _ in 0..round % 8 {
                tokio::task::yield_now().await;
            }
            if client.write_all(&post("/late", "z")).await.is_ok() {
                assert_eq!(answer(&mut client).await.body, "z", "round {round}");
            }
        });
        server.stop();
        late.await.unwrap();
        server.ended().await;
    }
}

#[tokio::test]
async fn p8_a_client_that_connected_before_the_shutdown_is_still_served() {
    let mut server = Running::unix_with(Limits { max_connections: 1, ..Limits::default() }, PATIENCE);
    let mut first = server.connect().await;
    first.write_all(&post("/wait", "1")).await.unwrap();
    server.began("/wait").await;
    // This connection waits in the kernel's queue, because only one is served at a time.
    let mut second = server.connect().await;
    second.write_all(&post("/x", "2")).await.unwrap();
    server.stop();
    let got = answer(&mut second).await;
    assert_eq!(got.body, "2");
    assert!(got.head.contains("connection: close"), "{}", got.head);
    server.permit();
    assert_eq!(answer(&mut first).await.body, "1");
    assert_eq!(server.ended().await.cut_off, 0);
}

#[tokio::test]
async fn p8_a_connection_that_is_about_to_write_its_first_request_is_waited_for() {
    let mut server = Running::unix();
    let path = server.path();
    let mut client = server.connect().await;
    server.stop();
    while path.exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&mut client, &post("/x", "y")).await.body, "y");
    assert_eq!(server.ended().await.cut_off, 0);
}

#[tokio::test]
async fn a_connection_without_requests_does_not_delay_the_end() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    server.stop();
    assert_eq!(rest(&mut client).await, b"");
    assert_eq!(server.ended().await.cut_off, 0);
}

#[tokio::test]
async fn new_clients_are_not_accepted_after_the_shutdown() {
    let mut server = Running::unix();
    let path = server.path();
    server.stop();
    server.ended().await;
    assert!(UnixStream::connect(path).await.is_err());
}

#[tokio::test]
async fn idle_connections_are_closed_after_the_idle_limit_and_can_be_opened_again() {
    let server =
        Running::unix_with(Limits { idle: Duration::from_millis(100), ..Limits::default() }, PATIENCE);
    let mut client = server.connect().await;
    ask(&mut client, &post("/x", "y")).await;
    assert_eq!(rest(&mut client).await, b"");
    let mut client = server.connect().await;
    assert_eq!(ask(&mut client, &post("/x", "y")).await.body, "y");
}
