//! A MEMBER OF ETCD for measurements: the only one of its cluster, on loopback, with its data in memory.
//!
//! Promises: listens only on 127.0.0.1; is killed and removed with its data when dropped. Counts its calls as etcd itself does,
//! so that no client can hide one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest wait until it serves; only a bug reaches it.
const PATIENCE: Duration = Duration::from_secs(30);
/// The line of its metrics in which each method's calls are counted, as far as the method.
const COUNTED: &str = "grpc_server_started_total{grpc_method=";
/// Calls to keys and values, in the same line.
const KEYS: &str = "grpc_service=\"etcdserverpb.KV\"";

/// A running member.
#[derive(Debug)]
pub struct Member {
    child: Child,
    directory: PathBuf,
    /// Where clients connect.
    pub address: SocketAddr,
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The directory of etcd's programs.
fn programs() -> io::Result<PathBuf> {
    let found = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/etcd.sh")).output()?;
    if !found.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&found.stderr).trim().to_owned()));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&found.stdout).trim()))
}

impl Member {
    /// Starts it, and waits until it serves. Its data are in memory where that can be had, else in `directory`.
    pub fn start(directory: &Path) -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory } else { directory };
        let directory = parent.join(format!("gipam-bench-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let (address, peer) = (free_address()?, free_address()?);
        let (client, peer) = (format!("http://{address}"), format!("http://{peer}"));
        let mut command = Command::new(programs()?.join("etcd"));
        command.env_clear().arg("--data-dir").arg(directory.join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        let log = File::create(directory.join("log"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut member = Self { child, directory, address };
        let began = Instant::now();
        while !member.get("/health").is_ok_and(|text| text.contains("\"true\"")) {
            if member.child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                let log = fs::read_to_string(member.directory.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("etcd does not serve: {log}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(member)
    }

    /// How many calls it has received: reads and transactions of every client.
    pub fn calls(&self) -> io::Result<u64> {
        let text = self.get("/metrics")?;
        let lines = text.lines().filter(|line| line.starts_with(COUNTED) && line.contains(KEYS));
        let counts: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        if counts.is_empty() {
            return Err(io::Error::other("etcd's metrics do not count calls"));
        }
        Ok(counts.iter().sum::<f64>() as u64)
    }

    /// The body of a page of it.
    fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What cannot be removed is in memory, and ends with the machine.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
