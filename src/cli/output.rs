//! Gets answers from the daemon or from the books, and prints them.
//!
//! Promises: if a view comes from the books, standard error says so, except under `gipam top`; if the caller named a daemon,
//! books that the caller did not name are never shown instead; a reader that closes early (`| head`) is not an error. JSON is
//! printed as received, one row per line.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind as UsageKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::CliError;
use super::progress::{Progress, ShownLine, task};
use super::tables::Width;
use crate::admin::{client, offline};
use crate::config::{ClientConfig, Options, PlanSource, Surroundings};
use crate::view::rows::Status;
use crate::view::{ErrorKind, Refusal};

/// Which daemon or books to use, and how to print.
pub(super) struct Asking {
    config: ClientConfig,
    /// Whether to print JSON.
    pub(super) json: bool,
    /// The width of the terminal.
    pub(super) width: Width,
    /// Whether to print colours.
    pub(super) colour: bool,
    shown: ShownLine,
}

/// What the books do not know if the hosts claim slices in a store.
const OTHERS: &str = "; the slices of other hosts are unknown without the daemon";

impl Asking {
    /// Determines which daemon and books these options mean.
    pub(super) fn new(flags: &Options, json: bool, surroundings: &Surroundings) -> Result<Self, CliError> {
        let config = ClientConfig::load(flags, surroundings).map_err(CliError::Configuration)?;
        for warning in &config.warnings {
            note(warning);
        }
        let colour = io::stdout().is_terminal() && !surroundings.variables.contains_key("NO_COLOR");
        let (width, shown) = (Width::of_output(), ShownLine::new(json, surroundings));
        Ok(Self { config, json, width, colour, shown })
    }

    /// The Engine's API socket, unless repair is off.
    pub(super) fn engine(&self) -> Option<std::path::PathBuf> {
        self.config.engine.clone()
    }

    /// Starts a progress line for this work.
    pub(super) fn work(&self, what: impl Into<String>) -> Progress {
        self.shown.work(what)
    }

    /// Starts a progress line, unless a person uses the terminal for something else.
    pub(super) fn work_unless(&self, occupied: bool, what: impl Into<String>) -> Progress {
        if occupied { ShownLine::nothing() } else { self.shown }.work(what)
    }

    /// A view from the daemon, or from the books if no daemon runs.
    pub(super) fn view(&self, path: &str) -> Result<Vec<u8>, CliError> {
        let (answer, from_books) = self.whole(path, &self.work(task(path)))?;
        from_books.iter().for_each(|said| note(said));
        Ok(answer)
    }

    /// A view for `gipam top`: without a progress line and without a note.
    pub(super) fn quiet_view(&self, path: &str) -> Result<Vec<u8>, CliError> {
        Ok(self.whole(path, &ShownLine::nothing().work(task(path)))?.0)
    }

    /// Prints a list as JSON while it arrives.
    pub(super) fn print_rows(&self, path: &str) -> Result<(), CliError> {
        let mut lines = JsonLines { progress: Some(self.work(task(path))), rest: Vec::new() };
        let from_books = self.pieces(path, None, |piece| lines.take(piece))?;
        lines.end()?;
        from_books.iter().for_each(|said| note(said));
        Ok(())
    }

    fn whole(&self, path: &str, progress: &Progress) -> Result<(Vec<u8>, Option<String>), CliError> {
        let mut whole = Vec::new();
        let from_books = self.pieces(path, Some(progress), |piece| {
            whole.extend_from_slice(piece);
            Ok(())
        })?;
        Ok((whole, from_books))
    }

    /// Passes a view to `take`, piece by piece. If it comes from the books, returns a note that says so.
    fn pieces(
        &self,
        path: &str,
        progress: Option<&Progress>,
        mut take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<Option<String>, CliError> {
        let down = match client::get_pieces(&self.config.admin, path, client::VIEW, &mut take) {
            Err(down @ client::AskError::Down { .. }) => down,
            Err(error) => return Err(CliError::Admin(error.into())),
            Ok(taken) => return taken.map(|()| None),
        };
        let (books, said) = self.books_instead(&down)?;
        progress.into_iter().for_each(|line| line.now(format!("reading the books {}", books.display())));
        let mut failed = None;
        let last = offline::answer(&books, self.config.plan.as_ref(), path, &mut |piece| {
            take(&piece).map_err(|error| {
                failed = Some(error);
                Refusal::new(ErrorKind::Unavailable, "the output cannot be written")
            })
        });
        match failed {
            Some(error) => Err(error),
            None => take(&last.map_err(CliError::Admin)?).map(|()| Some(said)),
        }
    }

    /// The books to read if no daemon answers, and the note to print then.
    fn books_instead(&self, down: &client::AskError) -> Result<(PathBuf, String), CliError> {
        let wanted = self.config.file.resolve(crate::config::Content::Absent).books;
        if !self.config.books_belong {
            return Err(unreachable(down, "; to show the books without a daemon, give --file PATH"));
        }
        let Some(books) = self.config.file.existing() else {
            return Err(unreachable(down, &format!(", and no books were found at {}", wanted.display())));
        };
        let said = format!(
            "no daemon answers at {}; this answer comes from the books {}{}",
            self.config.admin.display(),
            books.display(),
            self.config.plan.as_ref().and_then(PlanSource::etcd).map_or("", |_| OTHERS)
        );
        Ok((books.to_owned(), said))
    }

    /// A view that only the daemon offers.
    pub(super) fn daemon_view(&self, path: &str) -> Result<Vec<u8>, client::AskError> {
        client::get(&self.config.admin, path, client::VIEW)
    }

    /// A change that only the daemon can make.
    pub(super) fn change(&self, path: &str, body: &Value) -> Result<Vec<u8>, CliError> {
        let _progress = self.work(task(path));
        client::post(&self.config.admin, path, body, client::CHANGE)
            .map_err(|error| CliError::Admin(error.into()))
    }

    /// An import by the daemon, or into the books if no daemon runs.
    pub(super) fn import(&self, name: &str, content: &str, replace: bool) -> Result<Vec<u8>, CliError> {
        let body = serde_json::json!({"name": name, "content": content, "replace": replace});
        let progress = self.work(task("/v1/import"));
        let down = match client::post(&self.config.admin, "/v1/import", &body, client::CHANGE) {
            Err(down @ client::AskError::Down { .. }) => down,
            other => return other.map_err(|error| CliError::Admin(error.into())),
        };
        if !self.config.books_belong {
            return Err(unreachable(&down, "; to import into the books without a daemon, give --file PATH"));
        }
        let books = offline::place(&self.config.file).map_err(CliError::Admin)?;
        progress.now(format!("importing {name} into the books {}", books.display()));
        let answer = offline::import(&self.config.file, name, content, replace).map_err(CliError::Admin)?;
        drop(progress);
        note(&format!("no daemon answers; the books {} were changed directly", books.display()));
        Ok(answer)
    }

    /// Copies the books: the daemon's, or the named ones if no daemon runs.
    pub(super) fn backup(&self, copy: &Path) -> Result<Vec<u8>, CliError> {
        let status: Status = read("/v1/status", &self.view("/v1/status")?)?;
        let progress = self.work("opening the books");
        offline::backup(Path::new(&status.books), copy, &|step| progress.step(step)).map_err(CliError::Admin)
    }

    /// Replaces the configured books with a copy.
    pub(super) fn restore(&self, copy: &Path) -> Result<Vec<u8>, CliError> {
        let progress = self.work("checking whether a daemon runs");
        if client::get(&self.config.admin, "/v1/status", client::VIEW).is_ok() {
            let text = format!("a daemon answers at {}; stop it first", self.config.admin.display());
            return Err(CliError::Admin(Refusal::new(ErrorKind::Taken, text)));
        }
        offline::restore(copy, &self.config.file, &|step| progress.step(step)).map_err(CliError::Admin)
    }
}

fn unreachable(down: &client::AskError, more: &str) -> CliError {
    CliError::Admin(Refusal::new(ErrorKind::Unreachable, format!("{down}{more}")))
}

/// Prints JSON line by line as it arrives; characters that control a terminal are escaped.
struct JsonLines {
    /// Shown until the first line.
    progress: Option<Progress>,
    rest: Vec<u8>,
}

impl JsonLines {
    fn take(&mut self, piece: &[u8]) -> Result<(), CliError> {
        self.progress = None;
        self.rest.extend_from_slice(piece);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, rest);
        bytes(crate::text::json(&String::from_utf8_lossy(&lines)).as_bytes())
    }

    fn end(&mut self) -> Result<(), CliError> {
        self.take(b"\n")
    }
}

/// Parses an answer.
pub(super) fn read<T: DeserializeOwned>(path: &str, answer: &[u8]) -> Result<T, CliError> {
    serde_json::from_slice(answer).map_err(|source| CliError::Answer { path: path.to_owned(), source })
}

/// Prints an answer as JSON: a list with one row per line, anything else indented.
pub(super) fn json(path: &str, answer: &[u8]) -> Result<(), CliError> {
    let value: Value = read(path, answer)?;
    text(&json_text(&value))
}

/// See [`json`]; characters that control a terminal are escaped as JSON escapes.
pub(super) fn json_text(value: &Value) -> String {
    let rows = match value.as_array() {
        Some(rows) if rows.is_empty() => "[]\n".to_owned(),
        Some(rows) => {
            let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
            format!("[\n{}\n]\n", rows.join(",\n"))
        }
        None => format!("{value:#}\n"),
    };
    crate::text::json(&rows).into_owned()
}

/// Writes lines to standard output, so that nothing in them can control the terminal.
pub(super) fn text(text: &str) -> Result<(), CliError> {
    bytes(crate::text::lines(text).as_bytes())
}

/// Writes coloured text to standard output. Text from outside must already be escaped in it.
pub(super) fn painted(text: &str) -> Result<(), CliError> {
    bytes(text.as_bytes())
}

/// Writes to standard output.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::ReaderLeft,
        _ => CliError::Write(error),
    })
}

/// Writes a note to standard error.
pub(super) fn note(text: &str) {
    eprintln!("gipam: {}", crate::text::lines(text));
}

/// Prints clap's message (an error, the help, the version) and returns the exit code.
pub(super) fn usage(mut usage: clap::Error, command: &clap::Command) -> u8 {
    suggest(&mut usage, command);
    // Printing fails only if the reader of the output is gone.
    let _ = usage.print();
    if usage.use_stderr() { 2 } else { 0 }
}

/// Suggests an option that differs by one letter if clap suggests none: clap finds short names too dissimilar.
fn suggest(usage: &mut clap::Error, command: &clap::Command) {
    let unknown =
        usage.kind() == UsageKind::UnknownArgument && usage.get(ContextKind::SuggestedArg).is_none();
    let Some(ContextValue::String(written)) = usage.get(ContextKind::InvalidArg).filter(|_| unknown) else {
        return;
    };
    let written = written.trim_start_matches('-').to_owned();
    let longs = command.get_arguments().filter_map(clap::Arg::get_long);
    if let Some(near) = longs.filter(|long| one_letter_away(long, &written)).min() {
        usage.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{near}")));
    }
}

/// Whether the names differ in exactly one letter.
fn one_letter_away(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).filter(|(one, other)| one != other).count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lists_have_one_row_per_line_and_keep_the_order_of_keys() {
        let value: Value = serde_json::from_str(r#"[{"b":1,"a":null},{"b":"9007199254740993"}]"#).unwrap();
        assert_eq!(json_text(&value), "[\n{\"b\":1,\"a\":null},\n{\"b\":\"9007199254740993\"}\n]\n");
        assert_eq!(json_text(&serde_json::json!([])), "[]\n");
    }
}
