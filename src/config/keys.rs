//! Every key of the configuration file: the one table from which `docs/configuration.md` is made.
//!
//! Promises: the table has exactly the keys that the reader accepts, and their defaults (tests hold both).
//! Does not read files; the page itself is made in `keys_page`.

/// A table of the file with its keys.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// How the table is written; empty = the top of the file.
    pub table: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its value where it is absent, as it would be written, or in words.
    pub default: &'static str,
    /// The flag and the variable for the same setting, if there are any.
    pub option: &'static str,
    /// What it sets.
    pub meaning: &'static str,
}

const fn key(name: &'static str, default: &'static str, option: &'static str, meaning: &'static str) -> Key {
    Key { name, default, option, meaning }
}

/// The whole file.
pub const SECTIONS: &[Section] = &[
    Section { table: "", about: "At the top of the file, before the first table:", keys: TOP },
    Section {
        table: "[[pool]]",
        about: "A pool, once for each. Pools must not overlap. A reload opens new ones and closes those that are gone:",
        keys: POOL,
    },
    Section {
        table: "v4 = { ... }, v6 = { ... }",
        about: "One family of a `[[pool]]`. `v4 = \"10.20.0.0/16\"` is the base alone, with the usual size:",
        keys: BASE,
    },
    Section {
        table: "[driver.NAME]",
        about: "What Docker may use as `--ipam-driver NAME`. The first driver (`name`) may have such a table, every \
                further name must:",
        keys: DRIVER,
    },
    Section {
        table: "[tls]",
        about: "Certificates for every driver that listens on TCP (PEM files). The `engine_` keys are written into \
                the `.json` file from which the Engine learns them; they are paths as the Engine sees them:",
        keys: TLS,
    },
    Section {
        table: "[gc]",
        about: "Repair: what Docker lost is found by comparing the books with the Engine's own lists, and freed when it was \
                seen dead at least twice:",
        keys: GC,
    },
    Section {
        table: "[[hook]]",
        about: "A program or web address that receives the events of leases and subnets, once for each; see [hooks.md](hooks.md). A reload adds, removes \
                and changes them:",
        keys: HOOK,
    },
];

const TOP: &[Key] = &[
    key("file", "see below", "`--file`, `GIPAM_FILE`", "the books, or a lease file of the old gipam"),
    key("name", "\"gipam\"", "`--name`, `GIPAM_NAME`", "name of the first driver"),
    key(
        "socket",
        "`/run/docker/plugins/NAME.sock`",
        "`--socket`, `GIPAM_SOCKET`",
        "plugin socket of the first driver",
    ),
    key(
        "address",
        "none",
        "`-address`, `GIPAM_ADDRESS`",
        "TCP instead of the socket: `HOST:PORT` or `:PORT`",
    ),
    key(
        "advertise",
        "the address; 127.0.0.1 for all",
        "",
        "`HOST:PORT` announced to Docker instead of `address`; over plain TCP also the one name that requests may use",
    ),
    key(
        "unix",
        "none",
        "`-unix`, `GIPAM_UNIX`",
        "true: the socket, whatever `address` says; false: TCP, `:9090`",
    ),
    key("admin", "`/run/gipam/admin.sock`", "`--admin`, `GIPAM_ADMIN`", "admin socket; see below"),
    key("log", "\"info\"", "`--log`, `GIPAM_LOG`", "error, warn, info, debug or trace"),
    key("socket_mode", "\"0600\"", "", "permission bits of the plugin sockets, octal"),
    key("socket_owner", "who runs gipam", "", "their owner, by name or number"),
    key("socket_group", "who runs gipam", "", "their group"),
    key(
        "admin_mode",
        "\"0600\"",
        "",
        "permission bits of the admin socket: everyone who can open it can free addresses",
    ),
    key("admin_owner", "who runs gipam", "", "its owner"),
    key("admin_group", "who runs gipam", "", "its group"),
    key("socket_dir", "\"/run/docker/plugins\"", "", "where Docker looks for plugin sockets"),
    key("spec_dir", "\"/etc/docker/plugins\"", "", "where Docker looks for `.spec` and `.json` files"),
    key(
        "requires_mac_address",
        "true",
        "",
        "ask Docker for the MAC of every address; Engines before 28 then make MACs at random instead of from the address. ipvlan \
         networks need a driver name with false",
    ),
    key("cooling", "\"10m\"", "", "how long a released address is not given to others; \"0\" = off"),
    key("subnet_cooling", "\"60s\"", "", "how long a released subnet is not given to others"),
    key(
        "restart_window",
        "\"15s\"",
        "",
        "where Docker sends no container names (before Engine 29): if just one address of a subnet was released within this time, \
         the next container that asks without a known MAC gets it, so that a restart keeps the address; \"0\" = off",
    ),
    key(
        "storm_limit",
        "64",
        "",
        "subnets asked for right after another within a minute, and never used, before the next is refused; 16 times as many where they \
         come one by one or in parallel; 0 = off",
    ),
    key("history", "10000", "", "entries of the history that the books keep; 0 = none"),
    key(
        "max_connections",
        "512",
        "",
        "connections that one door serves at a time; idle ones give way to further ones, which wait",
    ),
    key(
        "http",
        "none",
        "`--http`, `GIPAM_HTTP`",
        "where the page and the metrics are served: `PORT` or `:PORT` on loopback, or `HOST:PORT`; see page.md",
    ),
    key(
        "http_hosts",
        "[]",
        "",
        "host names that the page answers to, besides addresses and `localhost`: of this host, or of a proxy in front of it",
    ),
    key(
        "metrics_subnets",
        "100",
        "",
        "subnets whose addresses the metrics count one by one, the fullest first; the others are counted together",
    ),
    key(
        "warn_at",
        "\"80%\"",
        "",
        "share of a pool's space, or of a subnet's addresses, from which gipam warns that it fills up; \"off\" = never",
    ),
    key("reserved", "[]", "", "addresses, prefixes and ranges (`A-B`) that are never given dynamically"),
    key("pool", "none", "`-v4`, `-v4ab`, `-v6`, `-v6ab` make the pool `default`", "the pools, see below"),
    key("driver", "none", "", "further drivers, and pools for each, see below"),
    key("tls", "none", "", "certificates, see below"),
    key("gc", "as below", "", "repair of what Docker lost, see below"),
    key("hook", "none", "", "programs and web addresses that receive events, see below"),
];

const POOL: &[Key] = &[
    key("name", "must be given", "", "1 to 63 letters, digits, `-`, `_`, `.`; for `--ipam-opt pool=NAME`"),
    key("v4", "none", "`-v4`, `GIPAM_V4`", "its IPv4 part; a pool has v4, v6 or both"),
    key("v6", "none", "`-v6`, `GIPAM_V6`", "its IPv6 part"),
    key("reserved", "[]", "", "as above, for addresses of this pool"),
    key("cooling", "as above", "", "as above, for addresses in this pool"),
    key("subnet_cooling", "as above", "", "as above, for subnets of this pool"),
    key("warn_at", "as above", "", "as above, for this pool and its subnets"),
];

const BASE: &[Key] = &[
    key("base", "must be given", "", "the prefix from which subnets are cut, without host bits"),
    key(
        "size",
        "24 for v4, 64 for v6",
        "`-v4ab`, `-v6ab`",
        "prefix length of a subnet, where a network asks for none",
    ),
    key("addresses", "\"sequential\"", "", "v6 also \"eui64\" (from the MAC) and \"stable\" (RFC 7217)"),
];

const DRIVER: &[Key] = &[
    key("pools", "all", "", "names of the pools open to it, in the order in which they are tried"),
    key("socket", "`NAME.sock` next to the first", "", "its plugin socket"),
    key("address", "none", "", "TCP instead; needed where the first driver listens on TCP"),
    key("advertise", "as above", "", "as above"),
    key(
        "requires_mac_address",
        "as above",
        "",
        "as above, for networks of this driver name: with false, containers on ipvlan networks start",
    ),
];

const TLS: &[Key] = &[
    key("cert", "must be given", "", "our certificate chain"),
    key("key", "must be given", "", "its private key"),
    key("client_ca", "none", "", "who signs the Engine's certificate; with it, the Engine must show one"),
    key("engine_ca", "none", "", "`CAFile`: who signs our certificate"),
    key("engine_cert", "none", "", "`CertFile`: the certificate that the Engine shows; with `engine_key`"),
    key("engine_key", "none", "", "`KeyFile`: its private key"),
];

const GC: &[Key] = &[
    key("engine", "\"/var/run/docker.sock\"", "", "the Engine's API socket; \"\" turns repair off"),
    key(
        "grace",
        "\"10m\"",
        "",
        "between the two looks that must see a lease dead before it is freed; the first is a minute after its grant at least",
    ),
    key(
        "unknown_subnets",
        "\"report\"",
        "",
        "subnets of no network of the Engine: \"report\", or \"free\" where there is just this one Engine",
    ),
];

const HOOK: &[Key] = &[
    key(
        "name",
        "must be given",
        "",
        "1 to 63 letters, digits, `-`, `_`, `.`; the books keep how far it got under it",
    ),
    key(
        "command",
        "none",
        "",
        "a program and its arguments, run once for each event, without a shell; or `url`",
    ),
    key(
        "url",
        "none",
        "",
        "`http://HOST[:PORT]/PATH`, or `https://`: events are sent there with POST, as JSON; HOST is an address, `localhost`, or a \
         name with `connect`",
    ),
    key(
        "connect",
        "the host of `url`",
        "",
        "`ADDRESS[:PORT]` where the host of `url` is reached: names are not looked up",
    ),
    key(
        "ca",
        "the system's",
        "",
        "with `https://`: the authorities that are trusted, and no others (PEM file)",
    ),
    key("cert", "none", "", "with `https://`: the certificate chain that gipam shows (PEM file); with `key`"),
    key("key", "none", "", "its private key (PEM file)"),
    key("events", "[]", "", "the events that it receives; empty = all"),
    key(
        "timeout",
        "\"10s\"",
        "",
        "how long one delivery may take, at most 1h; after that it counts as failed",
    ),
    key("batch", "32", "", "with `url`: at most this many events at a time, 1 to 256"),
    key(
        "from",
        "\"now\"",
        "",
        "where a new hook begins: \"now\", or \"start\" for all that the history still has",
    ),
];

/// Whether a default is a number.
pub(super) fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Options, Surroundings, document::Document};

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    /// The keys that the reader says it accepts, where it meets one that it does not.
    fn accepted(toml: &str) -> Vec<String> {
        let error = Document::parse(Path::new("x"), toml.to_owned()).unwrap_err();
        let crate::config::Error::Document { problem, .. } = error else { panic!("{error}") };
        let said = problem.to_string();
        let known = said.strip_prefix("unknown key; the keys here are: ").unwrap();
        known.split(", ").map(ToOwned::to_owned).collect()
    }

    fn documented(table: &str) -> Vec<&'static str> {
        let section = SECTIONS.iter().find(|section| section.table == table).unwrap();
        section.keys.iter().map(|key| key.name).collect()
    }

    #[test]
    fn every_key_that_is_accepted_is_documented_and_no_other() {
        for (table, toml) in [
            ("", "zzz = 1"),
            ("[[pool]]", "[[pool]]\nzzz = 1"),
            ("v4 = { ... }, v6 = { ... }", "[[pool]]\nname = \"a\"\nv4.zzz = 1"),
            ("[driver.NAME]", "[driver.x]\nzzz = 1"),
            ("[tls]", "[tls]\nzzz = 1"),
            ("[[hook]]", "[[hook]]\nzzz = 1"),
        ] {
            assert_eq!(accepted(toml), documented(table), "{table}");
        }
    }

    fn load(toml: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let default_configuration = directory.path().join("gipam.toml");
        std::fs::write(&default_configuration, toml).unwrap();
        let surroundings = Surroundings { default_configuration, ..Surroundings::default() };
        Config::load(&Options::default(), &surroundings).unwrap_or_else(|error| panic!("{toml}\n{error}"))
    }

    #[test]
    fn every_default_that_is_written_as_a_value_is_the_default() {
        let without = load("");
        for key in TOP.iter().filter(|key| key.default.starts_with(['"', '[']) || is_number(key.default)) {
            let with = load(&format!("{} = {}", key.name, key.default));
            let same = |config: &Config| {
                let mut config = config.clone();
                (config.shown, config.given, config.document) = Default::default();
                format!("{config:?}")
            };
            assert_eq!(same(&with), same(&without), "{}", key.name);
        }
    }

    #[test]
    fn the_sample_parses_to_what_it_says() {
        let sample = std::fs::read_to_string(root().join("packaging/gipam.toml")).unwrap();
        let config = load(&sample);
        let pools: Vec<&str> = config.settings.pools.iter().map(|pool| pool.name.as_str()).collect();
        assert_eq!(pools, ["dmz", "lan"]);
        let dmz = &config.settings.pools[0];
        assert_eq!(
            dmz.v4.map(|base| (base.base.to_string(), base.size)),
            Some(("198.51.100.0/24".to_owned(), 28))
        );
        assert_eq!(config.settings.reserved.len(), 2);
        assert_eq!(config.drivers.len(), 2);
        assert_eq!((config.warnings.len(), config.socket_access.mode), (0, 0o600));
    }

    #[test]
    fn the_sample_shows_every_top_key_at_its_default() {
        let sample = std::fs::read_to_string(root().join("packaging/gipam.toml")).unwrap();
        let top = sample.split("\n[[pool]]").next().unwrap();
        let uncommented = top.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase()) => rest,
            _ => line,
        });
        let uncommented = uncommented.collect::<Vec<_>>().join("\n");
        let config = load(&uncommented);
        for key in TOP.iter().filter(|key| !["pool", "driver", "tls", "gc", "hook"].contains(&key.name)) {
            let (value, example) = (format!("\n{} = ", key.name), format!("\n# {} = ", key.name));
            assert!(
                uncommented.contains(&value) || uncommented.contains(&example),
                "{} is missing",
                key.name
            );
        }
        assert_eq!(config.admin, Path::new("/run/gipam/admin.sock"));
        assert_eq!(config.settings, load("").settings);
        assert_eq!((config.limits, config.history), (load("").limits, load("").history));
    }
}
