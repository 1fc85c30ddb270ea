//! Tests with plugin files, each in its own temporary directory.

use super::*;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use tempfile::TempDir;

struct Installation {
    places: PluginDirs,
    name: &'static str,
    _directory: TempDir,
}

fn installation() -> Installation {
    let directory = TempDir::new().unwrap();
    let places =
        PluginDirs { sockets: directory.path().join("run"), specs: directory.path().join("etc/plugins") };
    fs::create_dir_all(&places.sockets).unwrap();
    Installation { places, name: "gipam", _directory: directory }
}

impl Installation {
    fn announce(&self, served: Served<'_>, ours: &[SocketAddr]) -> Result<Announcement, DiscoveryError> {
        announce(&self.places, self.name, &served, ours)
    }

    fn tcp(&self, address: &str) -> Result<Announcement, DiscoveryError> {
        let address = address.parse().unwrap();
        self.announce(Served::Tcp(address), &[address])
    }

    /// Served over the socket in the usual place.
    fn socket(&self) -> Result<Announcement, DiscoveryError> {
        self.announce(Served::Socket(file(&self.places.sockets, self.name, "sock")), &[])
    }

    fn tls(&self, address: &str, host: Option<&str>, identity: bool) -> Result<Announcement, DiscoveryError> {
        let files = Tls {
            cert: "/tls/gipam.pem".into(),
            key: "/tls/gipam.key".into(),
            client_ca: None,
            engine_ca: Some("/tls/ca.pem".into()),
            engine_cert: identity.then(|| "/tls/client.pem".into()),
            engine_key: identity.then(|| "/tls/client.key".into()),
        };
        let address = address.parse().unwrap();
        self.announce(Served::Tls { address, host, files: &files }, &[address])
    }

    fn file(&self, kind: &str) -> PathBuf {
        file(&self.places.specs, self.name, kind)
    }

    fn leave(&self, path: PathBuf, content: &str) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

/// An address that cannot answer while this value exists: the port is bound, but has no listener.
struct Dead {
    address: SocketAddr,
    _socket: std::os::fd::OwnedFd,
}

fn dead() -> Dead {
    use rustix::net::{AddressFamily, SocketType};
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    Dead { address, _socket: socket }
}

fn text(announcement: &Announcement) -> String {
    fs::read_to_string(announcement.path().unwrap()).unwrap()
}

#[test]
fn p1_tcp_writes_a_spec_and_withdraws_it() {
    let at = installation();
    let announcement = at.tcp("192.0.2.1:9090").unwrap();
    assert_eq!(announcement.path().unwrap(), at.places.specs.join("gipam.spec"));
    assert_eq!(text(&announcement), "tcp://192.0.2.1:9090\n");
    let mode = fs::metadata(announcement.path().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
    announcement.withdraw().unwrap();
    assert_eq!(fs::read_dir(&at.places.specs).unwrap().count(), 0);
}

#[test]
fn a_wildcard_listener_is_announced_at_the_loopback() {
    let at = installation();
    assert_eq!(text(&at.tcp("0.0.0.0:9090").unwrap()), "tcp://127.0.0.1:9090\n");
    // A listener for both families answers on IPv4 too.
    let both = TcpListener::bind("[::]:0").unwrap();
    let port = both.local_addr().unwrap().port();
    assert_eq!(text(&at.tcp(&format!("[::]:{port}")).unwrap()), format!("tcp://127.0.0.1:{port}\n"));
    drop(both);
    assert_eq!(reachable(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 1))).to_string(), "[::1]:1");
}

#[test]
fn tls_writes_the_engines_json() {
    let at = installation();
    let announcement = at.tls("0.0.0.0:9443", None, true).unwrap();
    assert_eq!(announcement.path().unwrap(), at.places.specs.join("gipam.json"));
    assert_eq!(
        text(&announcement),
        r#"{
  "Name": "gipam",
  "Addr": "https://127.0.0.1:9443",
  "TLSConfig": {
    "InsecureSkipVerify": false,
    "CAFile": "/tls/ca.pem",
    "CertFile": "/tls/client.pem",
    "KeyFile": "/tls/client.key"
  }
}
"#
    );
    let named = text(&at.tls("0.0.0.0:9443", Some("ipam.example"), false).unwrap());
    assert!(named.contains("\"Addr\": \"https://ipam.example:9443\""), "{named}");
    assert!(named.contains("\"CertFile\": \"\""), "{named}");
    let v6 = text(&at.tls("[::]:9443", Some("2001:db8::1"), false).unwrap());
    assert!(v6.contains("\"Addr\": \"https://[2001:db8::1]:9443\""), "{v6}");
}

#[test]
fn a_plugin_file_that_was_changed_is_not_removed() {
    let at = installation();
    let announcement = at.tcp("192.0.2.1:9090").unwrap();
    let path = at.leave(at.file("spec"), "tcp://192.0.2.2:9090");
    announcement.withdraw().unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "tcp://192.0.2.2:9090");
    // Removing a missing file is not an error.
    let announcement = at.tcp("192.0.2.1:9090").unwrap();
    fs::remove_file(announcement.path().unwrap()).unwrap();
    announcement.withdraw().unwrap();
}

#[test]
fn p1_a_socket_removes_stale_specs() {
    let at = installation();
    let Dead { address: dead, _socket } = dead();
    let spec = at.leave(at.file("spec"), &format!("tcp://{dead}"));
    let nested = at.leave(at.places.specs.join("gipam/gipam.spec"), &format!("tcp://{dead}\n"));
    let json = at.leave(at.file("json"), &format!("{{\"Addr\":\"https://{dead}\"}}"));
    let other = at.leave(at.places.specs.join("other.spec"), &format!("tcp://{dead}"));
    assert!(at.socket().unwrap().path().is_none());
    assert!(!spec.exists() && !nested.exists() && !json.exists());
    assert!(other.exists(), "the file of another driver stays");
}

#[test]
fn p1_a_stale_socket_and_json_give_way_to_tcp() {
    let at = installation();
    let socket = file(&at.places.sockets, at.name, "sock");
    drop(UnixListener::bind(&socket).unwrap());
    let nested = at.places.sockets.join("gipam/gipam.sock");
    fs::create_dir(nested.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&nested).unwrap());
    let dead = dead();
    let json = at.leave(at.file("json"), &format!("{{\"Addr\":\"https://{}\"}}", dead.address));
    let announcement = at.tcp("192.0.2.1:9090").unwrap();
    assert!(!socket.exists() && !nested.exists() && !json.exists());
    assert!(announcement.path().unwrap().exists());
}

#[test]
fn p1_a_live_socket_of_that_name_is_refused_and_no_file_is_changed() {
    let at = installation();
    let socket = file(&at.places.sockets, at.name, "sock");
    let _live = UnixListener::bind(&socket).unwrap();
    let spec = at.leave(at.file("spec"), "tcp://192.0.2.9:1");
    let refused = at.tls("192.0.2.1:9443", None, false).unwrap_err().to_string();
    assert!(
        refused.starts_with(&format!("driver gipam is already served at {}", socket.display())),
        "{refused}"
    );
    assert!(spec.exists() && socket.exists() && !at.file("json").exists());
}

#[test]
fn p1_a_live_spec_of_another_program_is_refused() {
    let at = installation();
    let live = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = live.local_addr().unwrap();
    for (path, content) in [
        (at.file("spec"), format!("tcp://{address}")),
        (at.file("json"), format!("{{\"Name\":\"gipam\",\"Addr\":\"https://{address}/\"}}")),
    ] {
        let path = at.leave(path, &content);
        for refused in [at.socket(), at.tcp("192.0.2.1:9090"), at.tls("192.0.2.1:9443", None, false)] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(&address.to_string()), "{refused}");
            assert!(refused.contains(&path.display().to_string()), "{refused}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_spec_that_points_at_ourselves_is_ours() {
    let at = installation();
    let ours = TcpListener::bind("0.0.0.0:0").unwrap();
    let address = ours.local_addr().unwrap();
    let spec = at.leave(at.file("spec"), &format!("tcp://127.0.0.1:{}", address.port()));
    // The process was killed and started again with the same settings: the file is simply written again.
    assert_eq!(text(&at.tcp(&address.to_string()).unwrap()), format!("tcp://127.0.0.1:{}\n", address.port()));
    // The port now serves another of our names, and this one has a socket.
    at.announce(Served::Socket(file(&at.places.sockets, at.name, "sock")), &[address])
        .unwrap()
        .withdraw()
        .unwrap();
    assert!(!spec.exists());
}

#[test]
fn unreadable_leftovers_are_replaced() {
    let at = installation();
    for content in ["", "\0\u{1}", "tcp://", "nonsense", "{\"Addr\":7}", "unix:///nowhere/x.sock"] {
        at.leave(at.file("spec"), content);
        assert_eq!(text(&at.tcp("192.0.2.1:9090").unwrap()), "tcp://192.0.2.1:9090\n");
    }
}

#[test]
fn a_socket_outside_the_engines_directory_changes_no_file() {
    let at = installation();
    let dead = dead();
    let spec = at.leave(at.file("spec"), &format!("tcp://{}", dead.address));
    let elsewhere = at.places.sockets.join("elsewhere/gipam.sock");
    assert!(at.announce(Served::Socket(elsewhere), &[]).unwrap().path().is_none());
    assert!(spec.exists());
}

/// Runs `work` on a thread; the test fails if `work` does not end.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    done.recv_timeout(Duration::from_secs(20)).expect("the work did not end")
}

#[test]
fn p1_a_socket_whose_queue_is_full_counts_as_live_without_a_wait() {
    let installation = installation();
    let path = file(&installation.places.sockets, installation.name, "sock");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    let mut waiting = Vec::new();
    loop {
        use rustix::net::{AddressFamily, SocketFlags, SocketType};
        let flags = SocketFlags::NONBLOCK;
        let client = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        if rustix::net::connect(&client, &address).is_err() {
            break;
        }
        waiting.push(client);
    }
    let spec = installation.file("spec");
    let (refused, _installation) = ends(move || (installation.tcp("127.0.0.1:7").map(|_| ()), installation));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains(" is already served at "), "{refused}");
    assert!(path.exists() && !spec.exists());
}

/// The kernel drops connection attempts to such an address, and a blocking client would wait for minutes.
#[test]
fn p1_an_address_whose_queue_is_full_counts_as_live_without_a_long_wait() {
    let installation = installation();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(client) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(client);
    }
    let spec = installation.file("spec");
    let spec = installation.leave(spec, &format!("tcp://{address}\n"));
    let begun = std::time::Instant::now();
    let (refused, _installation) = ends(move || (installation.socket().map(|_| ()), installation));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains(" is already served at "), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(spec.exists());
}

#[test]
fn p1_only_regular_files_are_read() {
    let installation = installation();
    let spec = installation.file("spec");
    fs::create_dir_all(&installation.places.specs).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&spec).status().unwrap();
    assert!(made.success());
    assert!(ends(move || installation.socket().map(|_| ())).is_ok());
}
