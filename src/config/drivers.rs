//! Driver names, their listeners and the admin socket.
//!
//! Promises: the first driver is `--name`; further ones come from `[driver.NAME]`, with sockets in the directory of the
//! first, or each with its own TCP address; no two listeners use the same place. Rules of a single listener: `door.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::door::{self, DoorSettings, TcpAddress, Tls};
use super::error::{ConfigError, Problem, problem};
use super::keys::DriverTable;
use super::options;
use super::origin::{Origin, Sourced};
use super::resolve::Resolver;
use super::value;
use super::{DriverSettings, PluginDirs};
use crate::config::pools::DEFAULT_POOL;
use crate::plan::settings::Settings;

/// The default admin socket.
const DEFAULT_ADMIN: &str = "/run/gipam/admin.sock";

fn both_doors() -> Problem {
    problem!("both a socket and a TCP address are given here; keep one of them")
}

impl Resolver<'_> {
    /// Resolves all drivers and the admin socket.
    pub(super) fn drivers(
        &mut self,
        settings: &Settings,
        directories: &PluginDirs,
        asks_for_macs: bool,
    ) -> Result<(Vec<DriverSettings>, PathBuf), ConfigError> {
        let name = self.first_name()?;
        let tls = self.tls()?;
        let (door, socket) = self.first_door(&name, directories, tls.as_ref())?;
        let pools = self.driver_pools(&name, settings)?;
        let requires_mac_address = self.asks_for_macs(&name).unwrap_or(asks_for_macs);
        let mut drivers = vec![DriverSettings { name, pools, door, requires_mac_address }];
        for further in self.further_names(&drivers[0].name) {
            self.document.value(&further, |name| value::driver_name(name))?;
            let pools = self.driver_pools(further.get_ref(), settings)?;
            let door = self.further_door(&further, &drivers[0].door, tls.as_ref())?;
            let name = further.into_inner();
            let requires_mac_address = self.asks_for_macs(&name).unwrap_or(asks_for_macs);
            drivers.push(DriverSettings { name, pools, door, requires_mac_address });
        }
        if tls.is_some() && drivers.iter().all(|driver| matches!(driver.door, DoorSettings::Unix { .. })) {
            self.warnings.push("[tls] has no effect, because no driver listens on TCP".to_owned());
        }
        let admin = self.admin(socket.as_ref())?;
        self.refuse_shared_doors(&drivers, &admin)?;
        self.warn_of_names(&drivers);
        self.show_drivers(&drivers);
        Ok((drivers, admin))
    }

    fn first_name(&mut self) -> Result<String, ConfigError> {
        let (name, origin) = match self.text(options::NAME, self.document.top.name.as_ref()) {
            Some(written) => {
                self.read(&written, value::driver_name)?;
                (written.value, written.origin)
            }
            None => ("gipam".to_owned(), Origin::Default),
        };
        self.show("name", &name, origin);
        Ok(name)
    }

    fn further_names(&self, first: &str) -> Vec<Spanned<String>> {
        self.document.top.driver.keys().filter(|name| name.get_ref() != first).cloned().collect()
    }

    fn table(&self, name: &str) -> Option<&DriverTable> {
        let tables = &self.document.top.driver;
        tables.iter().find(|(key, _)| key.get_ref() == name).map(|(_, table)| table)
    }

    /// The driver table's own `requires_mac_address`, if it is set.
    fn asks_for_macs(&self, name: &str) -> Option<bool> {
        self.table(name)?.requires_mac_address.as_ref().map(|asks| *asks.get_ref())
    }

    /// The first driver's listener, and its socket if a path was given.
    fn first_door(
        &mut self,
        name: &str,
        directories: &PluginDirs,
        tls: Option<&Tls>,
    ) -> Result<(DoorSettings, Option<Sourced<PathBuf>>), ConfigError> {
        let (top, table) = (&self.document.top, self.table(name));
        let in_table = [
            table.is_some_and(|table| table.socket.is_some()),
            table.is_some_and(|table| table.address.is_some()),
        ];
        let socket = table.and_then(|table| table.socket.as_ref()).or(top.socket.as_ref());
        let socket = self.text(options::SOCKET, socket);
        let address = table.and_then(|table| table.address.as_ref()).or(top.address.as_ref());
        let address = self.text(options::ADDRESS, address);
        let unix = top.unix.as_ref().map(|unix| Spanned::new(unix.span(), unix.get_ref().to_string()));
        let unix = self.text(options::UNIX, unix.as_ref());
        let rank = |written: &Sourced<String>, in_table| match written.origin {
            Origin::Flag(_) => 0,
            Origin::Variable(_) => 1,
            _ if in_table => 2,
            _ => 3,
        };
        let unix = match &unix {
            Some(unix) => Some((self.read(unix, value::boolean)?, rank(unix, false))),
            None => None,
        };
        let socket_rank = socket.as_ref().map(|socket| rank(socket, in_table[0]));
        let address_rank = address.as_ref().map(|address| rank(address, in_table[1]));
        let Some(is_tcp) = door::is_tcp(unix, socket_rank, address_rank) else {
            let here = address.filter(|_| address_rank == socket_rank).or(socket);
            let both = |written: Sourced<String>| self.refuse(&written, both_doors());
            return Err(here.map_or_else(|| ConfigError::together(both_doors()), both));
        };
        if !is_tcp {
            let socket = socket.map(|written| self.path(written)).transpose()?;
            let default = || directories.sockets.join(format!("{name}.sock"));
            let path = socket.as_ref().map_or_else(default, |socket| socket.value.clone());
            if let Err(problem) = door::socket_path(&path) {
                let refuse = |socket: &Sourced<PathBuf>| self.refuse(socket, problem.clone());
                return Err(socket.as_ref().map_or_else(|| ConfigError::together(problem.clone()), refuse));
            }
            return Ok((DoorSettings::Unix { path }, socket));
        }
        let address = match address {
            Some(written) => self.read(&written, TcpAddress::parse)?,
            None => TcpAddress::first_generation(),
        };
        let advertise = self.table(name).and_then(|table| table.advertise.as_ref());
        let advertise = self.advertise(advertise.or(self.document.top.advertise.as_ref()))?;
        Ok((DoorSettings::Tcp { address, advertise, tls: tls.cloned() }, None))
    }

    fn further_door(
        &self,
        name: &Spanned<String>,
        first: &DoorSettings,
        tls: Option<&Tls>,
    ) -> Result<DoorSettings, ConfigError> {
        let document = &self.document;
        let table = self.table(name.get_ref());
        let socket = table.and_then(|table| table.socket.as_ref());
        let address = table.and_then(|table| table.address.as_ref());
        let socket_at = |path: PathBuf, span| match door::socket_path(&path) {
            Ok(()) => Ok(DoorSettings::Unix { path }),
            Err(problem) => Err(document.refuse(&span, problem)),
        };
        match (socket, address, first) {
            (Some(_), Some(address), _) => Err(document.refuse(&address.span(), both_doors())),
            (Some(socket), None, _) => {
                socket_at(document.value(socket, |text| document.path(text))?, socket.span())
            }
            (None, Some(address), _) => {
                let address = document.value(address, |text| TcpAddress::parse(text))?;
                let advertise = self.advertise(table.and_then(|table| table.advertise.as_ref()))?;
                Ok(DoorSettings::Tcp { address, advertise, tls: tls.cloned() })
            }
            (None, None, DoorSettings::Unix { path }) => {
                let directory = path.parent().unwrap_or(Path::new("/"));
                socket_at(directory.join(format!("{}.sock", name.get_ref())), name.span())
            }
            (None, None, DoorSettings::Tcp { .. }) => {
                let problem = problem!(
                    "driver {} needs an address (or a socket) of its own, because the first driver listens on TCP",
                    name.get_ref()
                );
                Err(document.refuse(&name.span(), problem))
            }
        }
    }

    fn advertise(&self, written: Option<&Spanned<String>>) -> Result<Option<TcpAddress>, ConfigError> {
        written.map(|written| self.document.value(written, |text| TcpAddress::parse(text))).transpose()
    }

    fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        let document = &self.document;
        let Some(table) = &document.top.tls else { return Ok(None) };
        let path = |written: &Spanned<String>| document.value(written, |text| document.path(text));
        let optional = |written: &Option<Spanned<String>>| written.as_ref().map(path).transpose();
        match (&table.engine_cert, &table.engine_key) {
            (Some(alone), None) | (None, Some(alone)) => {
                let problem = problem!("engine_cert and engine_key belong together; give both or neither");
                return Err(document.refuse(&alone.span(), problem));
            }
            _ => {}
        }
        Ok(Some(Tls {
            cert: path(&table.cert)?,
            key: path(&table.key)?,
            client_ca: optional(&table.client_ca)?,
            engine_ca: optional(&table.engine_ca)?,
            engine_cert: optional(&table.engine_cert)?,
            engine_key: optional(&table.engine_key)?,
        }))
    }

    fn driver_pools(&self, name: &str, settings: &Settings) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(list) = self.table(name).and_then(|table| table.pools.as_ref()) else { return Ok(None) };
        if list.get_ref().is_empty() {
            let problem =
                problem!("an empty list opens no pool; name some, or leave the key out to open all");
            return Err(self.document.refuse(&list.span(), problem));
        }
        let known: Vec<&str> = match settings.pools.as_slice() {
            [] => vec![DEFAULT_POOL],
            pools => pools.iter().map(|pool| pool.name.as_str()).collect(),
        };
        let names: BTreeSet<&str> = known.iter().copied().collect();
        let mut pools: Vec<String> = Vec::new();
        let mut listed: BTreeSet<&str> = BTreeSet::new();
        for written in list.get_ref() {
            let name = written.get_ref().clone();
            let problem = if !names.contains(name.as_str()) {
                problem!("pool {name:?} does not exist; the pools are: {}", known.join(", "))
            } else if !listed.insert(written.get_ref()) {
                problem!("pool {name:?} is named twice")
            } else {
                pools.push(name);
                continue;
            };
            return Err(self.document.refuse(&written.span(), problem));
        }
        Ok(Some(pools))
    }

    fn admin(&mut self, socket: Option<&Sourced<PathBuf>>) -> Result<PathBuf, ConfigError> {
        let written = match self.text(options::ADMIN, self.document.top.admin.as_ref()) {
            Some(written) => self.path(written)?,
            None => match socket {
                Some(socket) => {
                    let value = door::admin_next_to(&socket.value);
                    Sourced { value, origin: socket.origin.clone(), span: socket.span.clone() }
                }
                None => Sourced { value: DEFAULT_ADMIN.into(), origin: Origin::Default, span: None },
            },
        };
        door::socket_path(&written.value).map_err(|problem| self.refuse(&written, problem))?;
        self.show("admin", written.value.display(), written.origin);
        Ok(written.value)
    }

    fn refuse_shared_doors(&self, drivers: &[DriverSettings], admin: &Path) -> Result<(), ConfigError> {
        let mut taken = vec![("the admin socket".to_owned(), format!("unix://{}", admin.display()))];
        for driver in drivers {
            let owner = format!("driver {}", driver.name);
            let place = match &driver.door {
                DoorSettings::Tcp { address, .. } => format!("tcp://{address}"),
                unix => unix.to_string(),
            };
            if let Some((first, _)) = taken.iter().find(|(_, other)| *other == place) {
                let problem = problem!("{first} and {owner} would both listen at {place}; give each its own");
                let span = self.document.top.driver.keys().find(|name| *name.get_ref() == driver.name);
                let refuse = |name: &Spanned<String>| self.document.refuse(&name.span(), problem.clone());
                return Err(span.map_or_else(|| ConfigError::together(problem.clone()), refuse));
            }
            taken.push((owner, place));
        }
        Ok(())
    }

    /// Docker names a plugin after its socket file; warn if that differs from the driver's name.
    fn warn_of_names(&mut self, drivers: &[DriverSettings]) {
        for driver in drivers {
            let DoorSettings::Unix { path } = &driver.door else { continue };
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if path.parent().is_some_and(door::docker_searches) && stem != driver.name.as_str() {
                self.warnings.push(format!(
                    "Docker will find {} as driver {stem}, not as {}; use --name {stem} or another --socket",
                    path.display(),
                    driver.name
                ));
            }
        }
    }

    fn show_drivers(&mut self, drivers: &[DriverSettings]) {
        for driver in drivers {
            let table = self.document.top.driver.keys().find(|name| *name.get_ref() == driver.name);
            let origin = table.map_or(Origin::Default, |name| self.document.origin(&name.span()));
            let pools =
                driver.pools.as_ref().map_or_else(|| "all pools".to_owned(), |pools| pools.join(", "));
            let without = if driver.requires_mac_address { "" } else { ", without MACs" };
            self.show(
                format!("driver.{}", driver.name),
                format!("{pools} at {}{without}", driver.door),
                origin,
            );
        }
    }
}
