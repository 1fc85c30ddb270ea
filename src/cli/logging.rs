//! Where log lines go and how they look: on standard error, one line each.
//!
//! Promises: with time and level on a terminal, with the prefix `<N>` (sd-daemon's levels) for systemd, with the level as
//! prefix on any other pipe; colour only on a terminal; an event is one line of bounded length. Does not decide what is logged.

use std::fmt;
use std::io::IsTerminal;

use tracing::field::Field;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, format::Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Surroundings;
use crate::text;

/// The maximum length of a line, in bytes.
const LONGEST: usize = 8_192;

/// Whether standard error goes to the journal.
pub(super) fn to_journal(surroundings: &Surroundings) -> bool {
    surroundings.variables.contains_key("JOURNAL_STREAM") && !std::io::stderr().is_terminal()
}

/// Installs the process's only subscriber; a second call has no effect.
pub(super) fn set_up(level: Level, surroundings: &Surroundings) {
    let terminal = std::io::stderr().is_terminal();
    let style = match (terminal, to_journal(surroundings)) {
        (true, _) => Style::Terminal,
        (false, true) => Style::Journal,
        (false, false) => Style::Plain,
    };
    let separator = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| match field.name() {
        "message" => write!(writer, "{value:?}"),
        name => write!(writer, "{name}={value:?}"),
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(terminal && !surroundings.variables.contains_key("NO_COLOR"))
        .fmt_fields(tracing_subscriber::field::MakeExt::delimited(format::debug_fn(separator), " "))
        .event_format(style);
    // This fails only on a second call in one process, and then the first subscriber stays in use.
    let _ = builder.try_init();
}

/// How a line begins.
#[derive(Clone, Copy, Debug)]
enum Style {
    Terminal,
    Journal,
    Plain,
}

/// sd-daemon's number for a level.
const fn journal_level(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

const fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The colour of a level on a terminal.
const fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "",
        _ => "\u{1b}[2m",
    }
}

impl<S, N> FormatEvent<S, N> for Style
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let coloured = writer.has_ansi_escapes() && !colour(level).is_empty();
        match self {
            Self::Journal => write!(writer, "<{}>", journal_level(level))?,
            Self::Plain => write!(writer, "{}: ", name(level))?,
            Self::Terminal => {
                SystemTime.format_time(&mut writer)?;
                let (on, off) = if coloured { (colour(level), "\u{1b}[0m") } else { ("", "") };
                write!(writer, " {on}{:<7}{off} ", name(level))?;
            }
        }
        let mut said = String::new();
        context.format_fields(Writer::new(&mut said), event)?;
        // One line, whatever the event contains, so that it cannot imitate another line.
        writeln!(writer, "{}", text::cut(&said, LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_go_to_the_journal_only_if_systemd_says_so() {
        assert!(!to_journal(&Surroundings::default()));
    }

    #[test]
    fn levels_have_the_numbers_of_sd_daemon() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        assert_eq!(levels.map(journal_level), [3, 4, 6, 7, 7]);
    }
}
