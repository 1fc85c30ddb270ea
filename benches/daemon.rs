//! A DAEMON FOR MEASUREMENTS: the program, run in a separate directory that is removed afterwards.
//!
//! Promises: all files stay inside the directory; if the daemon does not start, the error contains its log;
//! it is killed when dropped. It does not contact a Docker Engine.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::script::{Phase, Play};
use crate::watch::Process;
use crate::wire::{Crew, Door, Limit};

/// The longest wait until a server answers; only a bug reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with books, sockets and a log; removed when dropped.
#[derive(Debug)]
pub struct House {
    directory: PathBuf,
    program: PathBuf,
}

impl House {
    /// An empty directory with this configuration, plus the settings that isolate the daemon from the
    /// machine.
    pub fn new(parent: &Path, name: &str, program: &Path, toml: &str) -> io::Result<Self> {
        let directory = parent.join(name);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&directory)?,
        }
        let house = Self { directory, program: program.to_owned() };
        let [sockets, specs] = ["sockets", "specs"].map(|name| house.path(name).display().to_string());
        let head = format!("socket_dir = {sockets:?}\nspec_dir = {specs:?}\n");
        fs::write(house.path("gipam.toml"), format!("{head}{toml}\n[gc]\nengine = \"\"\n"))?;
        Ok(house)
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The program that runs in it.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the daemon; returns it once it serves, and how long that took.
    pub fn start(&self) -> io::Result<(Server, Duration)> {
        self.start_with(&[])
    }

    /// Like [`Self::start`], with further arguments.
    pub fn start_with(&self, more: &[&str]) -> io::Result<(Server, Duration)> {
        let mut command = Command::new(&self.program);
        command.env_clear().args(["--log", "warn"]).args(more);
        let files = [
            ("--config", "gipam.toml"),
            ("--file", "gipam.db"),
            ("--socket", "d.sock"),
            ("--admin", "a.sock"),
        ];
        for (flag, name) in files {
            command.arg(flag).arg(self.path(name));
        }
        let log = self.path("log");
        Server::start(command, &self.path("d.sock"), &log)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // Whatever cannot be removed is in the build directory and is deleted with it.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A process that serves on a UNIX socket. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The address at which the server listens.
    pub door: Door,
}

impl Server {
    /// Starts a program and waits until Plugin.Activate is answered.
    pub fn start(mut command: Command, socket: &Path, log: &Path) -> io::Result<(Self, Duration)> {
        let error_log = File::create(log)?;
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(error_log).spawn()?;
        let mut server = Self { child, door: Door::Unix(socket.to_owned()) };
        loop {
            if server.serves() {
                return Ok((server, began.elapsed()));
            }
            if server.child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                let text = fs::read_to_string(log).unwrap_or_default();
                return Err(io::Error::other(format!("{command:?} does not serve: {text}")));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn serves(&self) -> bool {
        let once = Limit { requests: 1, time: PATIENCE };
        let mut play = Play::new(0, Vec::new());
        play.begin(Phase::Activate, 1);
        let run = Crew::connect(&self.door, 1).and_then(|mut crew| crew.run(&mut play, once));
        run.is_ok_and(|run| run.failed == 0)
    }

    /// The server's process.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Stops it as systemd would.
    pub fn stop(mut self) -> io::Result<()> {
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("the daemon ended with {status}")))
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
