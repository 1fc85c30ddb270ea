//! Makes the configuration from the document and the surroundings.
//!
//! Promises: each value is checked together with those on which it depends, and an error names where it was set. Reads only
//! the configuration file and, for the daemon and for commands that check its configuration, the certificates of its hooks.

use std::path::PathBuf;

use super::document::Document;
use super::error::ConfigError;
use super::hooks::Files;
use super::keys::{GcTable, Top};
use super::options::{self, Options, Surroundings};
use super::origin::{At, DEFAULT, Origin, Shown, Spot};
use super::sources::PrefixSource;
use super::value::{Mode, Text, UnknownSubnets};
use super::{BooksFile, Config, Gc, Given, Http, PlanSource, PluginDirs, SocketAccess, books_file};

/// The document, and the warnings and shown values collected so far.
pub(super) struct Resolver<'a> {
    pub(super) document: Document,
    pub(super) surroundings: &'a Surroundings,
    pub(super) files: Files,
    pub(super) warnings: Vec<String>,
    /// Where prefixes that may change come from.
    pub(super) sources: Vec<PrefixSource>,
    shown: Vec<Shown>,
}

impl Resolver<'_> {
    /// Records a setting for `gipam config show`.
    pub(super) fn show(&mut self, key: impl Into<String>, value: impl ToString, place: &Spot) {
        let origin = self.document.origin(place);
        self.shown.push(Shown { key: key.into(), value: value.to_string(), origin });
    }

    fn show_optional(&mut self, key: &str, value: Option<&At<impl ToString>>) {
        match value {
            Some(value) => self.show(key, value.to_string(), &value.place),
            None => self.show(key, "-", &DEFAULT),
        }
    }

    fn books_file(&mut self, top: &Top) -> BooksFile {
        let written = top.file.as_ref();
        let written = written.map(|file| (self.document.path(file), self.document.origin(&file.place)));
        let file = books_file::find(written, self.surroundings, &mut self.warnings);
        let (value, origin) = (file.named.display().to_string(), file.origin.clone());
        self.shown.push(Shown { key: "file".to_owned(), value, origin });
        file
    }

    fn gc(&mut self, table: &GcTable) -> Gc {
        let GcTable { engine, grace, unknown_subnets } = table;
        let path = (!engine.is_empty()).then(|| self.document.path(engine));
        let free = **unknown_subnets == UnknownSubnets::Free;
        self.show("gc.engine", path.clone().unwrap_or_default().display(), &engine.place);
        self.show("gc.grace", &**grace, &grace.place);
        self.show("gc.unknown_subnets", if free { "free" } else { "report" }, &unknown_subnets.place);
        Gc { engine: path, grace: ***grace, free_unknown_subnets: free }
    }

    /// Where the page is served; warns if other machines can reach it.
    fn http(&mut self, top: &Top) -> Option<Http> {
        let hosts: Vec<String> = top.http_hosts.iter().map(|host| host.to_string()).collect();
        self.show("http_hosts", hosts.join(", "), &top.http_hosts.place);
        self.show_optional("http", top.http.as_ref());
        let address = (**top.http.as_ref()?).clone().0;
        if !address.is_loopback() {
            self.warnings.push(format!(
                "the page and the metrics at {address} do not require a password: everyone who can reach that address sees every \
                 subnet, lease and holder"
            ));
            if hosts.is_empty() {
                self.warnings.push(format!(
                    "the page at {address} can be requested only by IP address or as localhost, because any other name could be \
                     made to point here (DNS rebinding); to allow a host name, add it to http_hosts"
                ));
            }
        }
        Some(Http { address, hosts, subnets: (*top.metrics_subnets).into() })
    }

    /// The keys whose value is shown as it is written.
    fn show_plain(&mut self, top: &Top) {
        for (key, value, place) in top.plain() {
            self.show(key, value, place);
        }
        for (key, value) in [
            ("socket_owner", &top.socket_owner),
            ("socket_group", &top.socket_group),
            ("admin_owner", &top.admin_owner),
            ("admin_group", &top.admin_group),
        ] {
            self.show_optional(key, value.as_ref());
        }
    }
}

fn access(mode: &At<Mode>, owner: Option<&At<Text>>, group: Option<&At<Text>>) -> SocketAccess {
    let [owner, group] = [owner, group].map(|name| name.map(|name| name.to_string()));
    SocketAccess { mode: ***mode, owner, group }
}

/// Resolves the configuration from all its sources.
pub(super) fn resolve(
    flags: &Options,
    surroundings: &Surroundings,
    files: Files,
) -> Result<Config, ConfigError> {
    let (document, top) = Document::read(flags, surroundings)?;
    let (warnings, shown) = (surroundings.unknown_variables(), Vec::new());
    let sources = Vec::new();
    let mut resolver = Resolver { document, surroundings, files, warnings, sources, shown };
    let file = resolver.books_file(&top);
    let [sockets, specs] =
        [&top.socket_dir, &top.spec_dir].map(|directory| resolver.document.path(directory));
    resolver.show("socket_dir", sockets.display(), &top.socket_dir.place);
    resolver.show("spec_dir", specs.display(), &top.spec_dir.place);
    let plugin_dirs = PluginDirs { sockets, specs };
    resolver.show_plain(&top);
    let gc = resolver.gc(&top.gc);
    let plan = resolver.plan(&top)?;
    let http = resolver.http(&top);
    let hooks = resolver.hooks(&top)?;
    let (settings, pools_origin, warn_at) = resolver.settings(&top)?;
    let translations = resolver.translations(&top, &settings, &pools_origin)?;
    let (drivers, admin) = resolver.drivers(&top, &settings, &plugin_dirs)?;
    Ok(Config {
        file,
        drivers,
        socket_access: access(&top.socket_mode, top.socket_owner.as_ref(), top.socket_group.as_ref()),
        admin,
        admin_access: access(&top.admin_mode, top.admin_owner.as_ref(), top.admin_group.as_ref()),
        plugin_dirs,
        gc,
        plan,
        http,
        warn_at,
        translations,
        probed: top
            .pool
            .iter()
            .filter_map(|table| Some((table.name.to_string(), super::pools::probed(table)?)))
            .collect(),
        hooks,
        settings,
        pools_origin,
        document: resolver.document.path,
        keys: top,
        warnings: resolver.warnings,
        sources: resolver.sources,
        shown: resolver.shown,
        given: Given { flags: flags.clone(), surroundings: surroundings.clone() },
    })
}

/// The configuration of a client command: the socket to query, and where the books are if no daemon answers.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The admin socket.
    pub admin: PathBuf,
    pub file: BooksFile,
    /// Whether these books are those of the daemon behind `admin`: false if a flag named the socket, but no
    /// option or file named the books.
    pub books_belong: bool,
    /// Where the slices of shared pools are written down.
    pub plan: Option<PlanSource>,
    /// The Engine's API socket; `None` if repair is off.
    pub engine: Option<PathBuf>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
}

impl ClientConfig {
    /// Resolves the configuration from the same sources as the daemon. A configuration file with mistakes is
    /// ignored with a warning, because the books can be read without it.
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
        Ok(Self {
            admin: config.admin,
            file,
            books_belong,
            plan: config.plan,
            engine: config.gc.engine,
            warnings,
        })
    }
}

/// Reads a configuration file as the daemon would without flags and variables, for `gipam config check`.
pub fn check_file(path: &str, surroundings: &Surroundings) -> Result<Config, ConfigError> {
    let flags = Options { config: Some(path.to_owned()), ..Options::default() };
    resolve(&flags, &Surroundings { variables: Default::default(), ..surroundings.clone() }, Files::Read)
}
