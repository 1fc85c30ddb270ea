//! A daemon with a web page, and requests to it.

use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::daemon::{Daemon, House, PATIENCE, until};
use super::http::{Answer, Wire};

/// The configuration of these tests.
pub const TOML: &str = "http = \"0\"\nreserved = [\"198.51.100.0/28\"]\n[gc]\nengine = \"\"\n\
    [[pool]]\nname = \"lan\"\nv4 = { base = \"198.51.100.0/24\", size = 28 }\n\
    v6 = { base = \"2001:db8:77::/48\", size = 64 }\n";

/// A daemon that serves its page on a port chosen by the kernel.
pub struct Site {
    pub house: House,
    pub daemon: Daemon,
    pub address: SocketAddr,
}

impl Site {
    pub fn new(toml: &str) -> Site {
        Self::of(House::with_toml(toml))
    }

    pub fn of(house: House) -> Site {
        let daemon = house.start();
        let address = until("the log names the page's address", || {
            let log = house.log();
            let rest = log.split("are at http://").nth(1)?;
            rest.split('/').next()?.parse().ok()
        });
        Site { house, daemon, address }
    }

    pub fn wire(&self) -> Wire {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire::over(stream)
    }

    /// Sends one request with these header fields.
    pub fn ask(&self, method: &str, path: &str, fields: &str) -> Answer {
        let mut wire = self.wire();
        wire.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n").as_bytes()).unwrap();
        if method == "HEAD" { wire.head().unwrap() } else { wire.answer().unwrap() }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "Host: localhost\r\n")
    }

    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The value of one sample; `series` is its name and labels, as the metrics text contains them.
    pub fn sample(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").text();
        let line =
            text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}
