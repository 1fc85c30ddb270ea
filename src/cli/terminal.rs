//! The terminal while `gipam top` uses it: full screen, without a cursor, with each key delivered at once.
//!
//! Promises: the terminal is restored however the program ends (q, a signal, an error, a panic), except by SIGKILL. Its
//! previous content is then visible again. Draws only the given lines, cut to the size of the terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::paper::Line;

/// Switches to the alternate screen without a cursor; `GIVE_BACK` switches back.
const TAKE: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[2J";
const HOME: &str = "\u{1b}[H";
const GIVE_BACK: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// The previous settings of standard input while we use the terminal; `Some(None)` if standard input is not a terminal.
static BEFORE: Mutex<Option<Option<Termios>>> = Mutex::new(None);

/// Columns and lines of standard output, if it is a terminal that reports them.
pub(super) fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok().filter(|_| io::stdout().is_terminal())?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// The terminal in use, until this is dropped.
pub(super) struct Terminal {
    colour: bool,
}

impl Terminal {
    /// Switches the terminal to full screen.
    pub(super) fn take(colour: bool) -> io::Result<Self> {
        let keys = if io::stdin().is_terminal() { Some(tcgetattr(io::stdin())?) } else { None };
        if let Some(keys) = &keys {
            let mut raw = keys.clone();
            raw.make_raw();
            tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        }
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        let terminal = Self { colour };
        // In release builds a panic ends the program at once, without dropping anything.
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
        size().unwrap_or((super::screen::COLUMNS, super::screen::LINES))
    }

    /// Replaces the whole content with these lines.
    pub(super) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let (columns, rows) = self.size();
        let mut text = HOME.to_owned();
        for (n, line) in lines.iter().take(rows).enumerate() {
            // Clear each line before writing it: after a full line, clearing would erase its last character.
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

/// Restores the terminal; does nothing after the first call.
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
