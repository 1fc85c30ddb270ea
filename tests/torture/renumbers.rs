//! `gipam renumber` KILLED AT EVERY STEP: it moves networks with running and stopped containers to another prefix, and is killed just
//! before each call with which it talks to the Engine and to the daemon, or keeps its own state.
//!
//! Promises: covers every such call, with a kill before a request is sent and one before its answer is read; the next run finishes, and then
//! the Engine and the books are as after an undisturbed run. The Engine is the one of `engine`, the daemon is real.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::Counts;
use crate::daemon::{Daemon, House, until};
use crate::engine::Served;
use crate::prefixes::timeless;
use crate::writes::WORKERS;

/// Calls to sockets and files.
const CALLS: [&str; 11] = [
    "connect", "write", "writev", "sendto", "recvfrom", "read", "openat", "fsync", "rename", "unlink",
    "flock",
];
/// How many kills the short run has.
const SHORT: usize = 4;
const A: &str = "fd77:a::/56";
const B: &str = "fd77:b::/56";

/// A daemon whose pool has left the prefix of two networks, and the Engine that has them.
struct Scene {
    engine: Served,
    daemon: Daemon,
    house: House,
}

impl Scene {
    fn new() -> Scene {
        let house = House::with_toml("");
        house.configure(&format!(
            "cooling = \"0\"\nsubnet_cooling = \"0\"\n[gc]\nengine = \"\"\n[[pool]]\nname = \"home\"\nv4 = \"10.77.0.0/16\"\nv6 = \"file:{}\"\n",
            house.path("prefix").display()
        ));
        write(&house, A);
        let daemon = house.start();
        let running = ["web", "db", "any"];
        let engine = Served::start(house.directory.path(), &house.socket(), &running, &["idle"]);
        let network = |name: &str, number: u8| {
            let config = json!([{"Subnet": format!("10.77.{number}.0/24")}, {"Subnet": format!("fd77:a:0:{number}::/64")}]);
            let body = json!({"Name": name, "Driver": "bridge", "EnableIPv6": true, "Labels": {"com.docker.compose.project": "shop"},
                "Options": {}, "IPAM": {"Driver": "gipam", "Options": {"pool": "home"}, "Config": config}});
            engine.ask("POST", "/networks/create", &body);
        };
        network("front", 1);
        network("back", 2);
        let connect = |network: &str, container: &str, config: Value| {
            let body = json!({"Container": container, "EndpointConfig": config});
            engine.ask("POST", &format!("/networks/{network}/connect"), &body);
        };
        let fixed = |v4: &str, v6: &str| json!({"IPAMConfig": {"IPv4Address": v4, "IPv6Address": v6}, "Aliases": ["alias"]});
        connect("front", "web", fixed("10.77.1.40", "fd77:a:0:1::40"));
        connect("front", "any", json!({}));
        connect("front", "idle", fixed("10.77.1.99", "fd77:a:0:1::99"));
        connect("back", "web", json!({}));
        connect("back", "db", json!({"IPAMConfig": {"IPv6Address": "fd77:a:0:2::77"}}));
        write(&house, B);
        until("both networks are stale", || {
            let subnets = daemon.view("/v1/subnets");
            let stale = subnets.as_array().unwrap().iter().filter(|row| !row["stale"].is_null()).count();
            (stale == 2).then_some(())
        });
        Scene { engine, daemon, house }
    }

    /// Runs the command, under strace if there are arguments for it.
    fn renumber(&self, words: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_gipam");
        let mut command = match words {
            [] => Command::new(program),
            words => {
                let mut command = Command::new("strace");
                command.args(["-f", "-q", "-o"]).arg(self.house.path("trace")).args(words).arg(program);
                command
            }
        };
        command
            .current_dir(self.house.directory.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["renumber", "--yes", "--admin"]).arg(self.house.admin());
        command.arg("--engine").arg(&self.engine.socket).env("GIPAM_CONFIG", self.house.path("gipam.toml"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What is true once everything is moved: networks, containers and books.
    fn end(&self, what: &str) -> Value {
        assert!(!self.house.path("renumber.json").exists(), "{what}: a state is left over");
        let mut books = self.daemon.books();
        books.iter_mut().for_each(timeless);
        json!([self.engine.shown(), books])
    }
}

fn write(house: &House, prefix: &str) {
    fs::write(house.path("new"), format!("{prefix}\n")).unwrap();
    fs::rename(house.path("new"), house.path("prefix")).unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Kills the command before each call.
pub fn kill(long: bool) -> Counts {
    let trace = format!("trace={}", CALLS.join(","));
    let scene = Scene::new();
    let output = scene.renumber(&["-e", &trace]);
    assert!(output.status.success() && said(&output).contains("2 networks moved"), "{}", said(&output));
    let right = scene.end("the undisturbed run");
    let networks = right[0].to_string();
    assert!(networks.contains("fd77:b:0:1::40") && !networks.contains("fd77:a:"), "{networks}");
    let text = fs::read_to_string(scene.house.path("trace")).unwrap();
    let mut points = Vec::new();
    for call in CALLS {
        let count = text.lines().filter(|line| line.contains(&format!(" {call}("))).count();
        points.extend((1..=count).map(|n| (call, n)));
    }
    let step = if long { 1 } else { (points.len() / SHORT).max(1) };
    let (next, kills, halves) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while let Some((call, n)) = points.get(next.fetch_add(step, Ordering::Relaxed)) {
            let what = format!("kill at {call} number {n}");
            let scene = Scene::new();
            let before = scene.engine.shown();
            let output =
                scene.renumber(&["-e", &trace, "-e", &format!("inject={call}:signal=SIGKILL:when={n}")]);
            let is_killed = output.status.signal() == Some(9);
            assert!(is_killed || output.status.success(), "{what}: {}", said(&output));
            kills.fetch_add(u64::from(is_killed), Ordering::Relaxed);
            let is_half = is_killed && scene.engine.shown() != before;
            halves.fetch_add(u64::from(is_half), Ordering::Relaxed);
            let output = scene.renumber(&[]);
            assert!(output.status.success(), "{what}: {}", said(&output));
            assert_eq!(scene.end(&what), right, "{what}: {}", said(&output));
        }
    };
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    let (kills, struck) = (kills.into_inner(), points.len().div_ceil(step) as u64);
    assert!(kills * 10 >= struck * 8, "{kills} kills at {struck} calls");
    vec![
        ("calls struck", struck),
        ("kills", kills),
        ("left the Engine changed", halves.into_inner()),
        ("!ends different", 0),
    ]
}
