//! Starts and stops of the daemon: stops with requests in flight, clients that disconnect, sockets of dead
//! processes, a second daemon, and systemd as the supervisor.

use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, House, PATIENCE, POOLS, until};
use crate::facts::{asked, gateway};
use crate::http::Wire;

/// A lease file that an old gipam left behind.
const OLD_LEASES: &str = include_str!("../../src/store/old_gipam/fixtures/second.json");

fn request(method: &str, body: &Value) -> Vec<u8> {
    Wire::request("", &format!("IpamDriver.{method}"), body.to_string().as_bytes())
}

/// Suspends the daemon, runs `meanwhile`, and resumes the daemon.
fn frozen<T>(daemon: &Daemon, meanwhile: impl FnOnce() -> T) -> T {
    daemon.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", daemon.child.id());
    until("the daemon is suspended", || {
        std::fs::read_to_string(&stat).unwrap().rsplit(") ").next().unwrap().starts_with('T').then_some(())
    });
    let outcome = meanwhile();
    daemon.signal(Signal::CONT);
    outcome
}

#[test]
fn duty_2_requests_in_flight_at_sigterm_are_answered() {
    let house = House::new(&POOLS);
    let mut daemon = house.start();
    let mut idle = daemon.wire();
    let (id, _) = idle.subnet(false);
    let address = idle.address(&id, "", Value::Null);
    let mut others: Vec<Wire> = (0..8).map(|_| daemon.wire()).collect();
    let mut fresh = frozen(&daemon, || {
        for (at, wire) in others.iter_mut().enumerate() {
            let body = asked("local", &format!("203.0.113.{}/28", at * 16), "", json!({}), false);
            wire.send(&request("RequestPool", &body)).unwrap();
        }
        idle.send(&request("ReleaseAddress", &json!({"PoolID": id, "Address": address.split('/').next()})))
            .unwrap();
        // Connected, but not accepted yet.
        let mut fresh = daemon.wire();
        fresh
            .send(&request("RequestAddress", &json!({"PoolID": id, "Address": "", "Options": null})))
            .unwrap();
        daemon.signal(Signal::TERM);
        fresh
    });
    for wire in &mut others {
        wire.answer().unwrap().ok();
    }
    idle.answer().unwrap().ok();
    fresh.answer().unwrap().ok();
    assert!(daemon.wait().success(), "{}", house.log());
    assert!(!house.socket().exists() && !house.admin().exists(), "no socket file remains");
    let daemon = house.start();
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 9);
    assert_eq!(daemon.view("/v1/leases").as_array().unwrap().len(), 1);
}

/// Signals that arrive while the books are still being read: an old lease file that is a pipe delays the
/// start.
#[test]
fn duty_2_a_signal_during_the_start_is_obeyed() {
    for (first, ends) in [(Signal::TERM, true), (Signal::INT, true), (Signal::HUP, false)] {
        let mut house = House::new(&[]);
        let file = house.path("leases.json");
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RWXU).unwrap();
        house.set("--file", &file);
        let mut daemon = house.spawn();
        let status = format!("/proc/{}/status", daemon.child.id());
        let caught = until("the signal is caught", || {
            let text = std::fs::read_to_string(&status).unwrap();
            let mask =
                text.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim).unwrap_or("0");
            let mask = u64::from_str_radix(mask, 16).unwrap();
            (mask >> (first.as_raw() - 1) & 1 == 1).then_some(mask)
        });
        assert!(!house.socket().exists(), "no listener is open yet: {caught:x}");
        daemon.signal(first);
        std::fs::write(&file, OLD_LEASES).unwrap();
        if !ends {
            until("the daemon serves", || Wire::try_unix(&house.socket()));
            daemon.signal(Signal::TERM);
        }
        assert!(daemon.wait().success(), "{}", house.log());
        assert!(!house.socket().exists() && !house.admin().exists(), "no socket file remains");
    }
}

#[test]
fn duty_2_an_idle_stop_is_quick_with_sigterm_and_sigint() {
    for signal in [Signal::TERM, Signal::INT] {
        let house = House::new(&POOLS);
        let mut daemon = house.start();
        // A silent connection does not delay the stop.
        let _silent = daemon.wire();
        let mut used = daemon.wire();
        used.subnet(false);
        let began = std::time::Instant::now();
        daemon.signal(signal);
        assert!(daemon.wait().success(), "{}", house.log());
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    }
}

#[test]
fn duty_2_p20_a_grant_whose_caller_has_gone_is_undone_and_a_release_is_carried_out() {
    let daemon = House::new(&POOLS).start();
    let mut wire = daemon.wire();
    let (id, _) = wire.subnet(false);
    let address = wire.address(&id, "", Value::Null);
    let before = daemon.books();
    let requests = || daemon.view("/v1/status")["requests"].as_u64().unwrap();
    let seen = requests();
    let fds = format!("/proc/{}/fd", daemon.child.id());
    let open = || std::fs::read_dir(&fds).unwrap().count();
    let connections = open();
    frozen(&daemon, || {
        for body in [
            asked("local", "", "", json!({}), false),
            asked("global", "203.0.113.0/24", "", json!({}), false),
        ] {
            daemon.wire().send(&request("RequestPool", &body)).unwrap();
        }
        let body = json!({"PoolID": id, "Address": "", "Options": null});
        daemon.wire().send(&request("RequestAddress", &body)).unwrap();
    });
    // Whether or not the daemon saw the requests, they leave nothing behind.
    wire.call("Plugin.Activate", "").ok();
    until("the daemon has closed the abandoned connections", || (open() <= connections).then_some(()));
    until("the books are as before", || (daemon.books() == before).then_some(()));
    let between = requests();
    assert!((seen + 1..=seen + 4).contains(&between), "{seen} {between}");
    frozen(&daemon, || {
        let body = json!({"PoolID": id, "Address": address.split('/').next()});
        daemon.wire().send(&request("ReleaseAddress", &body)).unwrap();
    });
    until("the release is carried out", || (daemon.view("/v1/leases") == json!([])).then_some(()));
    until("the daemon has closed that connection, too", || (open() <= connections).then_some(()));
    until("only the first subnet is left", || {
        (daemon.view("/v1/subnets").as_array().unwrap().len() == 1).then_some(())
    });
}

/// dockerd was killed after the answer was sent, or the answer was lost: Docker will never release the
/// subnet.
#[test]
fn p20_duty_8_an_orphan_is_named_with_the_command_that_frees_it() {
    let house = House::new(&POOLS);
    let daemon = house.start();
    let mut lost = daemon.wire();
    lost.send(&request("RequestPool", &asked("local", "198.51.100.0/24", "", json!({}), false))).unwrap();
    until("the subnet is granted", || {
        daemon.view("/v1/subnets").to_string().contains("198.51.100.0/24").then_some(())
    });
    drop(lost);
    let again = asked("local", "198.51.100.0/25", "", json!({}), false);
    let text = daemon.wire().refused("RequestPool", &again);
    let command = text.split("if none has it: ").nth(1).unwrap();
    assert_eq!(command, "gipam release 198.51.100.0/24 --force");
    let mut words: Vec<&str> = command.split(' ').skip(1).collect();
    // This machine does not have an Engine that could tell whether a network uses the subnet.
    let refused = house.gipam(&words);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("repeat with --without-engine"), "{text}");
    words.push("--without-engine");
    let output = house.gipam(&words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    daemon.wire().pool(&again);
    // The command line shows the same views as the admin socket.
    assert_eq!([house.json(&["subnets"]), house.json(&["leases", "--all"])], daemon.books());
}

#[test]
fn p3_duty_15_a_socket_of_a_dead_process_is_replaced_and_a_live_one_is_not() {
    let house = House::new(&POOLS);
    let daemon = house.start();
    let (id, _) = daemon.wire().subnet(false);
    daemon.kill();
    assert!(std::fs::metadata(house.socket()).unwrap().file_type().is_socket(), "its socket file remains");
    let daemon = house.start();
    assert_eq!(daemon.view("/v1/subnets")[0]["id"], json!(id));
    // Another gipam, with its own books, at the same socket.
    let mut other = House::new(&POOLS);
    other.set("--socket", &house.socket());
    other.arguments.extend(["--admin".to_owned(), other.admin().display().to_string()]);
    let (code, text) = other.refuse();
    assert_eq!(code, 1);
    assert!(text.contains("already listening on") && text.contains("d.sock"), "{text}");
    daemon.wire().call("Plugin.Activate", "").ok();
    // A file that is not a socket stays as it is.
    let odd = House::new(&POOLS);
    std::fs::write(odd.socket(), "precious").unwrap();
    let (code, text) = odd.refuse();
    assert_eq!((code, text.contains("is not a socket")), (1, true), "{text}");
    assert_eq!(std::fs::read_to_string(odd.socket()).unwrap(), "precious");
}

#[test]
fn duty_3_only_one_daemon_uses_the_books() {
    let house = House::new(&POOLS);
    let daemon = house.start();
    daemon.wire().subnet(false);
    let mut second = House::new(&POOLS);
    second.set("--file", &house.path("gipam.db"));
    let (code, text) = second.refuse();
    assert_eq!(code, 1);
    assert!(text.contains("in use by another gipam; stop it first"), "{text}");
    assert!(!second.socket().exists() && !second.admin().exists());
    assert_eq!(daemon.view("/v1/subnets").as_array().unwrap().len(), 1);
}

#[test]
fn systemd_learns_when_the_listeners_are_open_and_when_they_close() {
    let mut house = House::new(&POOLS);
    let notified = house.path("notify");
    let socket = UnixDatagram::bind(&notified).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    house.variables.push(("NOTIFY_SOCKET".to_owned(), notified.display().to_string()));
    let mut daemon = house.spawn();
    let notices = || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert!(notices().lines().any(|line| line == "READY=1"));
    daemon.wire().call("Plugin.Activate", "").ok();
    daemon.signal(Signal::TERM);
    assert!(notices().lines().any(|line| line == "STOPPING=1"));
    assert!(daemon.wait().success());
}

/// Starts the daemon as systemd does after a first connection: with sockets that outlive it.
fn activated(house: &House, names: &str, sockets: [std::os::fd::OwnedFd; 2]) -> Daemon {
    let [first, second] = sockets;
    let script = "exec 3<&0 4>&1 0</dev/null 1>/dev/null; LISTEN_PID=$$ exec \"$@\"";
    let child = Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_gipam")])
        .args(&house.arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::from(first))
        .stdout(Stdio::from(second))
        .stderr(std::fs::File::create(house.path("log")).unwrap())
        .spawn()
        .unwrap();
    house.adopt(child)
}

#[test]
fn duty_2_duty_15_with_socket_activation_a_call_waits_while_gipam_restarts() {
    let house = House::with_toml(
        "[[pool]]\nname = \"a\"\nv4.base = \"198.18.0.0/16\"\n[driver.web]\naddress = \"127.0.0.1:1\"\n",
    );
    let listener = UnixListener::bind(house.socket()).unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = web.local_addr().unwrap();
    let sockets = || [listener.try_clone().unwrap().into(), web.try_clone().unwrap().into()];
    // The call arrives before the daemon starts.
    let mut early = Wire::unix(&house.socket());
    early.send(&request("RequestPool", &asked("local", "", "", json!({}), false))).unwrap();
    let daemon = activated(&house, "gipam:web", sockets());
    let granted = early.answer().unwrap().ok();
    let id = granted["PoolID"].as_str().unwrap().to_owned();
    assert!(daemon.stop().success(), "{}", house.log());
    assert!(house.socket().exists(), "the socket belongs to systemd");
    // No daemon is running, but the call is not refused.
    let mut waiting = Wire::unix(&house.socket());
    waiting
        .send(&request("RequestAddress", &json!({"PoolID": id, "Address": "", "Options": gateway()})))
        .unwrap();
    let daemon = activated(&house, "gipam.socket:web", sockets());
    assert_eq!(waiting.answer().unwrap().ok()["Address"], "198.18.0.1/24");
    let mut over_tcp = Wire::over(std::net::TcpStream::connect(port).unwrap());
    over_tcp.address(&id, "", Value::Null);
    let spec = std::fs::read_to_string(house.path("specs/web.spec")).unwrap();
    assert_eq!(spec.trim(), format!("tcp://{port}"));
    assert!(daemon.stop().success());
    assert!(house.socket().exists() && !house.path("specs/web.spec").exists());
}
