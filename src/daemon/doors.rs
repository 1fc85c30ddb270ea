//! Opens all configured listeners: the drivers', the admin socket, and sockets passed by systemd.
//!
//! Promises: all listeners are open before the first request is served; a socket that systemd passed (its
//! `FileDescriptorName=` is the driver's name, `admin`, or `http` for the page) is used as it is; plugin
//! files tell the Engine where to connect, and are removed at the end. Makes no decisions about requests.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::DaemonError;
use crate::config::{Config, DoorSettings, DriverSettings, SocketAccess, TcpAddress, Tls};
use crate::docker::discovery::{Announcement, DiscoveryError, Served, announce};
use crate::server::{DoorError, Listener, LocalAddress, inherited};

/// The error for a listener that could not be opened.
fn shut(whose: &str) -> impl Fn(DoorError) -> DaemonError {
    move |source| DaemonError::new(format!("cannot open {whose}")).because(source)
}

/// A driver with its open listener.
pub struct Opened {
    pub driver: DriverSettings,
    pub listener: Listener,
}

/// All open listeners of the daemon.
pub struct Doors {
    /// One for each driver name.
    pub drivers: Vec<Opened>,
    /// The admin socket.
    pub admin: Listener,
    /// The page's listener, if configured.
    pub http: Option<Listener>,
    /// The plugin files that were written.
    pub announcements: Vec<Announcement>,
}

/// Opens all listeners, and writes the plugin files.
pub fn open(config: &Config) -> Result<Doors, DaemonError> {
    let mut passed = inherited().map_err(|source| {
        DaemonError::new("the sockets that systemd passed cannot be used").because(source)
    })?;
    let admin = match take(&mut passed, &["admin"]) {
        Some(listener) => listener,
        None => open_unix("the admin socket", &config.admin, &config.admin_access)?,
    };
    let mut drivers = Vec::new();
    for driver in &config.drivers {
        let named = [driver.name.as_str(), &format!("{}.socket", driver.name)];
        let listener = match take(&mut passed, &named) {
            Some(listener) => {
                warn_of_socket(driver, &listener);
                with_tls(listener, tls_of(driver)).map_err(shut(&door_of(driver)))?
            }
            None => open_driver(config, driver)?,
        };
        drivers.push(Opened { driver: driver.clone(), listener });
    }
    let http = match &config.http {
        Some(http) => {
            let open = || open_tcp("the page's address (http)", &http.address, None);
            Some(take(&mut passed, &["http"]).map_or_else(open, Ok)?)
        }
        None => None,
    };
    for (name, _) in &passed {
        tracing::warn!(
            "systemd passed a socket named {name:?}, which is not a driver name; it is not served"
        );
    }
    let announcements = tell(config, &drivers)?;
    Ok(Doors { drivers, admin, http, announcements })
}

fn door_of(driver: &DriverSettings) -> String {
    format!("the listener of driver {}", driver.name)
}

fn take(passed: &mut Vec<(String, Listener)>, names: &[&str]) -> Option<Listener> {
    let at = passed.iter().position(|(name, _)| names.contains(&name.as_str()))?;
    Some(passed.remove(at).1)
}

fn open_unix(whose: &str, path: &Path, access: &SocketAccess) -> Result<Listener, DaemonError> {
    let owner = number(access.owner.as_deref(), "user", "/etc/passwd")?;
    let group = number(access.group.as_deref(), "group", "/etc/group")?;
    Listener::unix(path, access.mode, owner, group).map_err(shut(whose))
}

/// The number of a user or group, which is given as a number or looked up by name.
fn number(name: Option<&str>, what: &'static str, file: &'static str) -> Result<Option<u32>, DaemonError> {
    let Some(name) = name else { return Ok(None) };
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let table = fs::read_to_string(file).unwrap_or_default();
    let line = table
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name));
    let number = line.and_then(|fields| fields.get(2).and_then(|number| number.parse().ok()));
    number.map(Some).ok_or_else(|| {
        DaemonError::new(format!(
            "{file} does not have a {what} {name:?}; give a name in this file, or a number"
        ))
    })
}

fn open_driver(config: &Config, driver: &DriverSettings) -> Result<Listener, DaemonError> {
    match &driver.door {
        DoorSettings::Unix { path } => open_unix(&door_of(driver), path, &config.socket_access),
        DoorSettings::Tcp { address, tls, .. } => open_tcp(&door_of(driver), address, tls.as_ref()),
    }
}

/// Listens at the first of the host's addresses that works.
fn open_tcp(whose: &str, address: &TcpAddress, tls: Option<&Tls>) -> Result<Listener, DaemonError> {
    let wrong = |source| DaemonError::new(format!("{whose} cannot listen on {address}")).because(source);
    let mut failure = wrong(std::io::Error::other("the host has no address"));
    for address in address.resolve().map_err(wrong)? {
        match Listener::tcp(address).and_then(|listener| with_tls(listener, tls)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = shut(whose)(error),
        }
    }
    Err(failure)
}

/// Warns if systemd passed a socket, which takes precedence over the configured address; the socket unit was
/// probably left enabled after a switch to TCP.
fn warn_of_socket(driver: &DriverSettings, listener: &Listener) {
    if let (DoorSettings::Tcp { address, .. }, LocalAddress::Unix(path)) =
        (&driver.door, listener.local_address())
    {
        tracing::warn!(
            "driver {}: systemd passed the socket {}, so gipam does not listen on {address}; to use that address, disable the socket unit",
            driver.name,
            path.display()
        );
    }
}

fn tls_of(driver: &DriverSettings) -> Option<&Tls> {
    match &driver.door {
        DoorSettings::Tcp { tls, .. } => tls.as_ref(),
        DoorSettings::Unix { .. } => None,
    }
}

fn with_tls(listener: Listener, tls: Option<&Tls>) -> Result<Listener, DoorError> {
    match tls {
        Some(tls) => listener.with_tls(&tls.cert, &tls.key, tls.client_ca.as_deref()),
        None => Ok(listener),
    }
}

/// Writes the plugin files, and removes files that would take precedence over them.
fn tell(config: &Config, drivers: &[Opened]) -> Result<Vec<Announcement>, DaemonError> {
    let tcp = |opened: &Opened| match opened.listener.local_address() {
        LocalAddress::Tcp(address) => Some(address),
        LocalAddress::Unix(_) => None,
    };
    let ours: Vec<SocketAddr> = drivers.iter().filter_map(tcp).collect();
    let mut announcements = Vec::new();
    for opened in drivers {
        let driver = &opened.driver;
        let failed = |source: DiscoveryError| {
            DaemonError::new(format!("driver {}: cannot announce it to the Engine", driver.name))
                .because(source)
        };
        announcements
            .push(announce(&config.plugin_dirs, &driver.name, &served(opened), &ours).map_err(failed)?);
    }
    Ok(announcements)
}

fn served(opened: &Opened) -> Served<'_> {
    let address = match opened.listener.local_address() {
        LocalAddress::Unix(path) => return Served::Socket(path),
        LocalAddress::Tcp(address) => address,
    };
    let DoorSettings::Tcp { advertise, tls, .. } = &opened.driver.door else { return Served::Tcp(address) };
    let advertised = advertise.as_ref().and_then(|advertise| advertise.resolve().ok()?.into_iter().next());
    let address = advertised.unwrap_or(address);
    match tls {
        None => Served::Tcp(address),
        Some(files) => {
            let host = advertise.as_ref().map(|advertise| advertise.host.as_str());
            Served::Tls { address, host, files }
        }
    }
}
