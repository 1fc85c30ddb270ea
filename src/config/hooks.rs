//! Hooks: programs and URLs that receive events, as listed in the configuration file.
//!
//! Promises: a hook is either a command or a URL, with a known list of events and a time limit; settings that could never
//! work (an empty command, a URL with a name but no address, a file without a certificate) are refused at the key; parts
//! that may be passwords (arguments, a path, a query) never appear in messages. Neither runs nor connects to anything.

mod tls;
mod url;

pub use self::tls::HookTls;
pub(super) use self::tls::{Files, SYSTEM};
pub use self::url::{Connect, Url};
use super::document::Document;
use super::error::{ConfigError, Problem, problem};
use super::keys::{HookTable, Top};
use super::origin::At;
use super::resolve::Resolver;
use super::value::Begin;
use crate::plan::settings::Millis;

/// Events that a hook can select, in addition to `gap`, which every hook gets.
pub const EVENTS: [&str; 23] = [
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
    "subnet_stale",
    "subnet_current",
    "pinned",
    "unpinned",
    "reserved",
    "unreserved",
    "pool_filling",
    "pool_relieved",
    "subnet_filling",
    "subnet_relieved",
    "routes_changed",
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

impl Resolver<'_> {
    /// The hooks of the file.
    pub(super) fn hooks(&mut self, top: &Top) -> Result<Vec<Hook>, ConfigError> {
        let mut hooks: Vec<Hook> = Vec::new();
        for table in &top.hook {
            let hook = self.hook(table)?;
            if hooks.iter().any(|known| known.name == hook.name) {
                let problem = problem!("duplicate hook {:?}; give each hook a different name", hook.name);
                return Err(self.document.refuse(&table.name.place, problem));
            }
            self.show(format!("hook.{}", hook.name), &hook.target, &table.name.place);
            hooks.push(hook);
        }
        Ok(hooks)
    }

    fn hook(&self, table: &HookTable) -> Result<Hook, ConfigError> {
        let timeout = self.document.value(&table.timeout, |time| match **time {
            time if (1..=LONGEST_TIMEOUT).contains(&time) => Ok(time),
            _ => Err(problem!("the timeout of a hook must be above 0 and at most one hour")),
        })?;
        let events: Vec<String> = table.events.iter().map(|event| event.to_string()).collect();
        Ok(Hook {
            name: table.name.to_string(),
            target: self.target(table)?,
            events: (!events.is_empty()).then_some(events),
            timeout,
            from_start: *table.from == Begin::Start,
        })
    }

    /// How a hook receives events.
    fn target(&self, table: &HookTable) -> Result<Target, ConfigError> {
        let HookTable { name, command, url, connect, ca, cert, key, batch, .. } = table;
        let document = &self.document;
        match (command, url) {
            (Some(command), None) => {
                if document.has(&batch.place) {
                    let problem = problem!("a command gets one event at a time; batch needs a url");
                    return Err(document.refuse(&batch.place, problem));
                }
                let files = [ca, cert, key].into_iter().flatten().map(|file| &file.place);
                if let Some(foreign) = connect.iter().map(|connect| &connect.place).chain(files).next() {
                    let problem = problem!("connect, ca, cert and key need a url");
                    return Err(document.refuse(foreign, problem));
                }
                Ok(Target::Command(document.value(command, |words| program(document, words))?))
            }
            (None, Some(written)) => {
                let tls = tls::read(document, table, written, self.files, &self.surroundings.authorities)?;
                let url = document.value(written, |url| url.at(connect.as_deref()))?;
                let batch = document.value(batch, |batch| match *batch {
                    batch if (1..=LARGEST_BATCH).contains(&batch) => Ok(batch),
                    _ => Err(problem!("must be from 1 to {LARGEST_BATCH}")),
                })?;
                Ok(Target::Web { url, tls: tls.map(Box::new), batch: batch.into() })
            }
            _ => {
                let problem = problem!("a hook has either a command or a url; give one of them");
                Err(document.refuse(&name.place, problem))
            }
        }
    }
}

/// The command. A first word with a `/` is a path relative to the file's directory; without a `/`, it is searched for in `PATH`.
fn program(document: &Document, words: &[At<String>]) -> Result<Vec<String>, Problem> {
    let mut program: Vec<String> = words.iter().map(|word| (**word).clone()).collect();
    match (program.first_mut(), words) {
        (Some(first), [written, ..])
            if !first.is_empty() && !words.iter().any(|word| word.contains('\0')) =>
        {
            if first.contains('/') {
                *first = document.path(written).display().to_string();
            }
            Ok(program)
        }
        _ => Err(problem!(
            "must be a list: the program and its arguments, such as [\"/usr/local/bin/hook\", \"ARGUMENT\"]"
        )),
    }
}
