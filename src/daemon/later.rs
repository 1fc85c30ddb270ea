//! Which parts of a reloaded configuration wait for the next start.
//!
//! Promises: every key of the file either follows at a reload or is named here, with both values, until the next start (a
//! test goes through all keys). Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use crate::config::{Config, SocketAccess};

/// What `gipam config show` says of drivers and the page, besides `driver.NAME`.
const SHOWN: [&str; 6] = ["name", "requires_mac_address", "admin", "http", "http_hosts", "metrics_subnets"];

/// A line for each, from the configuration with which this process was started.
pub(super) fn lines(started: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |key: &str, old: &dyn Display, new: &dyn Display| {
        let (old, new) = (old.to_string(), new.to_string());
        if old != new {
            lines.push(format!("{key}: {old} becomes {new} at the next start"));
        }
    };
    let (before, after) = (shown(started), shown(new));
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let value = |shown: &BTreeMap<&str, &str>| shown.get(*key).map_or("-", |value| *value).to_owned();
        line(key, &value(&before), &value(&after));
    }
    line("file", &started.file.named.display(), &new.file.named.display());
    let dirs = (&started.plugin_dirs, &new.plugin_dirs);
    line("socket_dir", &dirs.0.sockets.display(), &dirs.1.sockets.display());
    line("spec_dir", &dirs.0.specs.display(), &dirs.1.specs.display());
    line("log", &started.log.name(), &new.log.name());
    for (name, old, new) in [
        ("socket", &started.socket_access, &new.socket_access),
        ("admin", &started.admin_access, &new.admin_access),
    ] {
        access(name, old, new, &mut line);
    }
    line("history", &started.history, &new.history);
    line("max_connections", &started.limits.max_connections, &new.limits.max_connections);
    let engine = |config: &Config| {
        config.gc.engine.as_ref().map_or_else(|| "off".to_owned(), |path| path.display().to_string())
    };
    let unknown = |config: &Config| if config.gc.free_unknown_subnets { "free" } else { "report" };
    line("gc.engine", &engine(started), &engine(new));
    let seconds = |config: &Config| format!("{} s", config.gc.grace / 1_000);
    line("gc.grace", &seconds(started), &seconds(new));
    line("gc.unknown_subnets", &unknown(started), &unknown(new));
    // Certificates and what is announced to Docker are not shown.
    if before == after && (new.drivers != started.drivers || new.http != started.http) {
        lines.push("the doors (tls, advertise) follow the configuration at the next start only".to_owned());
    }
    lines
}

/// The drivers, the admin socket and the page, as `gipam config show` has them.
fn shown(config: &Config) -> BTreeMap<&str, &str> {
    let waits = |key: &str| key.starts_with("driver.") || SHOWN.contains(&key);
    let all = config.shown.iter().map(|shown| (shown.key.as_str(), shown.value.as_str()));
    all.filter(|(key, _)| waits(key)).collect()
}

fn access(
    name: &str,
    old: &SocketAccess,
    new: &SocketAccess,
    line: &mut impl FnMut(&str, &dyn Display, &dyn Display),
) {
    let somebody = |name: &Option<String>| name.clone().unwrap_or_else(|| "who runs gipam".to_owned());
    line(&format!("{name}_mode"), &format!("{:04o}", old.mode), &format!("{:04o}", new.mode));
    line(&format!("{name}_owner"), &somebody(&old.owner), &somebody(&new.owner));
    line(&format!("{name}_group"), &somebody(&old.group), &somebody(&new.group));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::SECTIONS;
    use crate::config::{Options, Surroundings};
    use crate::daemon::reload::told_lines;
    use crate::settle::difference;

    fn load(toml: &str) -> Config {
        let directory = tempfile::tempdir().unwrap();
        let default_configuration = directory.path().join("gipam.toml");
        std::fs::write(&default_configuration, toml).unwrap();
        let surroundings = Surroundings { default_configuration, ..Surroundings::default() };
        Config::start(&Options::default(), &surroundings).unwrap_or_else(|error| panic!("{toml}\n{error}"))
    }

    /// The file with another value of one key: table, key, before, after; `...` is where the key stands.
    #[rustfmt::skip]
    const OTHER: &[(&str, &str, &str, &str, &str)] = &[
        ("", "file", "...", "", "file = \"/srv/other.db\""),
        ("", "name", "...", "", "name = \"other\""),
        ("", "socket", "...", "", "socket = \"/run/other.sock\""),
        ("", "address", "...", "", "address = \"127.0.0.1:9\""),
        ("", "advertise", "address = \":9\"\n...", "", "advertise = \"192.0.2.1:9\""),
        ("", "unix", "...", "", "unix = false"),
        ("", "admin", "...", "", "admin = \"/run/other.admin\""),
        ("", "log", "...", "", "log = \"debug\""),
        ("", "socket_mode", "...", "", "socket_mode = \"0660\""),
        ("", "socket_owner", "...", "", "socket_owner = \"root\""),
        ("", "socket_group", "...", "", "socket_group = \"root\""),
        ("", "admin_mode", "...", "", "admin_mode = \"0660\""),
        ("", "admin_owner", "...", "", "admin_owner = \"root\""),
        ("", "admin_group", "...", "", "admin_group = \"root\""),
        ("", "socket_dir", "...", "", "socket_dir = \"/run/other\""),
        ("", "spec_dir", "...", "", "spec_dir = \"/etc/other\""),
        ("", "requires_mac_address", "...", "", "requires_mac_address = false"),
        ("", "cooling", "...", "", "cooling = \"1m\""),
        ("", "subnet_cooling", "...", "", "subnet_cooling = \"1m30s\""),
        ("", "restart_window", "...", "", "restart_window = \"1s\""),
        ("", "storm_limit", "...", "", "storm_limit = 9"),
        ("", "history", "...", "", "history = 9"),
        ("", "max_connections", "...", "", "max_connections = 9"),
        ("", "http", "...", "", "http = \"9464\""),
        ("", "http_hosts", "http = \"9464\"\n...", "", "http_hosts = [\"proxy.example\"]"),
        ("", "metrics_subnets", "http = \"9464\"\n...", "", "metrics_subnets = 9"),
        ("", "warn_at", "...", "", "warn_at = \"70%\""),
        ("", "reserved", "...", "", "reserved = [\"192.0.2.0/28\"]"),
        ("", "pool", "...", "", "[[pool]]\nname = \"a\"\nv4 = { base = \"192.0.2.0/24\" }"),
        ("", "driver", "...", "", "[driver.other]"),
        ("", "gc", "...", "", "[gc]\ngrace = \"1m\""),
        ("", "hook", "...", "", "[[hook]]\nname = \"a\"\ncommand = [\"/bin/true\"]"),
        ("", "tls", "address = \":9\"\n...", "", "[tls]\ncert = \"/c\"\nkey = \"/k\""),
        ("[[pool]]", "name", "[[pool]]\nv4 = { base = \"192.0.2.0/24\" }\n...", "name = \"a\"", "name = \"b\""),
        ("[[pool]]", "v4", POOL, "", "v4 = { base = \"198.51.100.0/24\" }"),
        ("[[pool]]", "v6", "[[pool]]\nname = \"a\"\nv4 = { base = \"192.0.2.0/24\" }\n...", "", "v6 = { base = \"2001:db8::/48\" }"),
        ("[[pool]]", "reserved", POOL, "", "reserved = [\"2001:db8::/64\"]"),
        ("[[pool]]", "cooling", POOL, "", "cooling = \"1m\""),
        ("[[pool]]", "subnet_cooling", POOL, "", "subnet_cooling = \"1m30s\""),
        ("[[pool]]", "warn_at", POOL, "", "warn_at = \"70%\""),
        (BASE, "base", "[[pool]]\nname = \"a\"\n...", "v6.base = \"2001:db8::/48\"", "v6.base = \"2001:db8:1::/48\""),
        (BASE, "size", POOL, "", "v6.size = 72"),
        (BASE, "addresses", POOL, "", "v6.addresses = \"stable\""),
        ("[driver.NAME]", "pools", "[[pool]]\nname = \"a\"\nv4 = { base = \"192.0.2.0/24\" }\n[driver.x]\n...", "", "pools = [\"a\"]"),
        ("[driver.NAME]", "requires_mac_address", "[driver.x]\n...", "", "requires_mac_address = false"),
        ("[driver.NAME]", "socket", "[driver.x]\n...", "", "socket = \"/run/x.sock\""),
        ("[driver.NAME]", "address", "[driver.x]\n...", "", "address = \":9\""),
        ("[driver.NAME]", "advertise", "[driver.x]\naddress = \":9\"\n...", "", "advertise = \"192.0.2.1:9\""),
        ("[tls]", "cert", "address = \":9\"\n[tls]\nkey = \"/k\"\n...", "cert = \"/a\"", "cert = \"/b\""),
        ("[tls]", "key", "address = \":9\"\n[tls]\ncert = \"/k\"\n...", "key = \"/a\"", "key = \"/b\""),
        ("[tls]", "client_ca", TLS, "", "client_ca = \"/a\""),
        ("[tls]", "engine_ca", TLS, "", "engine_ca = \"/a\""),
        ("[tls]", "engine_cert", TLS, "engine_key = \"/k\"\nengine_cert = \"/a\"", "engine_key = \"/k\"\nengine_cert = \"/b\""),
        ("[tls]", "engine_key", TLS, "engine_cert = \"/k\"\nengine_key = \"/a\"", "engine_cert = \"/k\"\nengine_key = \"/b\""),
        ("[gc]", "engine", "[gc]\n...", "", "engine = \"\""),
        ("[gc]", "grace", "[gc]\n...", "", "grace = \"1m\""),
        ("[gc]", "unknown_subnets", "[gc]\n...", "", "unknown_subnets = \"free\""),
        ("[[hook]]", "name", "[[hook]]\ncommand = [\"/bin/true\"]\n...", "name = \"a\"", "name = \"b\""),
        ("[[hook]]", "command", "[[hook]]\nname = \"a\"\n...", "command = [\"/bin/a\"]", "command = [\"/bin/b\"]"),
        ("[[hook]]", "url", "[[hook]]\nname = \"a\"\n...", "url = \"http://192.0.2.1/\"", "url = \"http://192.0.2.2/\""),
        ("[[hook]]", "connect", HOOK, "connect = \"192.0.2.1\"", "connect = \"192.0.2.2\""),
        ("[[hook]]", "ca", HOOK, "connect = \"192.0.2.1\"", "connect = \"192.0.2.1\"\nca = \"/a\""),
        ("[[hook]]", "cert", HOOK, "connect = \"192.0.2.1\"", "connect = \"192.0.2.1\"\nkey = \"/k\"\ncert = \"/b\""),
        ("[[hook]]", "key", HOOK, "connect = \"192.0.2.1\"", "connect = \"192.0.2.1\"\ncert = \"/k\"\nkey = \"/b\""),
        ("[[hook]]", "events", HOOK, "connect = \"192.0.2.1\"", "connect = \"192.0.2.1\"\nevents = [\"subnet_granted\"]"),
        ("[[hook]]", "timeout", HOOK, "connect = \"192.0.2.1\"", "connect = \"192.0.2.1\"\ntimeout = \"9s\""),
        ("[[hook]]", "batch", HOOK, "connect = \"192.0.2.1\"", "connect = \"192.0.2.1\"\nbatch = 9"),
        ("[[hook]]", "from", HOOK, "connect = \"192.0.2.1\"", "connect = \"192.0.2.1\"\nfrom = \"start\""),
    ];
    /// Keys of the top level that are named by a reload, with both values.
    const NAMED: [&str; 10] = [
        "admin",
        "file",
        "history",
        "http",
        "log",
        "max_connections",
        "name",
        "requires_mac_address",
        "socket_dir",
        "socket_mode",
    ];
    const BASE: &str = "v4 = { ... }, v6 = { ... }";
    const POOL: &str = "[[pool]]\nname = \"a\"\nv6.base = \"2001:db8::/48\"\n...";
    const TLS: &str = "address = \":9\"\n[tls]\ncert = \"/c\"\nkey = \"/k\"\n...";
    const HOOK: &str = "[[hook]]\nname = \"a\"\nurl = \"https://hooks.example/\"\n...";

    #[test]
    fn every_key_follows_a_reload_or_is_said_to_wait_for_the_next_start() {
        for (section, key) in
            SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (section.table, key.name)))
        {
            let other = OTHER.iter().find(|(table, name, ..)| (*table, *name) == (section, key));
            let (_, _, file, before, after) =
                other.unwrap_or_else(|| panic!("{section} {key}: say here how it changes"));
            let (old, new) = (load(&file.replace("...", before)), load(&file.replace("...", after)));
            let mut said = lines(&old, &new);
            assert!(lines(&old, &old).is_empty() && told_lines(&old, &old).is_empty(), "{section} {key}");
            said.extend(told_lines(&old, &new));
            said.extend(difference(&old.settings, &new.settings));
            assert!(!said.is_empty(), "{section} {key}: a reload says that nothing changes");
            if section.is_empty() && NAMED.contains(&key) {
                let named = |line: &String| line.starts_with(&format!("{key}: "));
                assert!(said.iter().any(named), "{section} {key}: a reload does not name it: {said:?}");
            }
        }
    }
}
