//! HTTP as dockerd writes it, byte for byte, and answers as dockerd reads them.
//!
//! Promises: sends what it is given, without correcting it: no Content-Type, any Host, any length; reads
//! whole answers. Shared by several test programs; each uses a part of it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::daemon::PATIENCE;

/// A stream that can be read and written.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// One connection, kept alive.
pub struct Wire {
    stream: BufReader<Box<dyn Stream>>,
    /// The Host header, which Engine 20.10 leaves empty.
    pub host: &'static str,
}

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Wire {
    pub fn over(stream: impl Stream + 'static) -> Wire {
        Wire { stream: BufReader::new(Box::new(stream)), host: "plugin.moby.localhost" }
    }

    pub fn try_unix(path: &Path) -> Option<Wire> {
        let stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Wire::over(stream))
    }

    pub fn unix(path: &Path) -> Wire {
        Wire::try_unix(path).unwrap_or_else(|| panic!("cannot connect to {}", path.display()))
    }

    /// The bytes of a call, as Go's client writes them.
    pub fn request(host: &str, method: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = format!(
            "POST /{method} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n\
             Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    pub fn try_call(&mut self, method: &str, body: impl AsRef<[u8]>) -> Option<Answer> {
        self.send(&Wire::request(self.host, method, body.as_ref())).ok()?;
        self.answer().ok()
    }

    /// Sends one call and returns its answer.
    pub fn call(&mut self, method: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(&Wire::request(self.host, method, body.as_ref())).unwrap();
        self.answer().unwrap_or_else(|error| panic!("{method}: no answer: {error}"))
    }

    /// One call of the driver, which must succeed.
    pub fn ok(&mut self, method: &str, body: &Value) -> Value {
        self.call(&format!("IpamDriver.{method}"), body.to_string()).ok()
    }

    /// One call of the driver, which must be refused; returns the text.
    pub fn refused(&mut self, method: &str, body: &Value) -> String {
        self.call(&format!("IpamDriver.{method}"), body.to_string()).refused()
    }

    /// RequestPool in space local with an empty pool.
    pub fn subnet(&mut self, v6: bool) -> (String, String) {
        self.pool(&serde_json::json!({
            "AddressSpace": "local", "Pool": "", "SubPool": "", "Options": {}, "V6": v6
        }))
    }

    /// RequestPool; returns PoolID and prefix.
    pub fn pool(&mut self, body: &Value) -> (String, String) {
        let answer = self.ok("RequestPool", body);
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (text("PoolID"), text("Pool"))
    }

    /// RequestAddress; returns the address with its prefix length.
    pub fn address(&mut self, id: &str, address: &str, options: Value) -> String {
        let body = serde_json::json!({"PoolID": id, "Address": address, "Options": options});
        self.ok("RequestAddress", &body)["Address"].as_str().unwrap().to_owned()
    }

    /// ReleaseAddress.
    pub fn release(&mut self, id: &str, address: &str) {
        let address = address.split('/').next().unwrap();
        let answer = self.ok("ReleaseAddress", &serde_json::json!({"PoolID": id, "Address": address}));
        assert_eq!(answer, serde_json::json!({}));
    }

    /// ReleasePool.
    pub fn release_pool(&mut self, id: &str) {
        assert_eq!(self.ok("ReleasePool", &serde_json::json!({"PoolID": id})), serde_json::json!({}));
    }

    /// A view of the admin socket.
    pub fn get(&mut self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// The answer to a `GET`.
    pub fn text(&mut self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: gipam\r\n\r\n").as_bytes()).unwrap();
        let answer = self.answer().unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)?;
        self.stream.get_mut().flush()
    }

    /// Reads the head of an answer that has no body.
    pub fn head(&mut self) -> io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let wrong = || io::Error::other(head.clone());
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
        Ok(Answer { status, head, body: Vec::new() })
    }

    /// Reads one answer; a closed connection is an error.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let Answer { status, head, .. } = self.head()?;
        let body = self.body(&head)?;
        Ok(Answer { status, head, body })
    }

    /// Reads the body that belongs to this head.
    pub fn body(&mut self, head: &str) -> io::Result<Vec<u8>> {
        let field = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        if field("transfer-encoding") == Some("chunked") {
            return self.chunks();
        }
        let length = field("content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.ok_or_else(|| io::Error::other(head.to_owned()))?];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    /// Reads a chunked body.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            let mut piece = vec![0; length + 2];
            self.stream.read_exact(&mut piece)?;
            if length == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&piece[..length]);
        }
    }
}

/// Closes the sending half of a connection, as a client that has sent everything.
pub fn half_close(stream: &UnixStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Checks a success as dockerd needs it: exactly 200, a JSON object (P7).
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        let value: Value = serde_json::from_slice(&self.body).unwrap();
        assert!(value.is_object(), "{value}");
        value
    }

    /// Checks a refusal: 4xx or 5xx, with the same one-line text in `Err` and `Error` (P7, duty 13).
    #[track_caller]
    pub fn refused(&self) -> String {
        assert!((400..600).contains(&self.status), "{} {}", self.status, self.text());
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()));
        let text = value["Err"].as_str().unwrap_or_else(|| panic!("no Err in {value}")).to_owned();
        assert_eq!(value["Error"], value["Err"]);
        assert!(text.len() > 10 && !text.chars().any(char::is_control), "{text:?}");
        text
    }
}
