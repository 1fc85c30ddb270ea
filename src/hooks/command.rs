//! A hook that is a program: one process per event, without a shell.
//!
//! Promises: the event is passed as one line of JSON on standard input, and in environment variables; the
//! process has its own process group, which is killed when the time limit expires or the daemon stops waiting
//! for it. Exit code 0 is success; exit code 65 (`EX_DATAERR`) means that the program will never accept this
//! event. Its standard error is kept, up to a limit, for the message about its failure.

use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::time::timeout;

use super::Failure;
use super::event::Event;
use crate::text;

/// The exit code of a program that will never accept this event: `EX_DATAERR` of sysexits.h.
const NEVER: i32 = 65;
/// How many bytes of standard error are kept.
const KEPT: usize = 500;
/// How long to wait for more standard error after the process has ended.
const AFTER: Duration = Duration::from_millis(50);
/// Variables that systemd sets only for the daemon.
const OURS_ALONE: [&str; 7] = [
    "NOTIFY_SOCKET",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "FDSTORE",
];

/// A process group, killed when dropped unless its process has ended.
struct ProcessGroup(Option<Pid>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // This fails if no process is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

pub(super) async fn run(words: &[String], hook: &str, event: &Event, limit: Duration) -> Result<(), Failure> {
    let later = Failure::Later;
    let (program, arguments) = words.split_first().ok_or_else(|| later("the command is empty".to_owned()))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    for name in OURS_ALONE {
        command.env_remove(name);
    }
    command.env("EVENT_HOOK", hook).envs(event.variables());
    let line = serde_json::to_string(event).map_err(|error| later(error.to_string()))? + "\n";
    let mut child = command.spawn().map_err(|error| {
        let said = format!("{program} cannot be started: {error}");
        // A retry would have the same environment.
        if error.kind() == ErrorKind::ArgumentListTooLong { Failure::Never(said) } else { later(said) }
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = ProcessGroup(group);
    let mut said = Vec::new();
    let ended = timeout(limit, end(&mut child, line.as_bytes(), &mut said)).await;
    let status = match ended {
        Err(_) => {
            return Err(later(format!(
                "{program} took longer than {limit:?} and was killed{}",
                quoted(&said)
            )));
        }
        Ok(Err(error)) => return Err(later(format!("cannot wait for {program}: {error}"))),
        Ok(Ok(status)) => status,
    };
    // The process was reaped, so its id may be reused from now on. Processes that it left running are not our
    // concern.
    group.0 = None;
    let failed = || format!("{program} ended with {status}{}", quoted(&said));
    match status.code() {
        Some(0) => Ok(()),
        Some(NEVER) => Err(Failure::Never(failed())),
        _ => Err(later(failed())),
    }
}

/// Writes the event to the process and waits for it to end.
async fn end(child: &mut Child, line: &[u8], said: &mut Vec<u8>) -> std::io::Result<ExitStatus> {
    let (input, mut errors) = (child.stdin.take(), child.stderr.take());
    let status = {
        let ended = async { tokio::join!(write(input, line), child.wait()).1 };
        let listening = listen(errors.as_mut(), said);
        tokio::pin!(ended, listening);
        tokio::select! {
            status = &mut ended => status,
            () = &mut listening => ended.await,
        }
    };
    // Read the rest of the pipe, but not for long: a process left behind may keep the pipe open.
    let _ = timeout(AFTER, listen(errors.as_mut(), said)).await;
    status
}

/// Writes the event; ignores errors, because a program need not read its input.
async fn write(input: Option<ChildStdin>, line: &[u8]) {
    if let Some(mut input) = input {
        let _ = input.write_all(line).await;
    }
}

/// Reads standard error to its end, and keeps the beginning.
async fn listen(errors: Option<&mut ChildStderr>, said: &mut Vec<u8>) {
    let Some(errors) = errors else { return };
    let mut part = [0; 512];
    while let Ok(read @ 1..) = errors.read(&mut part).await {
        let room = KEPT.saturating_sub(said.len()).min(read);
        said.extend_from_slice(&part[..room]);
    }
}

/// Standard error of the program, as the end of a message.
fn quoted(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    match text.trim() {
        "" => String::new(),
        text => format!(": {}", text::line(text)),
    }
}
