//! Tests of the keys: the table, the page and the packaged sample say the same, and each key reads what it promises.

use std::path::Path;

use super::*;
use crate::config::{Config, ConfigError, Options, Surroundings};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The keys that the reader lists as known when it finds an unknown one.
fn accepted(toml: &str) -> Vec<String> {
    let error = read(toml).unwrap_err();
    let ConfigError::Document { problem, .. } = error else { panic!("{error}") };
    let said = problem.to_string();
    let known = said.strip_prefix("unknown key; the keys here are: ").unwrap();
    known.split(", ").map(ToOwned::to_owned).collect()
}

fn documented(table: &str) -> Vec<&'static str> {
    let section = SECTIONS.iter().find(|section| section.table == table).unwrap();
    section.keys.iter().map(|key| key.name).collect()
}

#[test]
fn exactly_the_accepted_keys_are_documented() {
    for (table, toml) in [
        ("", "zzz = 1"),
        ("[[pool]]", "[[pool]]\nzzz = 1"),
        ("v4 = { ... }, v6 = { ... }", "[[pool]]\nname = \"a\"\nv4.zzz = 1"),
        ("[driver.NAME]", "[driver.x]\nzzz = 1"),
        ("[tls]", "[tls]\nzzz = 1"),
        ("[plan]", "[plan]\nzzz = 1"),
        ("[[hook]]", "[[hook]]\nzzz = 1"),
    ] {
        assert_eq!(accepted(toml), documented(table), "{table}");
    }
}

fn read(toml: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let default_configuration = directory.path().join("gipam.toml");
    std::fs::write(&default_configuration, toml).unwrap();
    let surroundings = Surroundings { default_configuration, ..Surroundings::default() };
    Config::load(&Options::default(), &surroundings)
}

fn load(toml: &str) -> Config {
    read(toml).unwrap_or_else(|error| panic!("{toml}\n{error}"))
}

#[test]
fn every_documented_default_value_is_the_real_default() {
    let without = load("");
    for key in TOP.iter().filter(|key| key.is_value()) {
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
fn the_sample_parses_to_its_settings() {
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
    for key in TOP.iter().filter(|key| !["pool", "driver", "tls", "gc", "plan", "hook"].contains(&key.name)) {
        let (value, example) = (format!("\n{} = ", key.name), format!("\n# {} = ", key.name));
        let has = uncommented.contains(&value) || uncommented.contains(&example);
        assert!(has, "{} is missing", key.name);
    }
    assert_eq!(config.admin, Path::new("/run/gipam/admin.sock"));
    assert_eq!(config.settings, load("").settings);
    let same = |key: &Key| !["pool", "driver", "tls", "gc", "plan", "hook", "file"].contains(&key.name);
    let shown = |config: &Config| {
        let all =
            config.shown.iter().filter(|shown| TOP.iter().any(|key| same(key) && key.name == shown.key));
        all.map(|shown| (shown.key.clone(), shown.value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(shown(&config), shown(&load("")));
}
