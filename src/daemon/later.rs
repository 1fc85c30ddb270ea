//! Lists the changes of a reloaded configuration that take effect only at the next start.
//!
//! Promises: every key of the file either takes effect at a reload, or is reported here with both values
//! until the next start (a test goes through all keys). Changes nothing.

use crate::config::{Config, Shown, keys};

/// One line per changed key, compared with the configuration with which this process was started.
pub(super) fn lines(started: &Config, new: &Config) -> Vec<String> {
    let (before, after) = (waiting(started), waiting(new));
    let value = |all: &[&Shown], key: &str| {
        let shown = all.iter().find(|shown| shown.key == key);
        shown.map_or("-", |shown| if shown.value.is_empty() { "\"\"" } else { &shown.value }).to_owned()
    };
    let gone = before.iter().filter(|old| !after.iter().any(|new| new.key == old.key));
    let mut lines: Vec<String> = after
        .iter()
        .chain(gone)
        .map(|shown| (&shown.key, value(&before, &shown.key), value(&after, &shown.key)))
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| format!("{key}: {old} becomes {new} at the next start"))
        .collect();
    // The shown settings do not include certificates and `advertise`.
    if new.drivers != started.drivers && !lines.iter().any(|line| line.starts_with("driver.")) {
        lines.push("changes to tls and advertise take effect at the next start".to_owned());
    }
    lines
}

/// The settings that take effect only at the next start, as `gipam config show` shows them.
fn waiting(config: &Config) -> Vec<&Shown> {
    config.shown.iter().filter(|shown| keys::waits(&shown.key)).collect()
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

    /// A file with a changed value of one key: table, key, file, before, after; `...` marks the place of the
    /// key.
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
        ("", "http", "...", "", "http = \"9464\""),
        ("", "http_hosts", "http = \"9464\"\n...", "", "http_hosts = [\"proxy.example\"]"),
        ("", "reserved", "...", "", "reserved = [\"192.0.2.0/28\"]"),
        ("", "pool", "...", "", "[[pool]]\nname = \"a\"\nv4 = { base = \"192.0.2.0/24\" }"),
        ("", "driver", "...", "", "[driver.other]"),
        ("", "gc", "...", "", "[gc]\ngrace = \"1m\""),
        ("", "plan", "...", "", "[plan]\nfile = \"/a\"\nhost = \"a\""),
        ("", "hook", "...", "", "[[hook]]\nname = \"a\"\ncommand = [\"/bin/true\"]"),
        ("", "tls", "address = \":9\"\n...", "", "[tls]\ncert = \"/c\"\nkey = \"/k\""),
        ("[[pool]]", "name", "[[pool]]\nv4 = { base = \"192.0.2.0/24\" }\n...", "name = \"a\"", "name = \"b\""),
        ("[[pool]]", "v4", POOL, "", "v4 = { base = \"198.51.100.0/24\" }"),
        ("[[pool]]", "v6", "[[pool]]\nname = \"a\"\nv4 = { base = \"192.0.2.0/24\" }\n...", "", "v6 = { base = \"2001:db8::/48\" }"),
        ("[[pool]]", "reserved", POOL, "", "reserved = [\"2001:db8::/64\"]"),
        ("[[pool]]", "cooling", POOL, "", "cooling = \"1m\""),
        ("[[pool]]", "subnet_cooling", POOL, "", "subnet_cooling = \"1m30s\""),
        ("[[pool]]", "warn_at", POOL, "", "warn_at = \"70%\""),
        ("[[pool]]", "translate", POOL, "", "outer = \"2001:db8:1::/48\"\ntranslate = \"nptv6\""),
        ("[[pool]]", "outer", POOL, "translate = \"nptv6\"\nouter = \"2001:db8:1::/48\"", "translate = \"nptv6\"\nouter = \"2001:db8:2::/48\""),
        ("[[pool]]", "ndp_proxy", POOL, "", "ndp_proxy = \"eth0\""),
        ("[[pool]]", "arp_proxy", "[[pool]]\nname = \"a\"\nv4 = { base = \"192.0.2.0/24\" }\n...", "", "arp_proxy = \"eth0\""),
        ("[[pool]]", "discard", POOL, "", "discard = true"),
        ("[[pool]]", "probe", POOL, "", "probe = \"eth0\""),
        (BASE, "base", "[[pool]]\nname = \"a\"\n...", "v6.base = \"2001:db8::/48\"", "v6.base = \"2001:db8:1::/48\""),
        (BASE, "size", POOL, "", "v6.size = 72"),
        ("", "kernel_at_end", "...", "", "kernel_at_end = \"keep\""),
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
        (BASE, "slice", "[plan]\nfile = \"/a\"\nhost = \"a\"\n[[pool]]\nname = \"a\"\nv6.base = \"2001:db8::/48\"\n...", "", "v6.slice = 52"),
        (BASE, "shared", LAN, "", "v4.shared = true"),
        (BASE, "gateway", POOL, "", "v6.gateway = \"2001:db8::1\""),
        (BASE, "by_number", LAN, "v4.shared = true", "v4.shared = true\nv4.by_number = \"192.0.2.240/29\""),
        ("[plan]", "file", "[plan]\nhost = \"a\"\n...", "file = \"/a\"", "file = \"/b\""),
        ("[plan]", "host", "[plan]\nfile = \"/a\"\n...", "host = \"a\"", "host = \"b\""),
        ("[plan]", "routes", "[plan]\nfile = \"/a\"\nhost = \"a\"\n...", "", "routes = \"kernel\""),
        ("[plan]", "etcd", ETCD, "etcd = [\"http://192.0.2.1:2379\"]", "etcd = [\"http://192.0.2.2:2379\"]"),
        ("[plan]", "prefix", IN_ETCD, "", "prefix = \"/other/\""),
        ("[plan]", "via", "[plan]\nhost = \"a\"\netcd = [\"http://192.0.2.1:2379\"]\n...", "via = [\"192.0.2.1\"]", "via = [\"192.0.2.2\"]"),
        ("[plan]", "timeout", IN_ETCD, "", "timeout = \"1s\""),
        ("[plan]", "user", IN_ETCD, "password_file = \"/p\"\nuser = \"a\"", "password_file = \"/p\"\nuser = \"b\""),
        ("[plan]", "password_file", IN_ETCD, "user = \"a\"\npassword_file = \"/p\"", "user = \"a\"\npassword_file = \"/q\""),
        ("[plan]", "ca", IN_ETCD_TLS, "ca = \"/a\"", "ca = \"/b\""),
        ("[plan]", "cert", IN_ETCD_TLS, "key = \"/k\"\ncert = \"/a\"", "key = \"/k\"\ncert = \"/b\""),
        ("[plan]", "key", IN_ETCD_TLS, "cert = \"/k\"\nkey = \"/a\"", "cert = \"/k\"\nkey = \"/b\""),
        ("[plan]", "server_name", IN_ETCD_TLS, "", "server_name = \"etcd.example\""),
        ("[gc]", "engine", "[gc]\n...", "", "engine = \"\""),
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
    /// Top-level keys that a reload reports by name, with both values.
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
    const LAN: &str = "[plan]\nfile = \"/a\"\nhost = \"a\"\n[[pool]]\nname = \"a\"\nv4.base = \"192.0.2.0/24\"\nv4.size = 24\nv4.slice = 24\n...";
    const ETCD: &str = "[plan]\nhost = \"a\"\nvia = [\"192.0.2.11\"]\n...";
    const IN_ETCD: &str =
        "[plan]\nhost = \"a\"\nvia = [\"192.0.2.11\"]\netcd = [\"http://192.0.2.1:2379\"]\n...";
    const IN_ETCD_TLS: &str =
        "[plan]\nhost = \"a\"\nvia = [\"192.0.2.11\"]\netcd = [\"https://192.0.2.1:2379\"]\n...";
    const TLS: &str = "address = \":9\"\n[tls]\ncert = \"/c\"\nkey = \"/k\"\n...";
    const HOOK: &str = "[[hook]]\nname = \"a\"\nurl = \"https://hooks.example/\"\n...";

    #[test]
    fn every_key_follows_a_reload_or_is_reported_as_waiting_for_the_next_start() {
        let all = SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (section.table, key)));
        for (section, key) in all {
            let (name, default) = (key.name, key.default);
            let (file, before, after) = match OTHER.iter().find(|it| (it.0, it.1) == (section, name)) {
                Some((_, _, file, before, after)) => ((*file).to_owned(), *before, (*after).to_owned()),
                // Replace the value by another one that the key accepts: 77 for 64, "77m" for "10m", false
                // for true.
                None => {
                    let other = default.replace(|c: char| c.is_ascii_digit(), "7").replace("true", "false");
                    assert_ne!(other, default, "{section} {name}: add a changed value here");
                    (format!("{section}\n..."), "", format!("{name} = {other}"))
                }
            };
            let (old, new) = (load(&file.replace("...", before)), load(&file.replace("...", &after)));
            let mut said = lines(&old, &new);
            assert!(lines(&old, &old).is_empty() && told_lines(&old, &old).is_empty(), "{section} {name}");
            assert!(!section.is_empty() || said.is_empty() != keys::waits(name), "{name}: {said:?}");
            said.extend(told_lines(&old, &new));
            said.extend(difference(&old.settings, &new.settings));
            assert!(!said.is_empty(), "{section} {name}: a reload says that nothing changes");
            if section.is_empty() && NAMED.contains(&name) {
                let named = |line: &String| line.starts_with(&format!("{name}: "));
                assert!(said.iter().any(named), "{section} {name}: a reload does not name it: {said:?}");
            }
        }
    }
}
