//! Resolves each setting: flags take precedence over variables, variables over the file, the file over defaults.
//!
//! Promises: one order of precedence for every setting, implemented once ([`Resolver::text`]); pools are the exception
//! (R70: the file overrides flags). Reads only the configuration file and, for the daemon and for commands
//! that check its configuration, the certificates of its hooks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;
use tracing::Level;

use super::document::{Document, UnknownSubnets};
use super::error::{ConfigError, Problem, problem};
use super::hooks::Files;
use super::keys::{GC, TOP, Top, Values, default_of};
use super::options::{self, Options, Spelling, Surroundings};
use super::origin::{Origin, Shown, Sourced};
use super::pools::{self, PoolsOrigin};
use super::value;
use super::{BooksFile, Config, Gc, Given, PluginDirs, SocketAccess, books_file, filling, hooks, http};
use crate::plan::settings::{Millis, Settings};

/// A key that only the file can set: its name as shown to people, and how to get its value.
pub(super) type Field<T> = (&'static str, fn(&Top) -> &Option<Spanned<T>>);

/// The [`Field`] with this name.
macro_rules! field {
    ($($part:ident).+) => { (stringify!($($part).+), |top| &top.$($part).+) };
}
pub(super) use field;

/// All input of a resolution, and the warnings and shown values that it has produced.
pub(super) struct Resolver<'a> {
    pub(super) flags: &'a Options,
    pub(super) variables: Options,
    pub(super) document: Document,
    pub(super) surroundings: &'a Surroundings,
    pub(super) files: Files,
    pub(super) warnings: Vec<String>,
    shown: Vec<Shown>,
}

impl<'a> Resolver<'a> {
    fn new(flags: &'a Options, surroundings: &'a Surroundings, files: Files) -> Result<Self, ConfigError> {
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

    /// The value with the highest precedence. An empty flag means no value, whatever lower levels say.
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

    /// Interprets a text; an error names where the text was set.
    pub(super) fn read<T>(
        &self,
        written: &Sourced<String>,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<T, ConfigError> {
        read(&written.value).map_err(|problem| self.refuse(written, problem))
    }

    /// The error about a value that was set.
    pub(super) fn refuse<T>(&self, written: &Sourced<T>, problem: Problem) -> ConfigError {
        match (&written.span, &written.origin) {
            (Some(span), _) => self.document.refuse(span, problem),
            (None, Origin::Flag(name) | Origin::Variable(name) | Origin::Found(name)) => {
                ConfigError::option(name, problem)
            }
            (None, Origin::Default | Origin::Document { .. }) => ConfigError::together(problem),
        }
    }

    /// A path that was set, made absolute.
    pub(super) fn path(&self, written: Sourced<String>) -> Result<Sourced<PathBuf>, ConfigError> {
        let value = match written.span {
            Some(_) => self.read(&written, |text| self.document.path(text))?,
            None => self.surroundings.absolute(&written.value),
        };
        Ok(Sourced { value, origin: written.origin, span: written.span })
    }

    /// Records a setting for `gipam config show`.
    pub(super) fn show(&mut self, key: impl Into<String>, value: impl ToString, origin: Origin) {
        self.shown.push(Shown { key: key.into(), value: value.to_string(), origin });
    }

    /// The origin of a value in the file, or the default if there is none.
    pub(super) fn document_origin<T>(&self, written: Option<&Spanned<T>>) -> Origin {
        written.map_or(Origin::Default, |written| self.document.origin(&written.span()))
    }

    /// A number or boolean that only the file can set.
    pub(super) fn plain<T: Copy + ToString + FromStr>(
        &mut self,
        (key, get): Field<T>,
    ) -> Result<T, ConfigError> {
        let written = get(&self.document.top).as_ref();
        let origin = self.document_origin(written);
        let default = default_of(TOP, key);
        let wrong = |_| ConfigError::together(problem!("{default:?} is not a value of {key}"));
        let value = written.map_or_else(|| default.parse().map_err(wrong), |value| Ok(*value.get_ref()))?;
        self.show(key, value, origin);
        Ok(value)
    }

    /// A string that only the file can set.
    pub(super) fn file_text<T>(
        &mut self,
        (key, get): Field<String>,
        read: impl FnOnce(&str) -> Result<T, Problem>,
        shown: impl FnOnce(&T) -> String,
    ) -> Result<T, ConfigError> {
        let written = get(&self.document.top).as_ref();
        let origin = self.document_origin(written);
        let (keys, name) = key.strip_prefix("gc.").map_or((TOP, key), |name| (GC, name));
        let value = match written {
            Some(written) => self.document.value(written, |text| read(text))?,
            None => read(default_of(keys, name)).map_err(ConfigError::together)?,
        };
        self.show(key, shown(&value), origin);
        Ok(value)
    }

    pub(super) fn time(&mut self, field: Field<String>) -> Result<Millis, ConfigError> {
        self.file_text(field, value::duration, |millis| value::duration_text(*millis))
    }

    /// A path that only the file can set; an empty one counts as absent.
    fn file_path(&mut self, field: Field<String>) -> Result<Option<PathBuf>, ConfigError> {
        let from = self.document.path.clone().unwrap_or_default();
        let read = |text: &str| {
            let path = from.parent().unwrap_or(Path::new("/")).join(text);
            Ok((!text.is_empty()).then_some(path))
        };
        let shown = |path: &Option<PathBuf>| path.as_deref().unwrap_or(Path::new("")).display().to_string();
        self.file_text(field, read, shown)
    }

    fn not_empty(&self, (_, get): Field<String>) -> Result<(), ConfigError> {
        match get(&self.document.top) {
            Some(written) if written.get_ref().is_empty() => {
                Err(self.document.refuse(&written.span(), problem!("must not be empty")))
            }
            _ => Ok(()),
        }
    }

    fn directory(&mut self, field: Field<String>) -> Result<PathBuf, ConfigError> {
        self.not_empty(field)?;
        Ok(self.file_path(field)?.unwrap_or_default())
    }

    fn log(&mut self) -> Result<Level, ConfigError> {
        let (level, origin) = match self.text(options::LOG, self.document.top.log.as_ref()) {
            Some(written) => (self.read(&written, value::level)?, written.origin),
            None => (Level::INFO, Origin::Default),
        };
        self.show("log", level.as_str().to_ascii_lowercase(), origin);
        Ok(level)
    }

    fn books_file(&mut self) -> Result<BooksFile, ConfigError> {
        let written = self.text(options::FILE, self.document.top.file.as_ref());
        let written = written.map(|written| self.path(written)).transpose()?;
        let file = books_file::find(written, self.surroundings, &mut self.warnings);
        self.show("file", file.named.display(), file.origin.clone());
        Ok(file)
    }

    /// Reads the permissions of a socket file.
    fn access(
        &mut self,
        mode: Field<String>,
        owner: Field<String>,
        group: Field<String>,
    ) -> Result<SocketAccess, ConfigError> {
        let mode = self.file_text(mode, value::mode, |mode| format!("{mode:04o}"))?;
        let mut somebody = |field| {
            self.not_empty(field)?;
            let name = |text: &str| Ok((!text.is_empty()).then(|| text.to_owned()));
            self.file_text(field, name, |name| name.clone().unwrap_or_else(|| "-".to_owned()))
        };
        Ok(SocketAccess { mode, owner: somebody(owner)?, group: somebody(group)? })
    }

    /// Reads `[gc]`.
    fn gc(&mut self) -> Result<Gc, ConfigError> {
        let engine = self.file_path(field!(gc.engine))?;
        let grace = self.time(field!(gc.grace))?;
        let written = self.document.top.gc.unknown_subnets.as_ref();
        let origin = self.document_origin(written);
        let free = written.is_some_and(|written| *written.get_ref() == UnknownSubnets::Free);
        self.show("gc.unknown_subnets", if free { "free" } else { "report" }, origin);
        Ok(Gc { engine, grace, free_unknown_subnets: free })
    }

    /// The plan's settings, and where its pools come from.
    fn settings(&mut self, values: &Values) -> Result<(Settings, PoolsOrigin), ConfigError> {
        let Values { cooling, subnet_cooling, restart_window, storm_limit, .. } = *values;
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
            PoolsOrigin::Options { .. } | PoolsOrigin::Nowhere => ConfigError::together(problem!("{error}")),
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

/// Resolves the configuration from all its sources.
pub(super) fn resolve(
    flags: &Options,
    surroundings: &Surroundings,
    files: Files,
) -> Result<Config, ConfigError> {
    let mut resolver = Resolver::new(flags, surroundings, files)?;
    let file = resolver.books_file()?;
    let plugin_dirs = PluginDirs {
        sockets: resolver.directory(field!(socket_dir))?,
        specs: resolver.directory(field!(spec_dir))?,
    };
    let log = resolver.log()?;
    let values = Values::resolve(&mut resolver)?;
    let socket_access = resolver.access(field!(socket_mode), field!(socket_owner), field!(socket_group))?;
    let admin_access = resolver.access(field!(admin_mode), field!(admin_owner), field!(admin_group))?;
    let gc = resolver.gc()?;
    let http = http::resolve(&mut resolver, &values)?;
    let warn_at = filling::resolve(&mut resolver)?;
    let hooks = hooks::resolve(&mut resolver)?;
    let (settings, pools_origin) = resolver.settings(&values)?;
    let (drivers, admin) = resolver.drivers(&settings, &plugin_dirs, values.requires_mac_address)?;
    Ok(Config {
        file,
        drivers,
        socket_access,
        admin,
        admin_access,
        plugin_dirs,
        log,
        gc,
        http,
        warn_at,
        hooks,
        settings,
        pools_origin,
        document: resolver.document.path.clone(),
        values,
        warnings: resolver.warnings,
        shown: resolver.shown,
        given: Given { flags: flags.clone(), surroundings: surroundings.clone() },
    })
}

/// What a client command needs: the socket to query, and where the books are if no daemon answers.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The admin socket.
    pub admin: PathBuf,
    pub file: BooksFile,
    /// Whether these books are those of the daemon behind `admin`: false if a flag named the socket but
    /// nothing named the books.
    pub books_belong: bool,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

impl ClientConfig {
    /// Resolves it from the same sources. A configuration file with mistakes is ignored with a warning, because
    /// the books can be read without it.
    pub fn load(flags: &Options, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        let without = Surroundings { default_configuration: PathBuf::new(), ..surroundings.clone() };
        let (config, error) = match resolve(flags, surroundings, Files::Named) {
            Ok(config) => (config, None),
            Err(error @ (ConfigError::Document { .. } | ConfigError::Unreadable { .. }))
                if flags.config.is_none() =>
            {
                let mut without = without;
                without.variables.remove(options::CONFIG.variable);
                (resolve(flags, &without, Files::Named)?, Some(error))
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

/// Reads a configuration file as the daemon would without flags and variables, for `gipam config check`.
pub fn check_file(path: &str, surroundings: &Surroundings) -> Result<Config, ConfigError> {
    let flags = Options { config: Some(path.to_owned()), ..Options::default() };
    resolve(&flags, &Surroundings { variables: Default::default(), ..surroundings.clone() }, Files::Read)
}
