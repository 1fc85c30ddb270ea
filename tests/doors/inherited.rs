//! Sockets passed by systemd; the tests start this test program again as systemd would.

use crate::support::*;
use gipam::server::{Limits, Listener, LocalAddress, inherited};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

const ROLE: &str = "GIPAM_TEST_INHERITED_ROLE";

/// Starts this program again with two descriptors, 3 and 4, to play the test `helper` in `role`.
fn activate(role: &str, names: &str, sockets: [OwnedFd; 2]) -> Child {
    let [first, second] = sockets;
    // The shell puts the descriptors where systemd would, and then execs the program, so that LISTEN_PID is
    // correct.
    let script = "exec 3<&0 4>&1 0</dev/null 1>&2; LISTEN_PID=$$ exec \"$@\"";
    Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["inherited::helper", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::from(first))
        .stdout(Stdio::from(second))
        .spawn()
        .unwrap()
}

/// Not a test itself: what the program does when `activate` starts it.
#[test]
fn helper() {
    match std::env::var(ROLE).as_deref() {
        Ok("serve") => serve(),
        Ok("refuse") => {
            let refused = inherited().unwrap_err().to_string();
            assert!(refused.contains("\"odd\"") && refused.contains("neither a UNIX nor a TCP"), "{refused}");
        }
        Ok("ignore") => assert!(inherited().unwrap().is_empty()),
        _ => {}
    }
}

fn serve() {
    let mut passed = inherited().unwrap();
    assert!(inherited().unwrap().is_empty(), "a socket is taken only once");
    let names: Vec<_> = passed.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["gipam.socket", "web"]);
    assert!(matches!(passed[0].1.local_address(), LocalAddress::Unix(path) if path.ends_with("d.sock")));
    let (_, web) = passed.pop().unwrap();
    assert!(matches!(web.local_address(), LocalAddress::Tcp(_)));
    let (_, socket) = passed.pop().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let run =
            |listener: Listener| Running::on(listener, TempDir::new().unwrap(), Limits::default(), PATIENCE);
        let (mut socket, mut web) = (run(socket), run(web));
        while !matches!(socket.event().await, Event::Began(request) if request.path() == "/stop") {}
        socket.stop();
        web.stop();
        socket.ended().await;
        web.ended().await;
    });
}

/// Sends a request over a connected stream of any family and reads the answer.
fn exchange(stream: impl Into<OwnedFd>, path: &str) -> Answer {
    let stream = std::os::unix::net::UnixStream::from(stream.into());
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stream = tokio::net::UnixStream::from_std(stream).unwrap();
        stream.write_all(&post(path, "y")).await.unwrap();
        answer(&mut stream).await
    })
}

#[test]
fn an_inherited_socket_is_served_and_never_unlinked_or_bound_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = web.local_addr().unwrap();
    // A client connects before the service runs: it waits, and is then served.
    let early = UnixStream::connect(&path).unwrap();
    let fds = || [socket.try_clone().unwrap().into(), web.try_clone().unwrap().into()];
    let mut child = activate("serve", "gipam.socket:web", fds());
    assert_eq!(exchange(early, "/early").body, "y");
    assert_eq!(exchange(std::net::TcpStream::connect(port).unwrap(), "/web").body, "y");
    assert_eq!(exchange(UnixStream::connect(&path).unwrap(), "/stop").status, 200);
    assert!(child.wait().unwrap().success());
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    // While the service is restarted, a client can still connect; the next process serves it.
    let between = UnixStream::connect(&path).unwrap();
    let mut child = activate("serve", "gipam.socket:web", fds());
    assert_eq!(exchange(between, "/stop").status, 200);
    assert!(child.wait().unwrap().success());
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
}

#[test]
fn a_descriptor_that_is_not_a_stream_socket_is_refused_by_name() {
    let datagram = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let file = tempfile::tempfile().unwrap();
    let mut child = activate("refuse", "odd:file", [datagram.into(), file.into()]);
    assert!(child.wait().unwrap().success());
}

#[test]
fn sockets_meant_for_another_process_are_ignored() {
    let socket = || UnixStream::pair().unwrap().0;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["inherited::helper", "--exact"]).env(ROLE, "ignore");
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").stdin(Stdio::from(OwnedFd::from(socket())));
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
}

#[test]
fn without_sockets_there_are_none() {
    assert!(inherited().unwrap().is_empty());
    // The program can open a listener itself, too.
    Listener::unix(&TempDir::new().unwrap().path().join("d.sock"), 0o600, None, None).unwrap();
}
