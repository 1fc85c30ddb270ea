//! The terminal while `gipam top` has it: all of it, without its cursor, and the keys at once.
//!
//! Promises: given back as it was at every end but SIGKILL: by q, by a signal, by an error, by a panic. What was on the
//! screen before is on it again. Draws only what it is given, cut to the terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::paper::Line;

/// The other screen, no cursor; and back.
const TAKE: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[2J";
const HOME: &str = "\u{1b}[H";
const GIVE_BACK: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// While we have the terminal: the settings of standard input before, where that is the terminal.
static BEFORE: Mutex<Option<Option<Termios>>> = Mutex::new(None);

/// Columns and lines of standard output, where that is a terminal that knows them.
pub(super) fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok().filter(|_| io::stdout().is_terminal())?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// The terminal, until this is dropped.
pub(super) struct Terminal {
    colour: bool,
}

impl Terminal {
    /// Takes it.
    pub(super) fn take(colour: bool) -> io::Result<Self> {
        let keys = if io::stdin().is_terminal() { Some(tcgetattr(io::stdin())?) } else { None };
        if let Some(keys) = &keys {
            let mut raw = keys.clone();
            raw.make_raw();
            tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        }
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        let terminal = Self { colour };
        // A panic ends this program at once, without dropping anything.
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            told(panic);
        }));
        write(TAKE)?;
        Ok(terminal)
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        size().unwrap_or((super::frame::COLUMNS, super::frame::LINES))
    }

    /// Shows these lines in place of everything that was there.
    pub(super) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let (columns, rows) = self.size();
        let mut text = HOME.to_owned();
        for (n, line) in lines.iter().take(rows).enumerate() {
            // Cleared before it is written: behind a line that is full there is nothing to clear but its last sign.
            text.push_str(if n > 0 { "\r\n\u{1b}[2K" } else { "\u{1b}[2K" });
            text.push_str(&line.drawn(columns, self.colour));
        }
        if lines.len() < rows {
            text.push_str("\r\n\u{1b}[J");
        }
        text.push_str(HOME);
        write(&text)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once.
fn give_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(keys) = before else { return };
    // Errors do not matter: the terminal may be gone.
    let _ = write(GIVE_BACK);
    if let Some(keys) = keys {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &keys);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
