//! A daemon without spare descriptors, run in a separate process under `ulimit -n`.

use crate::support::*;
use gipam::server::{Limits, Listener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use tempfile::TempDir;

const SOCKET: &str = "GIPAM_TEST_STARVED_SOCKET";

/// Not a test itself: serves the socket that the variable names until it gets a request for `/stop`.
#[test]
fn helper() {
    let Ok(path) = std::env::var(SOCKET) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = Listener::unix(path.as_ref(), 0o600, None, None).unwrap();
        let mut server = Running::on(listener, TempDir::new().unwrap(), Limits::default(), PATIENCE);
        while !matches!(server.event().await, Event::Began(request) if request.path() == "/stop") {}
        server.stop();
        server.ended().await;
    });
}

/// Processor time that a process has used, in clock ticks (10 ms).
fn ticks(child: &Child) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn starve(path: &Path) -> Child {
    Command::new("sh")
        .args(["-c", "ulimit -n 24; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["starved::helper", "--exact", "--test-threads=1"])
        .env(SOCKET, path)
        .spawn()
        .unwrap()
}

async fn connect(path: &PathBuf) -> tokio::net::UnixStream {
    loop {
        match tokio::net::UnixStream::connect(path).await {
            Ok(stream) => return stream,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn without_descriptors_accepting_waits_and_neither_spins_nor_dies() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let mut child = starve(&path);
    let mut served = connect(&path).await;
    assert_eq!(ask(&mut served, &post("/x", "y")).await.body, "y");
    // More connections than the daemon has descriptors for; the last ones wait in the kernel.
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(connect(&path).await);
    }
    // An accepted client is served meanwhile. Spinning shows only over a period of time; for half a second it
    // would use 50 ticks.
    let before = ticks(&child);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ask(&mut served, &post("/x", "y")).await.body, "y");
    let used = ticks(&child) - before;
    assert!(used < 20, "{used} ticks in half a second: it spins");
    // There is room again: the waiting clients are served.
    let mut last = crowd.pop().unwrap();
    drop(crowd);
    assert_eq!(ask(&mut last, &post("/x", "z")).await.body, "z");
    assert_eq!(ask(&mut last, &post("/stop", "")).await.status, 200);
    assert!(child.wait().unwrap().success());
}
