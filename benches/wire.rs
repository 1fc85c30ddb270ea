//! CONNECTIONS: many HTTP/1.1 connections that are kept alive, used by one thread, each with one request in
//! flight at a time.
//!
//! Promises: cheap, because it shares the machine with the server: one write and one read per request, no
//! JSON, one thread that waits for all connections at once (and for a single connection in its read). An
//! invalid answer ends the run. Does not know IPAM: a [`Script`] provides the requests and reads the answers.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// The address at which a plugin listens.
#[derive(Clone, Debug)]
pub enum Door {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl Door {
    /// Opens a connection to the plugin.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(OwnedFd::from),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
        }
    }
}

/// Provides the requests and reads the answers.
pub trait Script {
    /// Writes the body of the connection's next request and returns its path without the slash; `None` if the
    /// connection does not have a further request.
    fn next(&mut self, connection: usize, body: &mut Vec<u8>) -> Option<&'static str>;

    /// The answer to that request. An error is counted as a failure.
    fn answer(&mut self, connection: usize, status: u16, body: &[u8]) -> Result<(), String>;
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// After this many requests.
    pub requests: u64,
    /// After this time.
    pub time: Duration,
}

/// The result of one path.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The path.
    pub path: &'static str,
    /// From the write of each request to the end of its answer, in nanoseconds.
    pub nanos: Vec<u32>,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The results of each path.
    pub calls: Vec<Call>,
    /// From the first request to the last answer.
    pub wall: Duration,
    /// How many answers the script refused.
    pub failed: u64,
    /// The text of the first refused answer.
    pub failure: Option<String>,
}

impl Run {
    /// The number of all requests.
    pub fn requests(&self) -> u64 {
        self.calls.iter().map(|call| call.nanos.len() as u64).sum()
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.requests() as f64 / self.wall.as_secs_f64().max(1e-9)
    }
}

struct Connection {
    stream: OwnedFd,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
    /// The index of the call in flight.
    call: Option<usize>,
    sent: Instant,
}

/// Open connections, which are used for one run after another.
pub struct Crew {
    connections: Vec<Connection>,
    poll: OwnedFd,
    body: Vec<u8>,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Crew {
    /// Opens this many connections.
    pub fn connect(door: &Door, count: usize) -> io::Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for number in 0..count {
            let stream = door.connect()?;
            epoll::add(&poll, &stream, EventData::new_u64(number as u64), EventFlags::IN)?;
            let (input, output) = (vec![0; 8192], Vec::with_capacity(512));
            connections.push(Connection {
                stream,
                input,
                filled: 0,
                output,
                call: None,
                sent: Instant::now(),
            });
        }
        Ok(Self { connections, poll, body: Vec::with_capacity(512) })
    }

    /// The number of connections.
    pub const fn count(&self) -> usize {
        self.connections.len()
    }

    /// Sends the script's requests until the limit, or until no connection has a further request.
    pub fn run(&mut self, script: &mut dyn Script, limit: Limit) -> io::Result<Run> {
        let began = Instant::now();
        let end = began.checked_add(limit.time);
        let mut run = Run::default();
        let mut left = limit.requests;
        let mut waiting = 0;
        for number in 0..self.connections.len() {
            waiting += usize::from(self.ask(number, script, &mut run, &mut left)?);
        }
        let mut events = vec![Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 256];
        let alone = self.connections.len() == 1;
        while waiting > 0 {
            let ready = if alone { 1 } else { epoll::wait(&self.poll, events.as_mut_slice(), None)? };
            for event in &events[..ready] {
                let number = if alone { 0 } else { event.data.u64() as usize };
                if !self.take(number, script, &mut run)? {
                    continue;
                }
                if end.is_some_and(|end| self.connections[number].sent >= end) {
                    left = 0;
                }
                waiting -= usize::from(!self.ask(number, script, &mut run, &mut left)?);
            }
        }
        run.wall = began.elapsed();
        Ok(run)
    }

    /// Sends the connection's next request, if there is one.
    fn ask(
        &mut self,
        number: usize,
        script: &mut dyn Script,
        run: &mut Run,
        left: &mut u64,
    ) -> io::Result<bool> {
        if *left == 0 {
            return Ok(false);
        }
        self.body.clear();
        let Some(path) = script.next(number, &mut self.body) else { return Ok(false) };
        *left -= 1;
        let known = run.calls.iter().position(|call| call.path == path);
        let call = known.unwrap_or_else(|| {
            run.calls.push(Call { path, nanos: Vec::new() });
            run.calls.len() - 1
        });
        let connection = &mut self.connections[number];
        connection.output.clear();
        write_request(&mut connection.output, path, &self.body);
        connection.call = Some(call);
        connection.sent = Instant::now();
        let mut rest = connection.output.as_slice();
        while !rest.is_empty() {
            let count = rustix::io::write(&connection.stream, rest)?;
            rest = &rest[count..];
        }
        Ok(true)
    }

    /// Reads what has arrived; returns whether an answer is complete. Its time goes into the run, its body to
    /// the script.
    fn take(&mut self, number: usize, script: &mut dyn Script, run: &mut Run) -> io::Result<bool> {
        let connection = &mut self.connections[number];
        if connection.filled == connection.input.len() {
            connection.input.resize(2 * connection.filled, 0);
        }
        let count = rustix::io::read(&connection.stream, &mut connection.input[connection.filled..])?;
        if count == 0 {
            return Err(broken("the plugin closed a connection that was to be kept alive"));
        }
        connection.filled += count;
        let Some((status, body)) = parse_answer(&connection.input[..connection.filled])? else {
            return Ok(false);
        };
        let now = Instant::now();
        let call = connection.call.take().ok_or_else(|| broken("an answer without a request"))?;
        let nanos = now.duration_since(connection.sent).as_nanos();
        run.calls[call].nanos.push(u32::try_from(nanos).unwrap_or(u32::MAX));
        // Until the next request, `sent` is the time of the last answer.
        connection.sent = now;
        if let Err(text) = script.answer(number, status, body) {
            run.failed += 1;
            run.failure.get_or_insert(text);
        }
        connection.filled = 0;
        Ok(true)
    }
}

/// The request as Docker's client writes it.
pub fn write_request(output: &mut Vec<u8>, path: &str, body: &[u8]) {
    output.extend_from_slice(b"POST /");
    output.extend_from_slice(path.as_bytes());
    output.extend_from_slice(
        b" HTTP/1.1\r\nHost: plugin.moby.localhost\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: ",
    );
    write_number(output, body.len() as u64);
    output.extend_from_slice(b"\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\r\n");
    output.extend_from_slice(body);
}

/// Writes a number in decimal digits.
pub fn write_number(output: &mut Vec<u8>, number: u64) {
    if number >= 10 {
        write_number(output, number / 10);
    }
    output.push(b'0' + (number % 10) as u8);
}

/// The status and body of an answer, if it is complete.
fn parse_answer(input: &[u8]) -> io::Result<Option<(u16, &[u8])>> {
    let Some(head) = head_length(input) else { return Ok(None) };
    let status = input.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let status =
        status.filter(|_| input.starts_with(b"HTTP/1.")).ok_or_else(|| broken("not an HTTP answer"))?;
    let length = content_length(&input[..head]).ok_or_else(|| broken("an answer without Content-Length"))?;
    match input.len() - head {
        there if there < length => Ok(None),
        there if there > length => Err(broken("more than one answer to one request")),
        _ => Ok(Some((status, &input[head..]))),
    }
}

/// The length of the head with its empty line, if the head is complete.
pub fn head_length(input: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = input[from..].iter().position(|byte| *byte == b'\n') {
        let after = from + at + 1;
        if input[after..].starts_with(b"\r\n") {
            return Some(after + 2);
        }
        from = after;
    }
    None
}

/// The value of Content-Length.
pub fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_whole_or_not_at_all() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX: y\r\n\r\n{}";
        assert!(matches!(parse_answer(whole), Ok(Some((200, b"{}")))));
        for length in 0..whole.len() {
            assert!(matches!(parse_answer(&whole[..length]), Ok(None)), "{length} bytes");
        }
        assert!(parse_answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}").is_err());
    }
}
