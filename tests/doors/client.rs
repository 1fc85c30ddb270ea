//! The small client that the daemon's own commands use.

use crate::support::*;
use gipam::server::client::{ClientError, request, request_blocking};
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test]
async fn one_request_one_answer() {
    let mut server = Running::unix();
    let reply = request(&server.path(), "PUT", "/a?b=c", b"body".to_vec(), PATIENCE).await.unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"body"[..]));
    let request = server.began("/a").await;
    assert_eq!((request.method.as_str(), request.uri.query()), ("PUT", Some("b=c")));
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let server = Running::unix();
    let reply = request(&server.path(), "GET", "/big", Vec::new(), PATIENCE).await.unwrap();
    assert_eq!(reply.body.len(), 8 << 20);
}

#[tokio::test]
async fn an_error_status_is_an_answer() {
    let server = Running::unix();
    let reply = request(&server.path(), "POST", "/x", vec![b'x'; 70_000], PATIENCE).await.unwrap();
    assert_eq!(reply.status, 413);
    assert!(reply.body.starts_with(b"{\"Err\":"));
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_differs_from_one_that_is_not_there() {
    let server = Running::unix();
    let limit = Duration::from_millis(100);
    let error = request(&server.path(), "GET", "/never", Vec::new(), limit).await.unwrap_err();
    assert!(error.to_string().contains("did not answer within 100ms"), "{error}");
}

#[test]
fn a_missing_socket_and_a_dead_one_are_unreachable() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let ask = || request_blocking(&path, "GET", "/x", Vec::new(), PATIENCE).unwrap_err();
    assert!(matches!(ask(), ClientError::Unreachable { .. }));
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = ask();
    assert!(matches!(error, ClientError::Unreachable { .. }));
    assert!(
        error.to_string().starts_with(&format!("no daemon is listening on {}: ", path.display())),
        "{error}"
    );
}

#[test]
fn a_connection_that_breaks_is_an_error() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let rude = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let error = request_blocking(&path, "GET", "/x", Vec::new(), PATIENCE).unwrap_err();
    rude.join().unwrap();
    assert!(error.to_string().contains(" gave an invalid answer ("), "{error}");
}

#[test]
fn an_invalid_path_is_refused_by_the_client() {
    let error = request_blocking("/nowhere".as_ref(), "GET", "no path", Vec::new(), PATIENCE).unwrap_err();
    assert!(error.to_string().starts_with("cannot request \"no path\": "), "{error}");
}
