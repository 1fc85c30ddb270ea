//! Hooks: programs and URLs that receive events, as listed in the configuration file.
//!
//! Promises: a hook is either a command or a URL, with a known list of events and a time limit; settings that could never
//! work (an empty command, a URL with a name but no address, a file without a certificate) are refused at the key; what
//! may be a password (arguments, a path, a query) never appears in messages. Does not run or connect to anything.

mod tls;
mod url;

use std::path::PathBuf;

use toml::Spanned;

pub use self::tls::HookTls;
pub(super) use self::tls::{Files, SYSTEM};
pub use self::url::Url;
use self::url::WrittenUrl;
use super::document::{Document, FromName};
use super::error::{ConfigError, Problem, problem};
use super::keys::{HOOK, HookTable, default_of};
use super::resolve::Resolver;
use super::value;
use crate::plan::settings::Millis;

/// Events that a hook can select, in addition to `gap`, which every hook gets.
pub const EVENTS: [&str; 20] = [
    "leased",
    "released",
    "undone",
    "adopted",
    "identified",
    "named",
    "duplicate",
    "subnet_granted",
    "subnet_released",
    "subnet_undone",
    "subnet_adopted",
    "subnet_identified",
    "pinned",
    "unpinned",
    "reserved",
    "unreserved",
    "pool_filling",
    "pool_relieved",
    "subnet_filling",
    "subnet_relieved",
];

/// The largest time limit for a delivery.
const LONGEST_TIMEOUT: Millis = 3_600_000;
/// The largest number of events in one call of a webhook.
const LARGEST_BATCH: u16 = 256;

/// One `[[hook]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name; the books store the delivery cursor under it.
    pub name: String,
    /// How it receives events.
    pub target: Target,
    /// Events that it receives; `None` = all.
    pub events: Option<Vec<String>>,
    /// The time limit for a delivery.
    pub timeout: Millis,
    /// Whether a new hook first gets every event still in the history, not only new ones.
    pub from_start: bool,
}

/// How a hook receives events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Starts a process for each event.
    Command(Vec<String>),
    /// Sends a POST with one or more events.
    Web {
        url: Url,
        /// TLS settings; `None` with `http://`.
        tls: Option<Box<HookTls>>,
        /// The largest number of events in one request.
        batch: usize,
    },
}

/// For people: omits parts that may be a password.
impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(words) => {
                formatter.write_str(words.first().map_or("", String::as_str))?;
                formatter.write_str(if words.len() > 1 { " ..." } else { "" })
            }
            Self::Web { url, .. } => url.fmt(formatter),
        }
    }
}

impl Target {
    /// Removes the secret parts of this target (the arguments of a command, the path of a URL) from a text, because a
    /// program or a server may repeat them.
    pub fn hide(&self, text: &str) -> String {
        match self {
            Self::Web { url, .. } => url.hide(text),
            Self::Command(words) => {
                let words = words
                    .iter()
                    .skip(1)
                    .flat_map(|word| [Some(word.as_str()), word.split_once('=').map(|(_, value)| value)]);
                let secrets = words.flatten().filter(|word| word.len() >= url::SECRET);
                secrets.fold(text.to_owned(), |text, word| text.replace(word, "..."))
            }
        }
    }
}

/// Reads the hooks from the file.
pub(super) fn resolve(resolver: &mut Resolver<'_>) -> Result<Vec<Hook>, ConfigError> {
    let mut hooks: Vec<Hook> = Vec::new();
    for table in &resolver.document.top.hook {
        let hook = read(&resolver.document, table, resolver.files, &resolver.surroundings.authorities)?;
        if hooks.iter().any(|known| known.name == hook.name) {
            let problem = problem!("duplicate hook {:?}; each needs a name of its own", hook.name);
            return Err(resolver.document.refuse(&table.name.span(), problem));
        }
        hooks.push(hook);
    }
    let places: Vec<_> =
        resolver.document.top.hook.iter().map(|table| resolver.document.origin(&table.name.span())).collect();
    for (hook, origin) in hooks.iter().zip(places) {
        resolver.show(format!("hook.{}", hook.name), &hook.target, origin);
    }
    Ok(hooks)
}

fn read(
    document: &Document,
    table: &HookTable,
    files: Files,
    system: &[PathBuf],
) -> Result<Hook, ConfigError> {
    document.value(&table.name, |name| {
        value::pool_name(name).map_err(|_| {
            problem!("{name:?} cannot be a hook's name; use 1 to 63 letters, digits, '-', '_' and '.'")
        })
    })?;
    let target = target(document, table, files, system)?;
    let mut events = Vec::new();
    for written in &table.events {
        events.push(document.value(written, |event| known(event))?);
    }
    let timeout = match &table.timeout {
        Some(written) => document.value(written, |text| match value::duration(text)? {
            time if (1..=LONGEST_TIMEOUT).contains(&time) => Ok(time),
            _ => Err(problem!("the timeout of a hook must be above 0 and at most one hour")),
        })?,
        None => value::duration(default_of(HOOK, "timeout")).map_err(ConfigError::together)?,
    };
    Ok(Hook {
        name: table.name.get_ref().clone(),
        target,
        events: (!events.is_empty()).then_some(events),
        timeout,
        from_start: table.from.as_ref().is_some_and(|from| *from.get_ref() == FromName::Start),
    })
}

/// Reads how a hook receives events.
fn target(
    document: &Document,
    table: &HookTable,
    files: Files,
    system: &[PathBuf],
) -> Result<Target, ConfigError> {
    Ok(match (&table.command, &table.url) {
        (Some(command), None) => {
            if let Some(batch) = &table.batch {
                let problem = problem!("a command gets one event at a time; batch needs a url");
                return Err(document.refuse(&batch.span(), problem));
            }
            let foreign = [&table.connect, &table.ca, &table.cert, &table.key];
            if let Some(key) = foreign.into_iter().flatten().next() {
                let problem = problem!("connect, ca, cert and key need a url");
                return Err(document.refuse(&key.span(), problem));
            }
            Target::Command(document.value(command, |words| program(document, words))?)
        }
        (None, Some(url)) => {
            let written = document.value(url, |text| WrittenUrl::parse(text))?;
            let tls = tls::read(document, table, url, &written, (files, system))?.map(Box::new);
            let url = match &table.connect {
                Some(connect) => document.value(connect, |text| written.at(Some(text)))?,
                None => document.value(url, |_| written.at(None))?,
            };
            let batch = match &table.batch {
                Some(written) => document.value(written, |batch| match *batch {
                    batch if (1..=LARGEST_BATCH).contains(&batch) => Ok(batch),
                    _ => Err(problem!("must be a number of events; give 1 to {LARGEST_BATCH}")),
                })?,
                None => default_of(HOOK, "batch").parse().unwrap_or(LARGEST_BATCH),
            };
            Target::Web { url, tls, batch: batch.into() }
        }
        _ => {
            let problem = problem!("a hook has either a command or a url; give one of them");
            return Err(document.refuse(&table.name.span(), problem));
        }
    })
}

fn known(event: &str) -> Result<String, Problem> {
    if EVENTS.contains(&event) {
        Ok(event.to_owned())
    } else {
        Err(problem!("unknown event {event:?}; the events are: {}", EVENTS.join(", ")))
    }
}

/// A first word with a `/` is a path relative to the file's directory; one without is looked up in `PATH`.
fn program(document: &Document, words: &[Spanned<String>]) -> Result<Vec<String>, Problem> {
    let mut words: Vec<String> = words.iter().map(|word| word.get_ref().clone()).collect();
    let refuse = || {
        problem!(
            "must be a list: the program and its arguments, such as [\"/usr/local/bin/hook\", \"ARGUMENT\"]"
        )
    };
    if words.iter().any(|word| word.contains('\0')) {
        return Err(refuse());
    }
    match words.first_mut() {
        Some(first) if first.contains('/') => *first = document.path(first)?.display().to_string(),
        Some(first) if !first.is_empty() => {}
        _ => return Err(refuse()),
    }
    Ok(words)
}
