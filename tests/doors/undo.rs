//! When a grant is undone: whether the answer could be delivered depends on what happened to the connection.

use crate::support::*;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn undo_is_not_called_for_a_delivered_answer() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    ask(&mut client, &post("/x", "y")).await;
    server.began("/x").await;
    assert_eq!(server.event().await, Event::Kept("/x".into()));
}

#[tokio::test]
async fn undo_client_gone_while_the_handler_works_drops_its_future() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    client.write_all(&post("/never", "")).await.unwrap();
    server.began("/never").await;
    drop(client);
    assert_eq!(server.event().await, Event::Dropped("/never".into()));
}

#[tokio::test]
async fn undo_client_gone_over_tcp_drops_the_future() {
    let mut server = Running::tcp();
    let mut client = server.connect_tcp().await;
    client.write_all(&post("/never", "")).await.unwrap();
    server.began("/never").await;
    drop(client);
    assert_eq!(server.event().await, Event::Dropped("/never".into()));
}

#[tokio::test]
async fn undo_client_reset_over_tcp_drops_the_future() {
    let mut server = Running::tcp();
    let mut client = server.connect_tcp().await;
    client.write_all(&post("/never", "")).await.unwrap();
    server.began("/never").await;
    rustix::net::sockopt::set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(server.event().await, Event::Dropped("/never".into()));
}

#[tokio::test]
async fn undo_half_closed_client_counts_as_gone() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    client.write_all(&post("/never", "")).await.unwrap();
    server.began("/never").await;
    client.shutdown().await.unwrap();
    assert_eq!(server.event().await, Event::Dropped("/never".into()));
}

#[tokio::test]
async fn undo_pipelined_bytes_hide_a_close_until_the_write_fails() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    client.write_all(&[post("/wait", ""), post("/second", "")].concat()).await.unwrap();
    server.began("/wait").await;
    drop(client);
    // Another client sends a request: when it is answered, the server has seen everything that the first
    // client sent.
    let mut other = server.connect().await;
    ask(&mut other, &post("/other", "")).await;
    server.began("/other").await;
    assert_eq!(server.event().await, Event::Kept("/other".into()));
    server.permit();
    assert_eq!(server.event().await, Event::Undone("/wait".into()));
}

#[tokio::test]
async fn undo_client_gone_with_an_unread_answer_keeps_that_answer() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    client.write_all(&post("/first", "x")).await.unwrap();
    server.began("/first").await;
    assert_eq!(server.event().await, Event::Kept("/first".into()));
    client.write_all(&post("/never", "")).await.unwrap();
    server.began("/never").await;
    // The first answer was not read, so the server's next read returns a connection reset, which hyper hides.
    drop(client);
    assert_eq!(server.event().await, Event::Dropped("/never".into()));
}

#[tokio::test]
async fn undo_of_a_pipelined_answer_leaves_the_earlier_one_alone() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    client.write_all(&[post("/a", ""), post("/wait", ""), post("/c", "")].concat()).await.unwrap();
    server.began("/a").await;
    assert_eq!(server.event().await, Event::Kept("/a".into()));
    server.began("/wait").await;
    answer(&mut client).await;
    drop(client);
    server.permit();
    assert_eq!(server.event().await, Event::Undone("/wait".into()));
}

#[tokio::test]
async fn a_whole_request_reaches_the_handler_though_its_client_has_gone() {
    // Releases are carried out even if the client no longer waits.
    for body in [String::new(), "release".repeat(10), "r".repeat(60_000)] {
        let mut server = Running::unix();
        for _ in 0..20 {
            let mut client = server.connect().await;
            client.write_all(&post("/never", &body)).await.unwrap();
            drop(client);
            assert_eq!(server.began("/never").await.body, body.as_bytes());
            assert_eq!(server.event().await, Event::Dropped("/never".into()));
        }
    }
}

#[tokio::test]
async fn undo_of_an_answer_given_at_once_to_a_client_that_has_gone() {
    let mut server = Running::unix();
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.write_all(&post("/x", "y")).await.unwrap();
        drop(client);
        server.began("/x").await;
        assert_eq!(server.event().await, Event::Undone("/x".into()));
    }
}

#[tokio::test]
async fn undo_after_the_first_byte_is_never_called() {
    let mut server = Running::unix();
    let mut client = server.connect().await;
    client.write_all(&post("/big", "")).await.unwrap();
    server.began("/big").await;
    assert_eq!(server.event().await, Event::Kept("/big".into()));
    drop(client);
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn undo_at_the_deadline_of_a_shutdown() {
    let mut server = Running::unix_with(Default::default(), std::time::Duration::from_millis(100));
    let mut client = server.connect().await;
    client.write_all(&post("/never", "")).await.unwrap();
    server.began("/never").await;
    server.stop();
    assert_eq!(server.event().await, Event::Dropped("/never".into()));
    assert_eq!(server.ended().await.cut_off, 1);
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn undo_and_delivery_exclude_each_other_however_the_client_disconnects() {
    // Clients disconnect at every possible moment. Each request that reached the handler ends in exactly one
    // way; an answer that was undone was never seen by its client, not even in part.
    let mut server = Running::unix();
    let (mut undone, mut kept, mut dropped) = (0, 0, 0);
    for round in 0..3000_usize {
        let mut client = server.connect().await;
        let path = if round % 3 == 0 { "/wait" } else { "/x" };
        client.write_all(&post(path, "y")).await.unwrap();
        let early = round % 2 == 0;
        if early {
            server.permit();
        }
        for _ in 0..round % 11 {
            tokio::task::yield_now().await;
        }
        let mut seen = [0; 512];
        let seen = client.try_read(&mut seen).unwrap_or(0);
        if round % 5 == 0 {
            client.shutdown().await.unwrap();
        }
        drop(client);
        if !early {
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            server.permit();
        }
        server.began(path).await;
        match server.event().await {
            Event::Undone(_) => {
                assert_eq!(seen, 0, "round {round}");
                undone += 1;
            }
            Event::Kept(_) => kept += 1,
            Event::Dropped(_) => {
                assert_eq!(seen, 0, "round {round}");
                dropped += 1;
            }
            Event::Began(request) => panic!("{request:?}"),
        }
        // A permit is left over if a `/wait` was dropped or `/x` did not need it; the next round must not get
        // it.
        while let Ok(permit) = server.desk.permits.try_acquire() {
            permit.forget();
        }
    }
    assert!(undone > 0 && kept > 0 && dropped > 0, "undone {undone}, kept {kept}, dropped {dropped}");
    assert!(server.events.try_recv().is_err(), "a request must not end twice");
}
