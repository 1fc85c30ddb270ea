//! A BARE LOOP: answers every request on a UNIX socket with the same bytes. An upper bound for any server on
//! this machine.
//!
//! Promises: one thread, one read and one write per request; finds the end of each request and does not parse
//! anything else.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::wire::{content_length, head_length};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.docker.plugins.v1.2+json\r\n\
    content-length: 29\r\n\r\n{\"Implements\":[\"IpamDriver\"]}";

/// Serves until it is killed.
pub fn serve(socket: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let mut connections: Vec<Option<(OwnedFd, Vec<u8>)>> = Vec::new();
    let mut events = vec![Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 256];
    let mut buffer = [0; 8192];
    loop {
        let ready = epoll::wait(&poll, events.as_mut_slice(), None)?;
        for event in &events[..ready] {
            if event.data.u64() == u64::MAX {
                let stream = OwnedFd::from(listener.accept()?.0);
                let number = connections.iter().position(Option::is_none).unwrap_or(connections.len());
                epoll::add(&poll, &stream, EventData::new_u64(number as u64), EventFlags::IN)?;
                if number == connections.len() {
                    connections.push(None);
                }
                connections[number] = Some((stream, Vec::new()));
                continue;
            }
            let slot = &mut connections[event.data.u64() as usize];
            let Some((stream, partial)) = slot else { continue };
            match rustix::io::read(&*stream, &mut buffer) {
                Ok(0) | Err(_) => *slot = None,
                Ok(count) if partial.is_empty() && is_whole(&buffer[..count]) => {
                    rustix::io::write(stream, ANSWER)?;
                }
                Ok(count) => {
                    partial.extend_from_slice(&buffer[..count]);
                    if is_whole(partial) {
                        partial.clear();
                        rustix::io::write(stream, ANSWER)?;
                    }
                }
            }
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    head_length(request)
        .is_some_and(|head| request.len() >= head + content_length(&request[..head]).unwrap_or(0))
}
