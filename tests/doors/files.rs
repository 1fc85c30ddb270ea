//! Socket files: modes, owners, stale and live ones, and which process removes them at the end.

use crate::support::*;
use gipam::server::{Limits, Listener, LocalAddress};
use std::os::unix::fs::MetadataExt;
use tempfile::TempDir;

fn open(path: &std::path::Path) -> Result<Listener, gipam::server::DoorError> {
    Listener::unix(path, 0o600, None, None)
}

fn with_mode(path: &std::path::Path, mode: u32) -> Listener {
    Listener::unix(path, mode, None, None).unwrap()
}

#[test]
fn a_socket_is_for_its_owner_only_by_default() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let _listener = open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn the_mode_is_exact_whatever_the_umask() {
    let directory = TempDir::new().unwrap();
    for wanted in [0o600, 0o660, 0o666, 0o777] {
        let path = directory.path().join(format!("{wanted:o}.sock"));
        let _listener = with_mode(&path, wanted);
        assert_eq!(mode(&path), wanted);
    }
}

#[test]
fn the_mode_is_never_wider() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let (watched, done) = (path.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stop = done.clone();
    let watcher = std::thread::spawn(move || {
        let mut seen = 0;
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            if let Ok(found) = std::fs::symlink_metadata(&watched) {
                assert_eq!(found.mode() & 0o077, 0, "{:o}", found.mode());
                seen += 1;
            }
        }
        seen
    });
    for _ in 0..2000 {
        drop(open(&path).unwrap());
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 0);
}

#[test]
fn owner_and_group_can_be_set() {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // Only root may give files away; other users can only set themselves as owner.
    let (owner, group) = if uid == 0 { (12345, 54321) } else { (uid, gid) };
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let _listener = Listener::unix(&path, 0o660, Some(owner), Some(group)).unwrap();
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (owner, group, 0o660));
}

#[test]
fn the_directory_is_created() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("run/docker/plugins/d.sock");
    let _listener = open(&path).unwrap();
    assert!(path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    // The standard library leaves the file in place, as a killed process does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = open(&path).unwrap();
    let server = Running::on(listener, directory, Limits::default(), PATIENCE);
    assert_eq!(ask(&mut server.connect().await, &post("/x", "y")).await.body, "y");
}

#[test]
fn a_live_socket_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let _first = open(&path).unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let refused = open(&path).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("a process is already listening on {}; stop it, or choose another path", path.display())
    );
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
}

#[test]
fn a_file_that_is_not_a_socket_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    std::fs::write(&path, "precious").unwrap();
    let refused = open(&path).unwrap_err().to_string();
    assert!(refused.contains("exists and is not a socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let link = directory.path().join("link.sock");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    assert!(open(&link).unwrap_err().to_string().contains("is not a socket"));
}

#[test]
fn a_path_too_long_for_a_socket_is_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x".repeat(120));
    let refused = open(&path).unwrap_err().to_string();
    assert!(refused.contains(&path.display().to_string()), "{refused}");
}

#[test]
fn a_listener_that_was_never_served_leaves_no_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    drop(open(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn a_file_that_another_process_has_replaced_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let ours = open(&path).unwrap();
    std::fs::rename(&path, directory.path().join("moved")).unwrap();
    let theirs = open(&path).unwrap();
    drop(ours);
    assert!(path.exists());
    drop(theirs);
    assert!(!path.exists());
}

#[test]
fn a_listener_that_cannot_be_completed_leaves_no_file() {
    if rustix::process::getuid().is_root() {
        return; // root may give files away, so the call does not fail
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    assert!(Listener::unix(&path, 0o600, Some(0), None).is_err());
    assert!(!path.exists());
}

#[test]
fn many_concurrent_starts_make_one_owner() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let starters: Vec<_> = (0..16)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || open(&path).ok())
        })
        .collect();
    let listeners: Vec<_> = starters.into_iter().filter_map(|starter| starter.join().unwrap()).collect();
    assert_eq!(listeners.len(), 1);
    assert_eq!(listeners[0].local_address(), LocalAddress::Unix(path));
}

#[test]
fn a_port_in_use_is_refused_by_number() {
    let first = Listener::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let LocalAddress::Tcp(address) = first.local_address() else { panic!("not TCP") };
    let refused = Listener::tcp(address).unwrap_err().to_string();
    assert!(refused.starts_with(&format!("cannot listen on {address}: ")), "{refused}");
}

/// A listener that never accepts, with a full queue.
fn full(path: &std::path::Path) -> (std::os::fd::OwnedFd, Vec<std::os::fd::OwnedFd>) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let address = SocketAddrUnix::new(path).unwrap();
    let socket = || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    };
    let listener = socket();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = socket();
        match rustix::net::connect(&client, &address) {
            Ok(()) => waiting.push(client),
            Err(rustix::io::Errno::AGAIN) => return (listener, waiting),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_live_socket_whose_queue_is_full_is_refused_at_once_and_not_waited_for() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let _full = full(&path);
    let (sender, opened) = std::sync::mpsc::channel();
    let tried = path.clone();
    std::thread::spawn(move || sender.send(open(&tried).map(drop).map_err(|error| error.to_string())));
    let refused =
        opened.recv_timeout(PATIENCE).expect("opening must not wait for a place in that queue").unwrap_err();
    assert!(refused.contains("already listening"), "{refused}");
    assert!(path.exists());
}

#[test]
fn a_locked_directory_is_not_waited_for_forever() {
    let directory = TempDir::new().unwrap();
    let held = std::fs::File::open(directory.path()).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (sender, opened) = std::sync::mpsc::channel();
    let path = directory.path().join("d.sock");
    std::thread::spawn(move || sender.send(open(&path).map(drop).map_err(|error| error.to_string())));
    let opened = opened.recv_timeout(PATIENCE).expect("opening must not wait for that lock");
    assert_eq!(opened, Ok(()));
}
