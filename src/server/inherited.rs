//! Sockets that systemd bound for us (`LISTEN_FDS`, `LISTEN_FDNAMES`).
//!
//! Promises: the sockets are taken over once and unchanged: they are never bound again or unlinked, and no
//! client in their queues is dropped without an answer. Any socket other than a listening stream socket is
//! refused by name. Call this before starting threads: it removes the variables from the environment, so that
//! no child process mistakes them for its own.

use super::door::{DoorError, Listener};
use listenfd::ListenFd;
use std::env;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The sockets passed to this process, each with its `FileDescriptorName=` (systemd's default is the name of
/// the socket unit; `unknown` if there are no names). Empty if systemd passed none, and after the first call.
///
/// # Errors
/// If one of them is not a listening TCP or UNIX stream socket.
pub fn inherited() -> Result<Vec<(String, Listener)>, DoorError> {
    let ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !ours || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|index| {
            let name = names.next().unwrap_or("unknown").to_owned();
            let listener = take(&mut passed, index).map_err(|why| {
                DoorError(format!("cannot use the socket {name:?} that systemd passed: {why}"))
            })?;
            Ok((name, listener))
        })
        .collect()
}

fn take(passed: &mut ListenFd, index: usize) -> Result<Listener, String> {
    let socket: OwnedFd = match passed.take_unix_listener(index) {
        Ok(Some(socket)) => socket.into(),
        _ => match passed.take_tcp_listener(index) {
            Ok(Some(socket)) => socket.into(),
            Ok(None) => return Err("it is already in use".to_owned()),
            Err(_) => return Err("it is neither a UNIX nor a TCP stream socket".to_owned()),
        },
    };
    let listens = rustix::io::ioctl_fionbio(&socket, true)
        .and_then(|()| rustix::net::sockopt::socket_acceptconn(&socket));
    match listens {
        Ok(true) => Ok(Listener { socket, file: None, inherited: true, tls: None }),
        Ok(false) => Err("it does not listen; its unit needs Accept=no".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
