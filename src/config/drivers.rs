//! Driver names, their listeners and the admin socket.
//!
//! Promises: the first driver is `--name`; further ones come from `[driver.NAME]`, with sockets in the directory of the
//! first, or each with its own TCP address; no two listeners use the same place. Rules of a single listener: `door.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::door::{self, DoorSettings, Rank, TcpAddress, Tls};
use super::error::{ConfigError, problem};
use super::keys::{DriverTable, Top};
use super::origin::{At, DEFAULT, Origin, Spot};
use super::pools::DEFAULT_POOL;
use super::resolve::Resolver;
use super::value::{self, Text};
use super::{DriverSettings, PluginDirs};
use crate::plan::settings::Settings;

/// The precedence of a driver's table: after flags and variables, before the top of the file.
const IN_TABLE: Rank = 2;
const DEFAULT_ADMIN: &str = "/run/gipam/admin.sock";

/// The settings of a driver's listener as written.
struct DoorKeys<'a> {
    name: &'a str,
    /// Where the driver is named, for mistakes that do not belong to a key.
    place: &'a Spot,
    unix: Option<(bool, Rank)>,
    socket: Option<(&'a At<Text>, Rank)>,
    address: Option<(&'a At<TcpAddress>, Rank)>,
    advertise: Option<&'a At<TcpAddress>>,
    /// The default directory of its socket; `None` if it needs an address.
    directory: Option<&'a Path>,
}

impl Resolver<'_> {
    /// Resolves all drivers and the admin socket.
    pub(super) fn drivers(
        &mut self,
        top: &Top,
        settings: &Settings,
        directories: &PluginDirs,
    ) -> Result<(Vec<DriverSettings>, PathBuf), ConfigError> {
        let tls = self.tls(top)?;
        let first = top.name.as_str();
        let none = DriverTable::default();
        let table = top.driver.get(first).unwrap_or(&none);
        let written = DoorKeys {
            name: first,
            place: &top.name.place,
            unix: top.unix.as_ref().map(|unix| (**unix, self.rank(&unix.place))),
            socket: self.first_written(top.socket.as_ref(), table.socket.as_ref()),
            address: self.first_written(top.address.as_ref(), table.address.as_ref()),
            advertise: table.advertise.as_ref().or(top.advertise.as_ref()),
            directory: Some(&directories.sockets),
        };
        let driver = |name: &str, table: &DriverTable, door| {
            let pools = self.driver_pools(table, settings)?;
            let requires_mac_address =
                **table.requires_mac_address.as_ref().unwrap_or(&top.requires_mac_address);
            Ok(DriverSettings { name: name.to_owned(), pools, door, requires_mac_address })
        };
        let mut drivers = vec![driver(first, table, self.door(&written, tls.as_ref())?)?];
        let directory = match &drivers[0].door {
            DoorSettings::Unix { path } => Some(path.parent().unwrap_or(Path::new("/")).to_owned()),
            DoorSettings::Tcp { .. } => None,
        };
        let socket = written.socket.filter(|_| directory.is_some());
        for (name, table) in top.driver.iter().filter(|(name, _)| name.get_ref() != first) {
            let place = &name.span();
            value::driver_name(name.get_ref()).map_err(|problem| self.document.refuse(place, problem))?;
            let written = DoorKeys {
                name: name.get_ref(),
                place,
                unix: None,
                socket: table.socket.as_ref().map(|socket| (socket, IN_TABLE)),
                address: table.address.as_ref().map(|address| (address, IN_TABLE)),
                advertise: table.advertise.as_ref(),
                directory: directory.as_deref(),
            };
            drivers.push(driver(name.get_ref(), table, self.door(&written, tls.as_ref())?)?);
        }
        if tls.is_some() && drivers.iter().all(|driver| matches!(driver.door, DoorSettings::Unix { .. })) {
            self.warnings.push("[tls] has no effect, because no driver listens on TCP".to_owned());
        }
        let admin = self.admin(top, socket.map(|(socket, _)| socket))?;
        self.refuse_shared_doors(top, &drivers, &admin)?;
        self.warn_of_names(&drivers);
        self.show_drivers(top, &drivers);
        Ok((drivers, admin))
    }

    fn rank(&self, place: &Spot) -> Rank {
        match self.document.origin(place) {
            Origin::Flag(_) => 0,
            Origin::Variable(_) => 1,
            _ => IN_TABLE + 1,
        }
    }

    /// The first driver's setting: an option, otherwise the key in its table, otherwise the one at the top of the file.
    fn first_written<'a, T>(
        &self,
        top: Option<&'a At<T>>,
        table: Option<&'a At<T>>,
    ) -> Option<(&'a At<T>, Rank)> {
        let top = top.map(|at| (at, self.rank(&at.place)));
        let options = top.filter(|(_, rank)| *rank < IN_TABLE);
        options.or(table.map(|at| (at, IN_TABLE))).or(top)
    }

    /// Where a driver listens.
    fn door(&self, written: &DoorKeys<'_>, tls: Option<&Tls>) -> Result<DoorSettings, ConfigError> {
        let DoorKeys { name, place, unix, socket, address, advertise, directory } = *written;
        let (socket_rank, address_rank) = (socket.map(|(_, rank)| rank), address.map(|(_, rank)| rank));
        let Some(is_tcp) = door::is_tcp(unix, socket_rank, address_rank) else {
            let of_address = address.filter(|_| address_rank == socket_rank).map(|(at, _)| &at.place);
            let place = of_address.or(socket.map(|(at, _)| &at.place)).unwrap_or(place);
            let problem = problem!("both a socket and a TCP address are given here; keep one of them");
            return Err(self.document.refuse(place, problem));
        };
        if is_tcp {
            let address = address.map_or_else(TcpAddress::of_old_gipam, |(address, _)| (**address).clone());
            let advertise = advertise.map(|advertise| (**advertise).clone());
            return Ok(DoorSettings::Tcp { address, advertise, tls: tls.cloned() });
        }
        let (path, place) = match (socket, directory) {
            (Some((socket, _)), _) => (self.document.path(socket), &socket.place),
            (None, Some(directory)) => (directory.join(format!("{name}.sock")), place),
            (None, None) => {
                let problem = problem!(
                    "driver {name} needs its own address or socket, because the first driver listens on TCP"
                );
                return Err(self.document.refuse(place, problem));
            }
        };
        door::socket_path(&path).map_err(|problem| self.document.refuse(place, problem))?;
        Ok(DoorSettings::Unix { path })
    }

    fn tls(&self, top: &Top) -> Result<Option<Tls>, ConfigError> {
        let Some(table) = &top.tls else { return Ok(None) };
        if let (Some(alone), None) | (None, Some(alone)) = (&table.engine_cert, &table.engine_key) {
            let problem = problem!("engine_cert and engine_key belong together; give both or neither");
            return Err(self.document.refuse(&alone.place, problem));
        }
        let optional = |written: &Option<At<Text>>| written.as_ref().map(|path| self.document.path(path));
        Ok(Some(Tls {
            cert: self.document.path(&table.cert),
            key: self.document.path(&table.key),
            client_ca: optional(&table.client_ca),
            engine_ca: optional(&table.engine_ca),
            engine_cert: optional(&table.engine_cert),
            engine_key: optional(&table.engine_key),
        }))
    }

    fn driver_pools(
        &self,
        table: &DriverTable,
        settings: &Settings,
    ) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(list) = &table.pools else { return Ok(None) };
        if list.is_empty() {
            let problem = problem!("an empty list allows no pools; list some, or omit the key to allow all");
            return Err(self.document.refuse(&list.place, problem));
        }
        let known: Vec<&str> = match settings.pools.as_slice() {
            [] => vec![DEFAULT_POOL],
            pools => pools.iter().map(|pool| pool.name.as_str()).collect(),
        };
        let names: BTreeSet<&str> = known.iter().copied().collect();
        let mut listed: BTreeSet<&str> = BTreeSet::new();
        for name in list.iter() {
            let problem = if !names.contains(name.as_str()) {
                problem!("pool {:?} does not exist; the pools are: {}", **name, known.join(", "))
            } else if !listed.insert(name) {
                problem!("duplicate pool {:?}", **name)
            } else {
                continue;
            };
            return Err(self.document.refuse(&name.place, problem));
        }
        Ok(Some(list.iter().map(|name| (**name).clone()).collect()))
    }

    /// The admin socket. Unless written, it is named after the first driver's socket if that was written.
    fn admin(&mut self, top: &Top, socket: Option<&At<Text>>) -> Result<PathBuf, ConfigError> {
        let (path, place) = match (&top.admin, socket) {
            (Some(written), _) => (self.document.path(written), &written.place),
            (None, Some(socket)) => (door::admin_next_to(&self.document.path(socket)), &socket.place),
            (None, None) => (DEFAULT_ADMIN.into(), &DEFAULT),
        };
        door::socket_path(&path).map_err(|problem| self.document.refuse(place, problem))?;
        self.show("admin", path.display(), place);
        Ok(path)
    }

    fn refuse_shared_doors(
        &self,
        top: &Top,
        drivers: &[DriverSettings],
        admin: &Path,
    ) -> Result<(), ConfigError> {
        let mut taken = vec![("the admin socket".to_owned(), format!("unix://{}", admin.display()))];
        for driver in drivers {
            let owner = format!("driver {}", driver.name);
            let place = match &driver.door {
                DoorSettings::Tcp { address, .. } => format!("tcp://{address}"),
                unix => unix.to_string(),
            };
            if let Some((first, _)) = taken.iter().find(|(_, other)| *other == place) {
                let problem = problem!("{first} and {owner} would both listen at {place}; give each its own");
                return Err(self.document.refuse(&named(top, driver), problem));
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

    fn show_drivers(&mut self, top: &Top, drivers: &[DriverSettings]) {
        for driver in drivers {
            let pools =
                driver.pools.as_ref().map_or_else(|| "all pools".to_owned(), |pools| pools.join(", "));
            let without = if driver.requires_mac_address { "" } else { ", without MACs" };
            let value = format!("{pools} at {}{without}", driver.door);
            self.show(format!("driver.{}", driver.name), value, &named(top, driver));
        }
    }
}

/// Where the driver's table is, if it has one.
fn named(top: &Top, driver: &DriverSettings) -> Spot {
    top.driver.get_key_value(driver.name.as_str()).map_or(DEFAULT, |(name, _)| name.span())
}
