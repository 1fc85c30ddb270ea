//! `[plan]`: where it is decided which slices of shared pools belong to which host, and how this host takes part.
//!
//! Promises: a plan has one keeper, a plan file or etcd; endpoints are addresses, because gipam does not resolve names; the
//! files that the table names are read when etcd is called, so that renewed ones are used without a reload. Opens no connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::error::{ConfigError, Problem, problem};
use super::keys::{PlanTable, Top};
use super::origin::{At, DEFAULT, Spot, Value};
use super::resolve::Resolver;
use super::value::{self, PlanRoutes, Text};
use crate::plan::settings::Millis;
use crate::plan::written::never_leads;

/// Where it is decided which slices belong to which host, and which host this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSource {
    /// The name of this host in the plan.
    pub host: String,
    pub keeper: PlanKeeper,
    /// Who makes the routes to the slices of other hosts.
    pub routes: PlanRoutes,
}

/// Who decides which slices belong to which host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanKeeper {
    /// People, in a plan file that is the same on all hosts.
    File(PathBuf),
    /// The hosts, who agree through etcd.
    Etcd(Box<EtcdSettings>),
}

impl fmt::Display for PlanKeeper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Etcd(etcd) => write!(formatter, "etcd at {}", listed(&etcd.endpoints)),
        }
    }
}

impl PlanSource {
    /// The plan file, if people decide.
    pub const fn file(&self) -> Option<&PathBuf> {
        match &self.keeper {
            PlanKeeper::File(path) => Some(path),
            PlanKeeper::Etcd(_) => None,
        }
    }

    /// How etcd is reached, if the hosts agree through it.
    pub fn etcd(&self) -> Option<&EtcdSettings> {
        match &self.keeper {
            PlanKeeper::File(_) => None,
            PlanKeeper::Etcd(etcd) => Some(etcd),
        }
    }
}

/// How etcd is reached, and what this host says about itself there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// The members, never empty, in the order in which they are tried.
    pub endpoints: Vec<EtcdEndpoint>,
    /// What all keys of the plan begin with; ends with `/`.
    pub prefix: String,
    /// The addresses at which other hosts reach this one.
    pub via: Vec<IpAddr>,
    /// The user, and the file that contains the password.
    pub user: Option<(String, PathBuf)>,
    /// With `https://`: the file of the CAs that are trusted; `None` = the system has none.
    pub ca: Option<PathBuf>,
    /// The certificate chain and the private key that gipam presents.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the members' certificates; `None` = the address of the endpoint.
    pub server_name: Option<String>,
    /// How long one attempt at one member may take.
    pub timeout: Millis,
}

/// A member of etcd: `http://ADDRESS:PORT` or `https://ADDRESS:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdEndpoint {
    pub secure: bool,
    pub address: SocketAddr,
}

impl fmt::Display for EtcdEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.address)
    }
}

impl Value for EtcdEndpoint {
    type Raw = String;

    fn read(text: String) -> Result<Self, Problem> {
        let refuse = || {
            problem!(
                "{text:?} is not an endpoint; write http://ADDRESS:PORT or https://ADDRESS:PORT, as gipam does not resolve names"
            )
        };
        let (scheme, address) = text.split_once("://").ok_or_else(refuse)?;
        let address = address.strip_suffix('/').unwrap_or(address).parse().map_err(|_| refuse())?;
        match scheme {
            "http" | "https" => Ok(Self { secure: scheme == "https", address }),
            _ => Err(refuse()),
        }
    }
}

impl Value for IpAddr {
    type Raw = String;

    fn read(text: String) -> Result<Self, Problem> {
        text.parse().map_err(|_| problem!("{text:?} is not an IP address"))
    }
}

/// What the keys of a plan begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(pub String);

impl Value for KeyPrefix {
    type Raw = String;

    fn read(text: String) -> Result<Self, Problem> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
        if text.len() <= 200 && text.len() > 1 && text.ends_with('/') && text.bytes().all(plain) {
            return Ok(Self(text));
        }
        Err(problem!(
            "{text:?} cannot begin the keys of a plan; use letters, digits, '-', '_', '.' and '/', and end with '/'"
        ))
    }
}

/// Two keys that were given together.
type Pair = (At<Text>, At<Text>);

/// An attempt shorter than this would fail on a healthy network, and a longer one outlasts the time that a request has.
const TIMEOUTS: std::ops::RangeInclusive<Millis> = 50..=1_500;

impl Resolver<'_> {
    /// Where the plan is, and which host of it this is.
    pub(super) fn plan(&mut self, top: &Top) -> Result<Option<PlanSource>, ConfigError> {
        let Some(table) = &top.plan else { return Ok(None) };
        let keeper = match (&table.file, &table.etcd) {
            (Some(file), None) => {
                self.only_with_etcd(table)?;
                let path = self.document.path(file);
                self.show("plan.file", path.display(), &file.place);
                PlanKeeper::File(path)
            }
            (None, Some(etcd)) => PlanKeeper::Etcd(Box::new(self.etcd(table, etcd)?)),
            (Some(_), Some(etcd)) => {
                let problem = problem!("a plan has either a file or etcd; remove one of them");
                return Err(self.document.refuse(&etcd.place, problem));
            }
            (None, None) => {
                let problem = problem!("[plan] has neither file nor etcd; add one of them");
                let place = table.host.as_ref().map_or(&DEFAULT, |host| &host.place);
                return Err(self.document.refuse(place, problem));
            }
        };
        let host = self.plan_host(table)?;
        self.show("plan.routes", table.routes.name(), &table.routes.place);
        Ok(Some(PlanSource { host, keeper, routes: *table.routes }))
    }

    /// The name of this host.
    fn plan_host(&mut self, table: &PlanTable) -> Result<String, ConfigError> {
        let (host, place) = match &table.host {
            Some(host) => (host.to_string(), &host.place),
            None => {
                let name = &self.surroundings.host_name;
                let unusable = |_| problem!("the host name of this machine is {name:?}; set [plan] host");
                let known = value::plan_host(name).map_err(unusable);
                (known.map_err(|problem| self.document.refuse(keeper_place(table), problem))?, &DEFAULT)
            }
        };
        self.show("plan.host", &host, place);
        Ok(host)
    }

    fn only_with_etcd(&self, table: &PlanTable) -> Result<(), ConfigError> {
        let texts = [&table.user, &table.password_file, &table.ca, &table.cert, &table.key];
        let texts = texts.into_iter().flatten().map(|text| &text.place);
        let others = [&table.via.place, &table.prefix.place, &table.timeout.place]
            .into_iter()
            .filter(|place| self.document.has(place));
        let mut all = texts.chain(others).chain(table.server_name.as_ref().map(|name| &name.place));
        let Some(foreign) = all.next() else { return Ok(()) };
        let problem = problem!("this key needs etcd; with a plan file, hosts and their via are in that file");
        Err(self.document.refuse(foreign, problem))
    }

    fn etcd(
        &mut self,
        table: &PlanTable,
        etcd: &At<Vec<At<EtcdEndpoint>>>,
    ) -> Result<EtcdSettings, ConfigError> {
        let endpoints: Vec<EtcdEndpoint> = etcd.iter().map(|endpoint| (**endpoint).clone()).collect();
        let refuse = |place: &Spot, problem| Err(self.document.refuse(place, problem));
        if endpoints.is_empty() {
            return refuse(&etcd.place, problem!("must have the URL of at least one member of etcd"));
        }
        if endpoints.iter().any(|one| one.secure != endpoints[0].secure) {
            return refuse(&etcd.place, problem!("all endpoints must have one scheme: http:// or https://"));
        }
        let tls = [&table.ca, &table.cert, &table.key].into_iter().flatten().map(|file| &file.place);
        let first = tls.chain(table.server_name.as_ref().map(|name| &name.place)).next();
        if let (false, Some(place)) = (endpoints[0].secure, first) {
            return refuse(place, problem!("ca, cert, key and server_name need endpoints with https://"));
        }
        let identity = self.both(&table.cert, &table.key, "cert and key")?;
        let user = self.both(&table.user, &table.password_file, "user and password_file")?;
        if table.via.is_empty() {
            let problem =
                problem!("via is missing; give the addresses at which the other hosts reach this one");
            return refuse(&etcd.place, problem);
        }
        for via in table.via.iter() {
            if let Some(why) = never_leads(**via) {
                return refuse(
                    &via.place,
                    problem!("{} is {why}; other hosts cannot reach this one there", **via),
                );
            }
        }
        let timeout = self.document.value(&table.timeout, |time| match **time {
            time if TIMEOUTS.contains(&time) => Ok(time),
            _ => Err(problem!("must be from 50ms to 1500ms, because a request waits 2 s for etcd in all")),
        })?;
        let path = |file: &At<Text>| self.document.path(file);
        let settings = EtcdSettings {
            endpoints,
            prefix: table.prefix.0.clone(),
            via: table.via.iter().map(|address| **address).collect(),
            user: user.map(|(user, file)| (user.to_string(), path(&file))),
            ca: table.ca.as_ref().map(&path).or_else(|| self.system_authorities()),
            identity: identity.map(|(cert, key)| (path(&cert), path(&key))),
            server_name: table.server_name.as_ref().map(|name| name.to_string()),
            timeout,
        };
        self.show_etcd(table, etcd, &settings);
        Ok(settings)
    }

    fn system_authorities(&self) -> Option<PathBuf> {
        self.surroundings.authorities.iter().find(|path| path.is_file()).cloned()
    }

    /// Two keys that are useless alone.
    fn both(
        &self,
        first: &Option<At<Text>>,
        second: &Option<At<Text>>,
        names: &str,
    ) -> Result<Option<Pair>, ConfigError> {
        if let (Some(alone), None) | (None, Some(alone)) = (first, second) {
            let problem = problem!("{names} belong together; give both or neither");
            return Err(self.document.refuse(&alone.place, problem));
        }
        Ok(first.clone().zip(second.clone()))
    }

    fn show_etcd(&mut self, table: &PlanTable, etcd: &At<Vec<At<EtcdEndpoint>>>, settings: &EtcdSettings) {
        self.show("plan.etcd", listed(&settings.endpoints), &etcd.place);
        self.show("plan.prefix", &settings.prefix, &table.prefix.place);
        self.show("plan.via", listed(&settings.via), &table.via.place);
        self.show("plan.timeout", &*table.timeout, &table.timeout.place);
        let names = [("user", &table.user), ("password_file", &table.password_file), ("ca", &table.ca)];
        for (name, value) in names.into_iter().chain([("cert", &table.cert), ("key", &table.key)]) {
            if let Some(value) = value {
                let path = if name == "user" {
                    value.to_string()
                } else {
                    self.document.path(value).display().to_string()
                };
                self.show(format!("plan.{name}"), path, &value.place);
            }
        }
        if let Some(name) = &table.server_name {
            self.show("plan.server_name", name.to_string(), &name.place);
        }
    }
}

#[cfg(test)]
mod tests;

/// The place of the key that says where the plan is.
fn keeper_place(table: &PlanTable) -> &Spot {
    let file = table.file.as_ref().map(|file| &file.place);
    file.or_else(|| table.etcd.as_ref().map(|etcd| &etcd.place)).unwrap_or(&DEFAULT)
}

/// Values in one line.
pub fn listed<T: fmt::Display>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
