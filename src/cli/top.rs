//! `gipam top`: a live `gipam status`, with events as they happen.
//!
//! Promises: redraws when something happens, when the terminal is resized, and once a second; q, Ctrl-C and signals
//! end it and restore the terminal. On a pipe, or with `--json`, it prints one line per change until the
//! reader leaves. It only reads from the daemon and never changes it, and stops when nobody watches.

use std::future::poll_fn;
use std::io::{self, IsTerminal, Read};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::error::CliError;
use super::feed::{Feed, News};
use super::frame::Frame;
use super::live::{Live, LiveChange};
use super::output::{self, Asking};
use super::terminal::Terminal;
use crate::config::Surroundings;

/// How many events are requested for a screen, and for a pipe, which misses events only if more than this come at once.
const SHOWN: u32 = 60;
const PIPED: u32 = 200;

/// `gipam top`.
pub(super) fn run(asking: Asking, surroundings: &Surroundings) -> Result<(), CliError> {
    let (json, terminal) = (asking.json, io::stdout().is_terminal());
    let lines = json || !terminal;
    let mut feed = Feed::new(asking, if lines { PIPED } else { SHOWN });
    let first = feed.first()?;
    if lines {
        return piped(feed, first, json);
    }
    let colour = !surroundings.variables.contains_key("NO_COLOR");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Write)?;
    runtime.block_on(watch(feed, Live::new(first), colour)).map_err(CliError::Write)
}

/// Prints one line per change, until the reader leaves.
fn piped(mut feed: Feed, first: crate::view::rows::Status, json: bool) -> Result<(), CliError> {
    let beginning = LiveChange::first(&first);
    let mut live = Live::new(first);
    output::text(&beginning.line(&live, json))?;
    loop {
        let changes = live.hear(feed.next(), Instant::now());
        let lines: String = changes.iter().map(|change| change.line(&live, json)).collect();
        if !lines.is_empty() {
            output::text(&lines)?;
        }
    }
}

/// Shows the screen, until the person quits.
async fn watch(mut feed: Feed, mut live: Live, colour: bool) -> io::Result<()> {
    let mut ended = pin!(ended()?);
    let mut resized = signal(SignalKind::window_change())?;
    let terminal = Terminal::take(colour)?;
    let mut keys = keys();
    // A separate thread sends the requests; it ends with the program.
    let (tell, mut news) = mpsc::channel::<News>(1);
    std::thread::spawn(move || while tell.blocking_send(feed.next()).is_ok() {});
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (columns, lines) = terminal.size();
        terminal.draw(&live.lines(Frame { columns, lines }))?;
        tokio::select! {
            Some(heard) = news.recv() => { live.hear(heard, Instant::now()); }
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
