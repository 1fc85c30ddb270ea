//! How far long work is: one line on standard error, erased before anything else is written.
//!
//! Promises: only on a terminal that no other program uses as its screen (not in the background, not before `| less`), never with
//! `--json`, only once the command has lasted a second, never wider than the terminal. Its thread ends with the work.
//! It shows what can be seen from here: the time, the bytes that were read, the size of a file that is written;
//! while a daemon works, it says so without asking it anything.

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

/// What is done within this time needs no line.
const SOON: Duration = Duration::from_secs(1);
/// How often the line is redrawn, if it has changed.
const EVERY: Duration = Duration::from_millis(250);

/// Whether to show anything, and since when the command runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownLine {
    wanted: bool,
    begun: Instant,
}

impl ShownLine {
    /// For a command that begins now.
    pub(super) fn new(json: bool, surroundings: &Surroundings) -> Self {
        let dumb = surroundings.variables.get("TERM").is_some_and(|terminal| terminal == "dumb");
        let wanted = !json && !dumb && io::stderr().is_terminal() && !is_pipe(io::stdout());
        Self { wanted, begun: Instant::now() }
    }

    /// For work that shows itself otherwise.
    pub(super) fn nothing() -> Self {
        Self { wanted: false, begun: Instant::now() }
    }

    /// The line of this work, until it is dropped.
    pub(super) fn work(self, what: impl Into<String>) -> Progress {
        let (tell, told) = mpsc::channel();
        // Without a thread the line is missing; that must not fail the command.
        let draw = move || draw(&told, self.begun);
        let thread = self.wanted.then(|| std::thread::Builder::new().spawn(draw).ok()).flatten();
        let progress = Progress { tell: Some(tell), thread };
        progress.now(what);
        progress
    }
}

/// Whether another program reads what is written there: it may have the screen.
fn is_pipe(output: impl std::os::fd::AsFd) -> bool {
    fstat(output).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo)
}

/// What is being done.
struct LongWork {
    what: String,
    /// How much of it is done, where that can be seen; followed by a colon.
    far: Box<dyn Fn() -> String + Send>,
}

impl LongWork {
    fn line(&self, elapsed: Duration, columns: usize) -> String {
        let seconds = i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX);
        let line = Line::of(format!("gipam: {}: ", span(seconds)));
        // The last column stays free: some terminals begin a new line behind it.
        line.and(Ink::Plain, (self.far)()).quote(&self.what).drawn(columns.saturating_sub(1), false)
    }
}

/// Shows the last work that it was told of, until nobody can tell of another.
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

/// Redraws the line. Errors do not matter: the terminal may be gone.
fn put(line: &str) {
    let _ = io::stderr().lock().write_all(format!("\r{line}\u{1b}[K").as_bytes());
}

/// Whether this is not in the background, where the line belongs to somebody else.
fn is_ours() -> bool {
    tcgetpgrp(io::stderr()).map_or(true, |foreground| foreground == getpgrp())
}

fn columns() -> usize {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => super::frame::COLUMNS,
    }
}

/// The line of some work.
#[derive(Debug)]
pub(super) struct Progress {
    /// None while it ends.
    tell: Option<Sender<LongWork>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Other work begins.
    pub(super) fn now(&self, what: impl Into<String>) {
        self.set(what.into(), String::new);
    }

    /// Counts what is read from this; `of` is the number of bytes, if that is known.
    pub(super) fn reading<R: Read>(&self, name: &str, from: R, of: Option<u64>) -> impl Read + use<R> {
        let done = Arc::new(AtomicU64::new(0));
        self.set(format!("reading {name}"), counted(done.clone(), of));
        CountingReader { from, done }
    }

    /// The next step of a copy of the books.
    pub(super) fn step(&self, step: BackupStep<'_>) {
        match step {
            BackupStep::Closing(books) => self.now(format!("closing the books {}", books.display())),
            BackupStep::Writing(file, of) => {
                self.set(format!("writing {}", file.display()), written(file.to_owned(), of));
            }
            BackupStep::Checking => self.now("checking the copy"),
            BackupStep::Reading => self.now("reading the copy"),
            BackupStep::Syncing => self.now("carrying the copy to the disk"),
        }
    }

    fn set(&self, what: String, far: impl Fn() -> String + Send + 'static) {
        // Without a thread nobody hears it.
        let _ = self.tell.as_ref().map(|tell| tell.send(LongWork { what, far: Box::new(far) }));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.tell = None;
        // A broken line does no harm, and a panic ends the program at once.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// So many bytes are read.
fn counted(done: Arc<AtomicU64>, of: Option<u64>) -> impl Fn() -> String {
    let of = of.map(|of| format!(" of {}", size(of))).unwrap_or_default();
    move || format!("{}{of}: ", size(done.load(Ordering::Relaxed)))
}

/// What this file has by now is written.
fn written(file: PathBuf, of: u64) -> impl Fn() -> String {
    move || {
        let done = std::fs::metadata(&file).map_or(0, |file| file.len());
        format!("{} of at most {}: ", size(done), size(of))
    }
}

/// Counts what is read.
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

/// What is waited for when the daemon is asked for this.
pub(super) fn task(path: &str) -> String {
    let task = match path.split('?').next().unwrap_or_default() {
        "/v1/gc" => "compare the books with the Engine's lists",
        "/v1/adopt" => "ask the Engine about the network",
        "/v1/import" | "/v1/listed" => "take the list into the books",
        "/v1/export" => "write the lease file",
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
    fn a_line_says_how_long_how_far_and_what_and_fits_the_terminal() {
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
    fn what_is_read_is_counted_and_comes_as_it_is() {
        let mut reader = CountingReader { from: "one\ntwo\n".as_bytes(), done: Arc::default() };
        let (far, of) = (counted(reader.done.clone(), None), counted(reader.done.clone(), Some(5 << 20)));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
        assert_eq!((far(), of()), ("8 B: ".to_owned(), "8 B of 5 MiB: ".to_owned()));
    }
}
