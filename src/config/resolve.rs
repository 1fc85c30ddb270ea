//! Flags over variables over the file over defaults, setting by setting.
//!
//! Promises: one order of precedence for every setting, written once ([`Resolver::text`]); pools are the exception
//! (R70: the file overrides flags). Touches nothing but the configuration file and, for the daemon and
//! who checks for it, the certificates of its hooks.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::document::{Document, UnknownSubnets};
use super::error::{Error, Problem, problem};
use super::hooks::Files;
use super::options::{self, Options, Spelling, Surroundings};
use super::origin::{Origin, Shown, Sourced};
use super::pools::{self, PoolsOrigin};
use super::value::{self, LogLevel};
use super::{
    BooksFile, Config, Gc, Given, Limits, PluginDirs, SocketAccess, books_file, filling, hooks, http,
};
use crate::plan::settings::{
    DEFAULT_COOLING, DEFAULT_RESTART_WINDOW, DEFAULT_STORM_LIMIT, DEFAULT_SUBNET_COOLING, Millis, Settings,
};

/// How long a lease must be seen dead by default.
const DEFAULT_GRACE: Millis = 600_000;
/// Entries of the history that are kept by default.
pub(super) const DEFAULT_HISTORY: u32 = 10_000;

/// Connections of a listener by default: dockerd uses a few dozen.
pub(super) const DEFAULT_CONNECTIONS: NonZeroU16 = match NonZeroU16::new(512) {
    Some(connections) => connections,
    None => NonZeroU16::MIN,
};

/// Everything that was written, and what there is to say about it.
pub(super) struct Resolver<'a> {
    pub(super) flags: &'a Options,
    pub(super) variables: Options,
    pub(super) document: Document,
    surroundings: &'a Surroundings,
    files: Look,
    pub(super) warnings: Vec<String>,
    shown: Vec<Shown>,
}

impl<'a> Resolver<'a> {
    fn new(flags: &'a Options, surroundings: &'a Surroundings, files: Look) -> Result<Self, Error> {
        let variables = Options::from_variables(&surroundings.variables);
        let warnings = surroundings.unknown_variables();
        let document = Document::default();
        let shown = Vec::new();
        let mut resolver = Self { flags, variables, document, surroundings, files, warnings, shown };
        let written =
            resolver.text(options::CONFIG, None).map(|written| surroundings.absolute(written.value));
        let default = || Some(&surroundings.default_configuration).filter(|path| path.is_file()).cloned();
        if let Some(path) = written.or_else(default) {
            resolver.document = Document::read(&path)?;
        }
        Ok(resolver)
    }

    /// What was written with the highest precedence. An empty flag hides lower levels.
    pub(super) fn text(
        &self,
        spelling: Spelling,
        document: Option<&Spanned<String>>,
    ) -> Option<Sourced<String>> {
        let option = |value: &String, origin| Sourced { value: value.clone(), origin, span: None };
        if let Some(value) = (spelling.get)(self.flags) {
            return (!value.is_empty()).then(|| option(value, Origin::Flag(spelling.flag)));
        }
        if let Some(value) = (spelling.get)(&self.variables) {
            return Some(option(value, Origin::Variable(spelling.variable)));
        }
        document.map(|written| self.document.sourced(written))
    }

    /// Reads a text; a refusal names its place.
    pub(super) fn read<T>(
        &self,
        written: &Sourced<String>,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<T, Error> {
        read(&written.value).map_err(|problem| self.refuse(written, problem))
    }

    /// The error about something written.
    pub(super) fn refuse<T>(&self, written: &Sourced<T>, problem: Problem) -> Error {
        match (&written.span, &written.origin) {
            (Some(span), _) => self.document.refuse(span, problem),
            (None, Origin::Flag(name) | Origin::Variable(name) | Origin::Found(name)) => {
                Error::option(name, problem)
            }
            (None, Origin::Default | Origin::Document { .. }) => Error::together(problem),
        }
    }

    /// A path that was written, absolute.
    pub(super) fn path(&self, written: Sourced<String>) -> Result<Sourced<PathBuf>, Error> {
        let value = match written.span {
            Some(_) => self.read(&written, |text| self.document.path(text))?,
            None => self.surroundings.absolute(&written.value),
        };
        Ok(Sourced { value, origin: written.origin, span: written.span })
    }

    /// What is to be done with files that the configuration names.
    pub(super) fn files(&self) -> Files<'a> {
        match self.files {
            Look::Into => Files::Read(&self.surroundings.authorities),
            Look::AsFarAsPossible => Files::Serve(&self.surroundings.authorities),
            Look::Away => Files::Named,
        }
    }

    /// Notes a setting for people.
    pub(super) fn show(&mut self, key: impl Into<String>, value: impl ToString, origin: Origin) {
        self.shown.push(Shown { key: key.into(), value: value.to_string(), origin });
    }

    /// The origin of a value of the file, or the default.
    pub(super) fn document_origin<T>(&self, written: Option<&Spanned<T>>) -> Origin {
        written.map_or(Origin::Default, |written| self.document.origin(&written.span()))
    }

    /// A number or boolean that only the file can set.
    pub(super) fn plain<T: Copy + ToString>(
        &mut self,
        key: &str,
        get: impl FnOnce(&Document) -> Option<&Spanned<T>>,
        default: T,
    ) -> T {
        let written = get(&self.document);
        let (value, origin) =
            (written.map_or(default, |value| *value.get_ref()), self.document_origin(written));
        self.show(key, value, origin);
        value
    }

    /// A text that only the file can set.
    fn document_text<T: Clone>(
        &mut self,
        key: &str,
        get: impl FnOnce(&Document) -> Option<&Spanned<String>>,
        read: impl FnOnce(&str) -> Result<T, Problem>,
        default: T,
        shown: impl FnOnce(&T) -> String,
    ) -> Result<T, Error> {
        let written = get(&self.document);
        let origin = self.document_origin(written);
        let value = match written {
            Some(written) => self.document.value(written, |text| read(text))?,
            None => default,
        };
        self.show(key, shown(&value), origin);
        Ok(value)
    }

    fn time(
        &mut self,
        key: &str,
        get: impl FnOnce(&Document) -> Option<&Spanned<String>>,
        default: Millis,
    ) -> Result<Millis, Error> {
        self.document_text(key, get, value::duration, default, |millis| value::duration_text(*millis))
    }

    fn directory(
        &mut self,
        key: &str,
        get: impl FnOnce(&Document) -> Option<&Spanned<String>>,
        default: PathBuf,
    ) -> Result<PathBuf, Error> {
        let from = self.document.path.clone().unwrap_or_default();
        let read = |text: &str| match text {
            "" => Err(problem!("must not be empty")),
            text => Ok(from.parent().unwrap_or(Path::new("/")).join(text)),
        };
        self.document_text(key, get, read, default, |path| path.display().to_string())
    }

    fn log(&mut self) -> Result<LogLevel, Error> {
        let (level, origin) = match self.text(options::LOG, self.document.top.log.as_ref()) {
            Some(written) => (self.read(&written, LogLevel::parse)?, written.origin),
            None => (LogLevel::default(), Origin::Default),
        };
        self.show("log", level.name(), origin);
        Ok(level)
    }

    fn books_file(&mut self) -> Result<BooksFile, Error> {
        let written = self.text(options::FILE, self.document.top.file.as_ref());
        let written = written.map(|written| self.path(written)).transpose()?;
        let file = books_file::find(written, self.surroundings, &mut self.warnings);
        self.show("file", file.named.display(), file.origin.clone());
        Ok(file)
    }

    fn access(&mut self, prefix: &str) -> Result<SocketAccess, Error> {
        let admin = prefix == "admin";
        let default = SocketAccess::default();
        let mode = self.document_text(
            &format!("{prefix}_mode"),
            |document| if admin { &document.top.admin_mode } else { &document.top.socket_mode }.as_ref(),
            value::mode,
            default.mode,
            |mode| format!("{mode:04o}"),
        )?;
        let name = |text: &str| match text {
            "" => Err(problem!("must not be empty")),
            text => Ok(Some(text.to_owned())),
        };
        let shown = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        let owner = self.document_text(
            &format!("{prefix}_owner"),
            |document| if admin { &document.top.admin_owner } else { &document.top.socket_owner }.as_ref(),
            name,
            default.owner,
            shown,
        )?;
        let group = self.document_text(
            &format!("{prefix}_group"),
            |document| if admin { &document.top.admin_group } else { &document.top.socket_group }.as_ref(),
            name,
            default.group,
            shown,
        )?;
        Ok(SocketAccess { mode, owner, group })
    }

    /// `[gc]`.
    fn gc(&mut self) -> Result<Gc, Error> {
        let from = self.document.path.clone().unwrap_or_default();
        let read = |text: &str| {
            let path = from.parent().unwrap_or(Path::new("/")).join(text);
            Ok((!text.is_empty()).then_some(path))
        };
        let default = Some(PathBuf::from("/var/run/docker.sock"));
        let shown = |path: &Option<PathBuf>| {
            path.as_ref().map_or_else(String::new, |path| path.display().to_string())
        };
        let engine = self.document_text(
            "gc.engine",
            |document| document.top.gc.engine.as_ref(),
            read,
            default,
            shown,
        )?;
        let grace = self.time("gc.grace", |document| document.top.gc.grace.as_ref(), DEFAULT_GRACE)?;
        let written = self.document.top.gc.unknown_subnets.as_ref();
        let origin = self.document_origin(written);
        let free = written.is_some_and(|written| *written.get_ref() == UnknownSubnets::Free);
        self.show("gc.unknown_subnets", if free { "free" } else { "report" }, origin);
        Ok(Gc { engine, grace, free_unknown_subnets: free })
    }

    /// The plan's settings, and where its pools come from.
    fn settings(&mut self) -> Result<(Settings, PoolsOrigin), Error> {
        let cooling = self.time("cooling", |document| document.top.cooling.as_ref(), DEFAULT_COOLING)?;
        let subnet_cooling = self.time(
            "subnet_cooling",
            |document| document.top.subnet_cooling.as_ref(),
            DEFAULT_SUBNET_COOLING,
        )?;
        let restart_window = self.time(
            "restart_window",
            |document| document.top.restart_window.as_ref(),
            DEFAULT_RESTART_WINDOW,
        )?;
        let storm_limit =
            self.plain("storm_limit", |document| document.top.storm_limit.as_ref(), DEFAULT_STORM_LIMIT);
        let mut reserved = Vec::new();
        for written in &self.document.top.reserved {
            reserved.push(self.document.value(written, |text| value::range(text))?);
        }
        let (option_pool, option_origin) = pools::of_options(self, cooling, subnet_cooling)?;
        let mut pools = pools::of_document(&self.document, cooling, subnet_cooling, &mut reserved)?;
        let mut origin = option_origin;
        if let Some(path) = self.document.path.clone().filter(|_| !pools.is_empty()) {
            if option_pool.is_some_and(|pool| !pools.contains(&pool)) {
                self.warnings.push(format!(
                    "the pools of {} are used; -v4, -v6, GIPAM_V4 and GIPAM_V6 are ignored",
                    path.display()
                ));
            }
            origin = PoolsOrigin::Document(path);
        } else {
            pools.extend(option_pool);
        }
        let settings = Settings {
            pools,
            reserved,
            cooling,
            subnet_cooling,
            restart_window,
            storm_limit,
            ..Settings::default()
        };
        settings.check().map_err(|error| match &origin {
            PoolsOrigin::Document(_) => pools::refuse(&self.document, error),
            PoolsOrigin::Options { .. } | PoolsOrigin::Nowhere => Error::together(problem!("{error}")),
        })?;
        self.warnings.extend(pools::remarks(&settings));
        self.show_pools(&settings, &origin);
        Ok((settings, origin))
    }

    fn show_pools(&mut self, settings: &Settings, origin: &PoolsOrigin) {
        let tables =
            self.document.top.pool.iter().map(|table| (table.name.get_ref().clone(), table.name.span()));
        let tables: BTreeMap<String, _> = tables.collect();
        for pool in &settings.pools {
            for (key, base) in [("v4", pool.v4), ("v6", pool.v6)] {
                let Some(base) = base else { continue };
                let written = tables.get(&pool.name);
                let origin = match origin {
                    PoolsOrigin::Options { v4, v6 } => if key == "v4" { v4 } else { v6 }.clone(),
                    _ => written.map(|span| self.document.origin(span)),
                };
                let value = format!("{} cut into /{}", base.base, base.size);
                self.show(format!("pool.{}.{key}", pool.name), value, origin.unwrap_or(Origin::Default));
            }
        }
        let reserved: Vec<String> = settings.reserved.iter().map(ToString::to_string).collect();
        let top = &self.document.top;
        let first = top.reserved.iter().chain(top.pool.iter().flat_map(|pool| &pool.reserved)).next();
        if let Some(first) = first {
            let origin = self.document.origin(&first.span());
            self.show("reserved", reserved.join(", "), origin);
        }
    }
}

/// What is done with further files that the configuration names.
#[derive(Clone, Copy)]
pub(super) enum Look {
    /// See [`Config::load`].
    Into,
    /// See [`Config::start`].
    AsFarAsPossible,
    /// See [`Config::outline`].
    Away,
}

/// The configuration from all its sources.
pub(super) fn resolve(flags: &Options, surroundings: &Surroundings, files: Look) -> Result<Config, Error> {
    let mut resolver = Resolver::new(flags, surroundings, files)?;
    let file = resolver.books_file()?;
    let plugin_dirs = PluginDirs::default();
    let plugin_dirs = PluginDirs {
        sockets: resolver.directory("socket_dir", |d| d.top.socket_dir.as_ref(), plugin_dirs.sockets)?,
        specs: resolver.directory("spec_dir", |d| d.top.spec_dir.as_ref(), plugin_dirs.specs)?,
    };
    let log = resolver.log()?;
    let socket_access = resolver.access("socket")?;
    let admin_access = resolver.access("admin")?;
    let history = resolver.plain("history", |d| d.top.history.as_ref(), DEFAULT_HISTORY);
    let max_connections =
        resolver.plain("max_connections", |d| d.top.max_connections.as_ref(), DEFAULT_CONNECTIONS);
    let gc = resolver.gc()?;
    let http = http::resolve(&mut resolver)?;
    let warn_at = filling::resolve(&mut resolver)?;
    let hooks = hooks::resolve(&mut resolver)?;
    let (settings, pools_origin) = resolver.settings()?;
    let (drivers, admin) = resolver.drivers(&settings, &plugin_dirs)?;
    Ok(Config {
        file,
        drivers,
        socket_access,
        admin,
        admin_access,
        plugin_dirs,
        log,
        history: history.into(),
        gc,
        http,
        warn_at,
        hooks,
        settings,
        pools_origin,
        document: resolver.document.path.clone(),
        limits: Limits { max_connections: max_connections.get().into() },
        warnings: resolver.warnings,
        shown: resolver.shown,
        given: Given { flags: flags.clone(), surroundings: surroundings.clone() },
    })
}

/// What a client command needs: where to ask, and where the books are if nobody answers.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The admin socket.
    pub admin: PathBuf,
    /// The books.
    pub file: BooksFile,
    /// Whether these books are those of the daemon behind `admin`: not if a flag named the socket and
    /// the books were not named.
    pub books_belong: bool,
    /// What a person should hear.
    pub warnings: Vec<String>,
}

impl ClientConfig {
    /// Resolves it from the same sources. A configuration file with mistakes is ignored with a warning, because
    /// the books can be looked at without it.
    pub fn load(flags: &Options, surroundings: &Surroundings) -> Result<Self, Error> {
        let without = Surroundings { default_configuration: PathBuf::new(), ..surroundings.clone() };
        let (config, error) = match resolve(flags, surroundings, Look::Away) {
            Ok(config) => (config, None),
            Err(error @ (Error::Document { .. } | Error::Unreadable { .. })) if flags.config.is_none() => {
                let mut without = without;
                without.variables.remove(options::CONFIG.variable);
                (resolve(flags, &without, Look::Away)?, Some(error))
            }
            Err(error) => return Err(error),
        };
        let warnings = error.map(|error| format!("ignoring the configuration file: {error}"));
        let mut file = config.file;
        if matches!(file.origin, Origin::Default | Origin::Variable("STATE_DIRECTORY")) {
            file = books_file::beside_default(file);
        }
        let admin = config.shown.iter().find(|shown| shown.key == "admin");
        let admin_by_flag = admin.is_some_and(|shown| matches!(shown.origin, Origin::Flag(_)));
        let file_named = match &file.origin {
            Origin::Flag(_) | Origin::Document { .. } => true,
            Origin::Variable(name) => *name == options::FILE.variable,
            Origin::Default | Origin::Found(_) => false,
        };
        let books_belong = file_named || !admin_by_flag;
        let warnings = warnings.into_iter().collect();
        Ok(Self { admin: config.admin, file, books_belong, warnings })
    }
}

/// Reads a configuration file as the daemon would without flags and variables: what `gipam config check` says.
pub fn check_file(path: &str, surroundings: &Surroundings) -> Result<Config, Error> {
    let flags = Options { config: Some(path.to_owned()), ..Options::default() };
    resolve(&flags, &Surroundings { variables: Default::default(), ..surroundings.clone() }, Look::Into)
}
