//! Hooks: who is told of what happens, as the configuration file says it.
//!
//! Promises: a hook has one way to be told, a known list of events and a time limit; what could never work (an empty
//! command, a URL that is not plain HTTP to an address) is refused where it is written. Runs nothing and connects to nobody.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use toml::Spanned;

use super::document::{Document, FromName, HookTable};
use super::error::{Error, Problem};
use super::resolve::Resolver;
use super::value;
use crate::plan::settings::Millis;

/// What a hook can be told of, beside `gap`, which everyone is told.
pub const EVENTS: [&str; 19] = [
    "leased",
    "released",
    "undone",
    "adopted",
    "identified",
    "named",
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

/// How long a delivery may take by default.
const DEFAULT_TIMEOUT: Millis = 10_000;
/// And at most.
const LONGEST_TIMEOUT: Millis = 3_600_000;
/// Events of one call of a webhook by default.
const DEFAULT_BATCH: u16 = 32;
/// And at most.
const LARGEST_BATCH: u16 = 256;

/// One `[[hook]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name, under which the books keep how far it has been told.
    pub name: String,
    /// How it is told.
    pub target: Target,
    /// Events that it wants; `None` = all.
    pub events: Option<Vec<String>>,
    /// How long a delivery may take.
    pub timeout: Millis,
    /// A new hook is told everything that the history still has, not only what comes.
    pub from_start: bool,
}

/// How a hook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A process for each event.
    Command(Vec<String>),
    /// A POST for some events.
    Web {
        /// Where to.
        url: Url,
        /// At most so many events at a time.
        batch: usize,
    },
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(words) => formatter.write_str(&words.join(" ")),
            Self::Web { url, .. } => formatter.write_str(&url.text),
        }
    }
}

/// A URL of plain HTTP to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// As it is written.
    pub text: String,
    /// Where to connect.
    pub address: SocketAddr,
    /// The `Host` field.
    pub host: String,
    /// The path, with the query.
    pub path: String,
}

impl Url {
    /// Reads `http://ADDRESS[:PORT][/PATH]`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |why| Problem::HookUrl { text: text.to_owned(), why };
        if text.starts_with("https://") {
            return Err(refuse("gipam calls webhooks over plain HTTP only: put a proxy in front of it"));
        }
        let rest = text.strip_prefix("http://").ok_or_else(|| refuse("it must begin with http://"))?;
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
            None => (rest, "/".to_owned()),
        };
        if path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
            return Err(refuse("the path has blanks, '#' or other bytes that a request cannot carry"));
        }
        let address = address(host).ok_or_else(|| {
            refuse("the host must be an IP address or localhost, with :PORT if it is not 80: names are not looked up")
        })?;
        Ok(Self { text: text.to_owned(), address, host: host.to_owned(), path })
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`, `localhost`, `localhost:80`.
fn address(host: &str) -> Option<SocketAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inside.parse().ok().map(|address| SocketAddr::new(IpAddr::V6(address), 80));
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (host, 80),
    };
    let local = name == "localhost";
    let address = if local { Ipv4Addr::LOCALHOST } else { name.parse().ok()? };
    Some(SocketAddr::new(IpAddr::V4(address), port))
}

/// The hooks of the file.
pub(super) fn resolve(resolver: &mut Resolver<'_>) -> Result<Vec<Hook>, Error> {
    let mut hooks: Vec<Hook> = Vec::new();
    for table in &resolver.document.top.hook {
        let hook = read(&resolver.document, table)?;
        if hooks.iter().any(|known| known.name == hook.name) {
            let problem = Problem::HookTwice { name: hook.name };
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

fn read(document: &Document, table: &HookTable) -> Result<Hook, Error> {
    document.value(&table.name, |name| {
        value::pool_name(name).map_err(|_| Problem::HookName { name: name.clone() })
    })?;
    let target = match (&table.command, &table.url) {
        (Some(command), None) => {
            if let Some(batch) = &table.batch {
                return Err(document.refuse(&batch.span(), Problem::HookBatch));
            }
            Target::Command(document.value(command, |words| program(document, words))?)
        }
        (None, Some(url)) => {
            let url = document.value(url, |text| Url::parse(text))?;
            let batch = match &table.batch {
                Some(written) => document.value(written, |batch| match *batch {
                    0 => Err(Problem::HookBatchSize { most: LARGEST_BATCH }),
                    batch if batch > LARGEST_BATCH => Err(Problem::HookBatchSize { most: LARGEST_BATCH }),
                    batch => Ok(batch),
                })?,
                None => DEFAULT_BATCH,
            };
            Target::Web { url, batch: batch.into() }
        }
        _ => return Err(document.refuse(&table.name.span(), Problem::HookTarget)),
    };
    let mut events = Vec::new();
    for written in &table.events {
        events.push(document.value(written, |event| known(event))?);
    }
    let timeout = match &table.timeout {
        Some(written) => document.value(written, |text| match value::duration(text)? {
            time if (1..=LONGEST_TIMEOUT).contains(&time) => Ok(time),
            _ => Err(Problem::HookTimeout),
        })?,
        None => DEFAULT_TIMEOUT,
    };
    Ok(Hook {
        name: table.name.get_ref().clone(),
        target,
        events: (!events.is_empty()).then_some(events),
        timeout,
        from_start: table.from.as_ref().is_some_and(|from| *from.get_ref() == FromName::Start),
    })
}

fn known(event: &str) -> Result<String, Problem> {
    if EVENTS.contains(&event) {
        Ok(event.to_owned())
    } else {
        Err(Problem::HookEvent { text: event.to_owned(), known: EVENTS.join(", ") })
    }
}

/// A path in the first word starts at the file's directory; a word without `/` is looked for in `PATH`.
fn program(document: &Document, words: &[Spanned<String>]) -> Result<Vec<String>, Problem> {
    let mut words: Vec<String> = words.iter().map(|word| word.get_ref().clone()).collect();
    if words.iter().any(|word| word.contains('\0')) {
        return Err(Problem::HookCommand);
    }
    match words.first_mut() {
        Some(first) if first.contains('/') => *first = document.path(first)?.display().to_string(),
        Some(first) if !first.is_empty() => {}
        _ => return Err(Problem::HookCommand),
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_plain_http_to_an_address() {
        for (text, address, path) in [
            ("http://127.0.0.1:8080/hook?x=1", "127.0.0.1:8080", "/hook?x=1"),
            ("http://192.0.2.7", "192.0.2.7:80", "/"),
            ("http://[2001:db8::1]:81/", "[2001:db8::1]:81", "/"),
            ("http://[2001:db8::1]?a", "[2001:db8::1]:80", "/?a"),
            ("http://localhost:9000/a", "127.0.0.1:9000", "/a"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.address.to_string().as_str(), url.path.as_str()), (address, path), "{text}");
        }
        for text in [
            "",
            "https://192.0.2.7/",
            "ftp://192.0.2.7/",
            "http://",
            "http://name.example/",
            "http://u@192.0.2.7/",
            "http://192.0.2.7:x/",
            "http://192.0.2.7/a b",
            "http://2001:db8::1/",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }
}
