//! A machine of `scripts/machine.sh`, and functions to use it.
//!
//! The script stops the machine when the pipe held by this process is closed, so that a killed test run
//! leaves nothing behind. The machine's /srv/gipam contains the files that a clone of the sources would
//! contain.

use crate::stage::{self, End};
use crate::wait::until;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Where Docker looks for the driver.
pub const SOCKET: &str = "/run/docker/plugins/gipam.sock";
/// Seconds after which a command inside counts as hung. dockerd gives up on a plugin call after 15 s.
const COMMAND_LIMIT: &str = "90";
/// For conditions that are soon met.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Machine {
    name: String,
    first: u32,
    holder: Child,
}

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub out: String,
    pub err: String,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

fn var(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The program under test: the one that cargo built, or another build.
fn gipam() -> PathBuf {
    var("GIPAM_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_gipam").into())
}

/// The directory of roots and machines.
pub fn base() -> PathBuf {
    var("GIPAM_ENGINES").unwrap_or_else(|| {
        let cache = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
        cache.unwrap_or_else(|| "/tmp".into()).join("gipam-engines")
    })
}

/// Builds the root once; the error is a sentence for a person.
pub fn prepare() -> Result<(), String> {
    static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();
    PREPARED.get_or_init(build).clone()
}

/// Runs a scenario on a fresh machine.
pub fn played(play: fn(&mut Machine)) -> End {
    let mut machine = None;
    match stage::played(|| play(machine.insert(Machine::start()))) {
        Some(why) => End::Failed(why, machine.as_ref().map(Machine::logs).unwrap_or_default()),
        None => End::Passed,
    }
}

fn build() -> Result<(), String> {
    if !Path::new("/sys/fs/cgroup/systemd/tasks").exists() {
        return Err("this host does not have the cgroup v1 hierarchy name=systemd".into());
    }
    let output = Command::new(script("engine.sh")).args(["root", "machine"]).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said.trim().to_owned()) }
}

/// The process id in the line "ready PID".
fn ready(line: &str) -> Option<u32> {
    line.trim().strip_prefix("ready ")?.parse().ok()
}

impl Machine {
    pub fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let name = format!("m{}-{}", STARTED.fetch_add(1, Relaxed), std::process::id());
        let mut holder = Command::new(script("machine.sh"))
            .args(["hold", &name])
            .env("GIPAM_OWNER", std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let first = ready(&line).expect("the machine boots");
        let machine = Self { name, first, holder };
        let sources = machine.path("/srv/gipam");
        let built = sources.join("target/package");
        fs::create_dir_all(&built).unwrap();
        fs::copy(gipam(), built.join("gipam")).unwrap();
        let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
        let copied = Command::new("cp").arg("-r").args([&packaging, &sources]).status().unwrap();
        assert!(copied.success());
        machine
    }

    /// The path of a file of the machine, as seen from the host.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.first)).join(path.trim_start_matches('/'))
    }

    /// The path of the same file while the machine is powered off.
    pub fn disk(&self, path: &str) -> PathBuf {
        base().join("e").join(&self.name).join("upper").join(path.trim_start_matches('/'))
    }

    pub fn write(&self, path: &str, content: &str) {
        let there = self.path(path);
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        fs::write(there, content).unwrap();
    }

    /// A command to run inside, as root in the clone of the sources.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.first.to_string(), "-m", "-n", "-p", "-u", "-i", "-r"]);
        command.args(["--wdns=/srv/gipam", "--"]).args(words);
        command.env_clear().env("HOME", "/root").stdin(Stdio::null());
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs shell lines inside until they end or reach the limit.
    pub fn try_sh(&self, lines: &str) -> Said {
        let words = ["timeout", "-k", "1", COMMAND_LIMIT, "sh", "-euc", lines];
        let output = self.command(&words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Said { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs shell lines that must succeed.
    pub fn sh(&self, lines: &str) -> String {
        let said = self.try_sh(lines);
        assert!(said.ok, "{lines}: {}\n{}", said.out, said.err);
        said.out
    }

    /// A property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.sh(&format!("systemctl show --value -p {property} {unit}"))
    }

    /// A `--json` view of gipam.
    pub fn view(&self, words: &str) -> Vec<Value> {
        serde_json::from_str(&self.sh(&format!("gipam {words} --json"))).unwrap()
    }

    /// The leases of containers.
    pub fn endpoints(&self) -> Vec<Value> {
        endpoints(self.view("leases"))
    }

    /// The prefixes that Docker shows for a network, in its order.
    pub fn prefixes(&self, network: &str) -> Vec<String> {
        let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
        let said = self.sh(&format!("docker network inspect --format '{format}' {network}"));
        said.split_whitespace().map(str::to_owned).collect()
    }

    /// The IPv4 address of a running container.
    pub fn address(&self, container: &str) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        self.sh(&format!("docker inspect --format '{format}' {container}"))
    }

    /// The messages that gipam itself wrote to the journal: priority and text.
    pub fn journal(&self) -> Vec<(u8, String)> {
        let lines = self.sh("journalctl --sync; journalctl -q -o json -t gipam");
        let entry = |line: &str| -> (u8, String) {
            let value: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            (text("PRIORITY").parse().unwrap(), text("MESSAGE"))
        };
        lines.lines().map(entry).collect()
    }

    /// Powers the machine off and waits until it is off.
    pub fn power_off(&self) {
        self.try_sh("systemctl poweroff"); // the machine may shut down before the command returns
        let first = PathBuf::from(format!("/proc/{}", self.first));
        until("the machine is off", Duration::from_secs(90), || !first.exists());
    }

    /// Boots the machine again.
    pub fn boot(&mut self) {
        let output = Command::new(script("machine.sh")).args(["boot", &self.name]).output().unwrap();
        let line = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        self.first = ready(&line).unwrap_or_else(|| panic!("the machine did not boot again: {said}"));
    }

    /// Output that helps to understand a failure.
    pub fn logs(&self) -> String {
        let lines = "systemctl --no-pager --failed; journalctl -q --no-pager -o short-precise -t gipam -t dockerd -t systemd |
            grep -v level=info | tail -n 80";
        let said = self.try_sh(lines);
        format!("{}\n{}", said.out, said.err)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.holder.stdin.take()); // the script then reads the end of its input and cleans up
        let _ = self.holder.wait();
    }
}

/// The leases of containers among these.
pub fn endpoints(leases: Vec<Value>) -> Vec<Value> {
    leases.into_iter().filter(|lease| lease["kind"] != "gateway" && lease["state"] == "leased").collect()
}

/// Runs the gipam of this host on the books of a machine that is powered off.
pub fn offline(words: &[&str]) -> Vec<Value> {
    let output =
        Command::new(gipam()).args(words).args(["--json", "--admin", "/nonexistent/admin.sock"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "gipam {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
