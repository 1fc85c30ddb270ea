//! The progress of long work: one line on standard error, erased before anything else is written.
//!
//! Promises: shown only on a terminal that no other program uses as its screen (not in the background, not before
//! `| less`), never with `--json`, only after the command has run for a second, and never wider than the terminal. Its
//! thread ends with the work. It shows what this process can observe: the time, the bytes read, the size of a file being
//! written; while a daemon works, it says so without sending it any request.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, fstat};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use super::paper::{Ink, Line, size, span};
use crate::admin::offline::BackupStep;
use crate::config::Surroundings;

/// Work that ends within this time does not get a line.
const SOON: Duration = Duration::from_secs(1);
/// How often the line is redrawn, if it has changed.
const EVERY: Duration = Duration::from_millis(250);

/// Whether to show anything, and when the command started.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownLine {
    wanted: bool,
    begun: Instant,
}

impl ShownLine {
    /// For a command that starts now.
    pub(super) fn new(json: bool, surroundings: &Surroundings) -> Self {
        let dumb = surroundings.variables.get("TERM").is_some_and(|terminal| terminal == "dumb");
        let wanted = !json && !dumb && io::stderr().is_terminal() && !is_pipe(io::stdout());
        Self { wanted, begun: Instant::now() }
    }

    /// For work that shows its progress in another way.
    pub(super) fn nothing() -> Self {
        Self { wanted: false, begun: Instant::now() }
    }

    /// Shows a line for this work, until the result is dropped.
    pub(super) fn work(self, what: impl Into<String>) -> Progress {
        let (tell, told) = mpsc::channel();
        // If no thread can be started, the line is missing, but the command must not fail.
        let draw = move || draw(&told, self.begun);
        let thread = self.wanted.then(|| std::thread::Builder::new().spawn(draw).ok()).flatten();
        let progress = Progress { tell: Some(tell), thread };
        progress.now(what);
        progress
    }
}

/// Whether another program reads this output; that program may use the whole screen.
fn is_pipe(output: impl std::os::fd::AsFd) -> bool {
    fstat(output).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo)
}

/// The current work.
struct LongWork {
    what: String,
    /// How much of it is done, followed by a colon; empty if unknown.
    far: Box<dyn Fn() -> String + Send>,
}

impl LongWork {
    fn line(&self, elapsed: Duration, columns: usize) -> String {
        let seconds = i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX);
        let line = Line::of(format!("gipam: {}: ", span(seconds)));
        // The last column stays empty: some terminals start a new line after it.
        line.and(Ink::Plain, (self.far)()).quote(&self.what).drawn(columns.saturating_sub(1), false)
    }
}

/// Shows the work received last, until the sender is dropped.
fn draw(told: &Receiver<LongWork>, begun: Instant) {
    let (mut work, mut drawn) = (None, String::new());
    let mut next = begun + SOON;
    loop {
        match told.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(other) => work = Some(other),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                next = Instant::now() + EVERY;
                let Some(work) = work.as_ref().filter(|_| is_ours()) else { continue };
                let line = work.line(begun.elapsed(), columns());
                if line != drawn {
                    put(&line);
                    drawn = line;
                }
            }
        }
    }
    if !drawn.is_empty() {
        put("");
    }
}

/// Redraws the line. Ignores errors, because the terminal may be gone.
fn put(line: &str) {
    let _ = io::stderr().lock().write_all(format!("\r{line}\u{1b}[K").as_bytes());
}

/// Whether this process is in the foreground; in the background, the line belongs to another program.
fn is_ours() -> bool {
    tcgetpgrp(io::stderr()).map_or(true, |foreground| foreground == getpgrp())
}

fn columns() -> usize {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => super::screen::COLUMNS,
    }
}

/// The progress line of some work.
#[derive(Debug)]
pub(super) struct Progress {
    /// `None` while it ends.
    tell: Option<Sender<LongWork>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows that new work begins.
    pub(super) fn now(&self, what: impl Into<String>) {
        self.set(what.into(), String::new);
    }

    /// Counts the bytes read from `from`; `of` is the total, if known.
    pub(super) fn reading<R: Read>(&self, name: &str, from: R, of: Option<u64>) -> impl Read + use<R> {
        let done = Arc::new(AtomicU64::new(0));
        self.set(format!("reading {name}"), counted(done.clone(), of));
        CountingReader { from, done }
    }

    /// Shows the next step of a copy of the books.
    pub(super) fn step(&self, step: BackupStep<'_>) {
        match step {
            BackupStep::Closing(books) => self.now(format!("closing the books {}", books.display())),
            BackupStep::Writing(file, of) => {
                self.set(format!("writing {}", file.display()), written(file.to_owned(), of));
            }
            BackupStep::Checking => self.now("checking the copy"),
            BackupStep::Reading => self.now("reading the copy"),
            BackupStep::Syncing => self.now("syncing the copy to the disk"),
        }
    }

    fn set(&self, what: String, far: impl Fn() -> String + Send + 'static) {
        // Sending fails only if the thread was not started; then no line needs an update.
        let _ = self.tell.as_ref().map(|tell| tell.send(LongWork { what, far: Box::new(far) }));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.tell = None;
        // A panic of the thread only breaks the line; in release builds it ends the program at once.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The number of bytes read so far.
fn counted(done: Arc<AtomicU64>, of: Option<u64>) -> impl Fn() -> String {
    let of = of.map(|of| format!(" of {}", size(of))).unwrap_or_default();
    move || format!("{}{of}: ", size(done.load(Ordering::Relaxed)))
}

/// The current size of a file that is being written.
fn written(file: PathBuf, of: u64) -> impl Fn() -> String {
    move || {
        let done = std::fs::metadata(&file).map_or(0, |file| file.len());
        format!("{} of at most {}: ", size(done), size(of))
    }
}

/// A reader that counts the bytes read.
struct CountingReader<R> {
    from: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// What the command waits for when it requests this path from the daemon.
pub(super) fn task(path: &str) -> String {
    let task = match path.split('?').next().unwrap_or_default() {
        "/v1/gc" => "compare the books with the Engine's lists",
        "/v1/adopt" => "ask the Engine about the network",
        "/v1/import" | "/v1/listed" => "import the list",
        "/v1/export" => "write the lease file",
        "/v1/join" => "reach etcd",
        "/v1/reload" => "read its configuration",
        "/v1/release" | "/v1/reserve" | "/v1/unreserve" | "/v1/pin" | "/v1/unpin" | "/v1/pool" => {
            "change the books"
        }
        _ => "read the books",
    };
    format!("waiting for the daemon to {task}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_time_progress_and_task_and_fits_the_terminal() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("copy.db");
        let line = |what: &str, far: &str, columns| {
            let (what, far) = (what.to_owned(), far.to_owned());
            let work = LongWork { what, far: Box::new(move || far.clone()) };
            work.line(Duration::from_millis(12_900), columns)
        };
        let task = task("/v1/leases?all=true");
        assert_eq!(line(&task, "", 80), "gipam: 12 s: waiting for the daemon to read the books");
        assert_eq!(line(&task, "", 30), "gipam: 12 s: waiting for th..");
        assert_eq!(line(&task, "", 1), "");
        assert_eq!(line("reading a\u{1b}[2Jb", "3 MiB: ", 80), "gipam: 12 s: 3 MiB: reading a\\u{1b}[2Jb");
        let far = written(file.clone(), 9 << 10);
        assert_eq!(far(), "0 B of at most 9 KiB: ");
        std::fs::write(&file, [0; 4096]).unwrap();
        assert_eq!(far(), "4 KiB of at most 9 KiB: ");
    }

    #[test]
    fn a_counting_reader_passes_the_bytes_on_unchanged() {
        let mut reader = CountingReader { from: "one\ntwo\n".as_bytes(), done: Arc::default() };
        let (far, of) = (counted(reader.done.clone(), None), counted(reader.done.clone(), Some(5 << 20)));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
        assert_eq!((far(), of()), ("8 B: ".to_owned(), "8 B of 5 MiB: ".to_owned()));
    }
}
