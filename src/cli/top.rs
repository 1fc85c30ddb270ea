//! `gipam top`: a live `gipam status`, with events as they happen.
//!
//! Promises: redraws when something happens, when the terminal is resized, and once a second; q, Ctrl-C and signals
//! end it and restore the terminal. On a pipe, or with `--json`, it prints one line per change and ends when its
//! reader closes the pipe. It only reads from the daemon and never changes it.

use std::future::poll_fn;
use std::io::{self, IsTerminal, Read};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::error::CliError;
use super::feed::{Feed, Live};
use super::live::{LiveChange, changes, lines};
use super::output::{self, Asking};
use super::screen::Frame;
use super::terminal::Terminal;

/// How many events are requested for a screen, and for a pipe, which misses events only if more than this happen at once.
const SHOWN: u32 = 60;
const PIPED: u32 = 200;

/// `gipam top`.
pub(super) fn run(asking: Asking) -> Result<(), CliError> {
    let (json, colour) = (asking.json, asking.colour);
    let is_piped = json || !io::stdout().is_terminal();
    let feed = Feed::start(asking, if is_piped { PIPED } else { SHOWN })?;
    if is_piped {
        return piped(feed, json);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Write)?;
    runtime.block_on(watch(feed, colour)).map_err(CliError::Write)
}

/// Prints one line per change, until the reader closes the pipe.
fn piped(mut feed: Feed, json: bool) -> Result<(), CliError> {
    let mut live = feed.live.clone();
    output::text(&LiveChange::first(&live.status).line(&live, json))?;
    loop {
        let before = std::mem::replace(&mut live, feed.next());
        let changes = changes(&before.status, &live.status);
        let lines: String = changes.iter().map(|change| change.line(&live, json)).collect();
        if !lines.is_empty() {
            output::text(&lines)?;
        }
    }
}

/// Shows the screen, until the person quits.
async fn watch(mut feed: Feed, colour: bool) -> io::Result<()> {
    let mut ended = pin!(ended()?);
    let mut resized = signal(SignalKind::window_change())?;
    let terminal = Terminal::take(colour)?;
    let (mut keys, mut live) = (keys(), feed.live.clone());
    // A separate thread sends the requests; it ends with the program.
    let (tell, mut news) = mpsc::channel::<Live>(1);
    std::thread::spawn(move || while tell.blocking_send(feed.next()).is_ok() {});
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (columns, rows) = terminal.size();
        terminal.draw(&lines(&live, Frame { columns, lines: rows }))?;
        tokio::select! {
            Some(new) = news.recv() => live = new,
            _ = second.tick() => {}
            _ = resized.recv() => {}
            Some(key) = keys.recv() => if matches!(key, b'q' | b'Q' | 3 | 4) { return Ok(()) },
            () = &mut ended => return Ok(()),
        }
    }
}

/// Keys as they are pressed; none if standard input is not a terminal.
fn keys() -> mpsc::Receiver<u8> {
    let (tell, keys) = mpsc::channel(1);
    if io::stdin().is_terminal() {
        std::thread::spawn(move || {
            let mut key = [0];
            while matches!(io::stdin().read(&mut key), Ok(1)) && tell.blocking_send(key[0]).is_ok() {}
        });
    }
    keys
}

/// Resolves at the first signal that should end the program.
fn ended() -> io::Result<impl Future<Output = ()>> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
    let mut signals: Vec<Signal> = kinds.into_iter().map(signal).collect::<io::Result<_>>()?;
    Ok(poll_fn(move |context| match signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }))
}
