//! The TOML configuration file, with flags, variables and defaults written into the same tables before they are read.
//!
//! Promises: the one order of precedence (R69) is implemented here: a flag overrides a variable, a variable the file, and
//! the file the default; an empty flag takes the default. Unknown keys, wrong types and invalid TOML are refused with file,
//! line, column and key, or with the flag or variable; every later error about a value goes through [`Document::refuse`]
//! and names its place in the same way. Pools are the exception: see `pools.rs`. Does not interpret values.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::error::{ConfigError, Problem, problem};
use super::keys::{BASE, GC, HOOK, Key, PLAN, POOL, TOP, Top};
use super::options::{CONFIG, Options, Spelling, Surroundings};
use super::origin::{At, DEFAULT, Origin, Spot};
use super::{locate, value};

/// The configuration file and the options, which show where each value was set.
#[derive(Debug)]
pub(super) struct Document {
    /// The file's path, if there is a file.
    pub(super) path: Option<PathBuf>,
    text: String,
    lines: locate::Lines,
    /// The directory at which relative paths in options and variables start.
    directory: PathBuf,
    flags: Options,
    variables: Options,
    /// The options that were written into the tables; their places follow the end of the text, in this order.
    options: Vec<Origin>,
}

impl Document {
    /// Reads the file that the options name, or the default one if it exists, and merges the options into it.
    pub(super) fn read(flags: &Options, surroundings: &Surroundings) -> Result<(Self, Top), ConfigError> {
        let mut document = Self {
            path: None,
            text: String::new(),
            lines: locate::Lines::default(),
            directory: surroundings.directory.clone(),
            flags: flags.clone(),
            variables: Options::from_variables(&surroundings.variables),
            options: Vec::new(),
        };
        let usual = || Some(&surroundings.default_configuration).filter(|path| path.is_file()).cloned();
        document.path =
            document.given(CONFIG).map(|(text, _)| surroundings.directory.join(text)).or_else(usual);
        if let Some(path) = &document.path {
            document.text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            document.lines = locate::Lines::of(&document.text);
        }
        let top = document.merge()?;
        Ok((document, top))
    }

    fn merge(&mut self) -> Result<Top, ConfigError> {
        let text = self.text.clone();
        // If the text is not valid TOML, report the first mistake.
        let (table, broken) = DeTable::parse_recoverable(&text);
        let first = broken.into_iter().min_by_key(|error| error.span().map_or(0, |span| span.start));
        let read = match first {
            Some(error) => Err(error),
            None => {
                let mut table = table.into_inner();
                self.write_options(&mut table)?;
                write_defaults(&mut table);
                Top::deserialize(Deserializer::from(Spanned::new(0..0, table)))
            }
        };
        read.map_err(|error| {
            let place = error.span().unwrap_or(0..0);
            let key = locate::key(&self.text, &place).unwrap_or_default();
            let hides = key.starts_with("hook");
            let said = if hides { unquoted(error.message()) } else { error.message().to_owned() };
            self.refuse(&place, reworded(&said, &key))
        })
    }

    /// The text of an option as it was typed, and its flag or variable.
    fn given(&self, spelling: Spelling) -> Option<(String, Origin)> {
        let variable =
            || Some(((spelling.get)(&self.variables).clone()?, Origin::Variable(spelling.variable)));
        let flag = (spelling.get)(&self.flags).clone().map(|text| (text, Origin::Flag(spelling.flag)));
        flag.or_else(variable)
    }

    /// An option that is not empty, with its place.
    pub(super) fn option(&mut self, spelling: Spelling) -> Option<At<String>> {
        let (text, origin) = self.given(spelling).filter(|(text, _)| !text.is_empty())?;
        let at = self.text.len() + 1 + self.options.len();
        self.options.push(origin);
        Some(At::new(text, at..at))
    }

    /// Writes the options that correspond to a single key into the table.
    fn write_options(&mut self, table: &mut DeTable<'_>) -> Result<(), ConfigError> {
        for key in TOP {
            let &[spelling] = key.options else { continue };
            if self.given(spelling).is_some() {
                table.remove(key.name);
            }
            let Some(text) = self.option(spelling) else { continue };
            let value = if key.name == "unix" {
                DeValue::Boolean(self.value(&text, |text| value::boolean(text))?)
            } else {
                DeValue::String((*text).clone().into())
            };
            let name = Spanned::new(text.place.clone(), key.name.into());
            table.insert(name, Spanned::new(text.place, value));
        }
        Ok(())
    }

    /// The error about the value at this place.
    pub(super) fn refuse(&self, place: &Spot, problem: Problem) -> ConfigError {
        match self.origin(place) {
            Origin::Flag(name) | Origin::Variable(name) | Origin::Found(name) => {
                ConfigError::Option { name, problem }
            }
            Origin::Default => ConfigError::Together(problem),
            Origin::Document { path, line } => {
                let (_, column) = self.lines.position(&self.text, place.start);
                ConfigError::Document { path, line, column, key: locate::key(&self.text, place), problem }
            }
        }
    }

    /// Interprets a value with `read`; an error gets the place of the value.
    pub(super) fn value<T, R>(
        &self,
        written: &At<T>,
        read: impl FnOnce(&T) -> Result<R, Problem>,
    ) -> Result<R, ConfigError> {
        read(written).map_err(|problem| self.refuse(&written.place, problem))
    }

    /// Where the value at this place was set.
    pub(super) fn origin(&self, place: &Spot) -> Origin {
        if let Some(option) = place.start.checked_sub(self.text.len() + 1) {
            return self.options.get(option).cloned().unwrap_or(Origin::Default);
        }
        let (line, _) = self.lines.position(&self.text, place.start);
        Origin::Document { path: self.path.clone().unwrap_or_default(), line }
    }

    /// Whether a value is in the file.
    pub(super) const fn has(&self, place: &Spot) -> bool {
        place.start <= self.text.len()
    }

    /// The absolute path: a relative path in the file starts at the file's directory, any other at the working directory.
    pub(super) fn path(&self, written: &At<impl ToString>) -> PathBuf {
        let here = self.path.as_deref().and_then(Path::parent).filter(|_| self.has(&written.place));
        here.unwrap_or(&self.directory).join(written.to_string())
    }
}

/// Writes the defaults of all keys into the tables that lack them. `v4 = "PREFIX"` becomes a table with this base.
fn write_defaults(top: &mut DeTable<'_>) {
    let empty = || Spanned::new(DEFAULT, DeValue::Table(DeTable::default()));
    top.entry(Spanned::new(DEFAULT, "gc".into())).or_insert_with(empty);
    fill(top, TOP);
    for gc in tables(top, "gc") {
        fill(gc, GC);
    }
    for plan in tables(top, "plan") {
        fill(plan, PLAN);
    }
    for hook in tables(top, "hook") {
        fill(hook, HOOK);
    }
    for pool in tables(top, "pool") {
        fill(pool, POOL);
        for family in ["v4", "v6"] {
            if let Some(entry) = pool.get_mut(family).filter(|entry| entry.get_ref().is_str()) {
                let place = entry.span();
                let base = std::mem::replace(entry.get_mut(), DeValue::Boolean(false));
                let base = (Spanned::new(place.clone(), "base".into()), Spanned::new(place, base));
                *entry.get_mut() = DeValue::Table([base].into_iter().collect());
            }
            for base in tables(pool, family) {
                fill(base, BASE);
            }
        }
    }
}

/// The table, or the tables of a list, under this key.
fn tables<'a, 'i>(table: &'a mut DeTable<'i>, key: &str) -> impl Iterator<Item = &'a mut DeTable<'i>> {
    let values = match table.get_mut(key).map(Spanned::get_mut) {
        Some(DeValue::Array(list)) => list.iter_mut().map(Spanned::get_mut).collect(),
        value => Vec::from_iter(value),
    };
    values.into_iter().filter_map(|value| if let DeValue::Table(table) = value { Some(table) } else { None })
}

fn fill(table: &mut DeTable<'_>, keys: &[Key]) {
    for key in keys.iter().filter(|key| key.is_value()) {
        if let (false, Ok(value)) = (table.contains_key(key.name), DeValue::parse(key.default)) {
            table.insert(Spanned::new(DEFAULT, key.name.into()), Spanned::new(DEFAULT, value.into_inner()));
        }
    }
}

/// Removes the quoted value, which may be a password, from a message of the TOML library.
fn unquoted(message: &str) -> String {
    match (message.find("string \""), message.rfind('"')) {
        (Some(from), Some(to)) if from + 8 <= to => {
            format!("{}a string{}", &message[..from], &message[to + 1..])
        }
        _ => message.to_owned(),
    }
}

/// The parser's message, reworded if a key is unknown or a value has the wrong type.
pub(crate) fn reworded(message: &str, key: &str) -> Problem {
    if let Some((start, known)) = message.split_once("`, expected ")
        && start.starts_with("unknown field")
    {
        let known = known.trim_start_matches("one of ").replace("` or `", ", ").replace('`', "");
        return problem!("unknown key; the keys here are: {known}");
    }
    mistyped(message, key).unwrap_or_else(|| Problem::Value(message.replace('\n', "; ")))
}

/// How to write the value, if it is a number instead of a string, or a string instead of a number or boolean.
fn mistyped(message: &str, key: &str) -> Option<Problem> {
    let found = message.strip_prefix("invalid type: ")?;
    if let Some(text) = found.strip_prefix("string \"") {
        let (text, wanted) = text.split_once("\", expected ")?;
        let number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        let fits = number && !wanted.contains("bool") || matches!(text, "true" | "false");
        return fits.then(|| problem!("write {text} without quotes"));
    }
    let (number, wanted) = found.strip_prefix("integer `")?.split_once("`, expected ")?;
    if !wanted.contains("string") {
        return None;
    }
    let key = key.rsplit('.').next().unwrap_or_default();
    let seconds = matches!(key, "cooling" | "subnet_cooling" | "restart_window" | "grace" | "timeout");
    let wanted = match number.parse::<u64>() {
        Ok(number) if seconds => format!(
            "{:?} for {number} s",
            value::duration_text(number.checked_mul(1_000).unwrap_or_default())
        ),
        Ok(number) if key.ends_with("_mode") => format!("\"{number:04}\""),
        _ => format!("{number:?}"),
    };
    Some(problem!("expected a string, found a number; write {wanted}"))
}
