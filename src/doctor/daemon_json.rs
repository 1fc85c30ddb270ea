//! The addresses that Docker itself uses: those in `daemon.json`, in dockerd's flags, and its built-in ones.
//!
//! Promises: parses the file as dockerd does (UTF-8, or UTF-16 with a byte order mark; the last of two equal keys
//! wins; key names are case-sensitive), and reports what dockerd would refuse; checks every key that takes addresses.
//! Flags are those of a running dockerd, otherwise those in its unit. Changes nothing.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{BooksPlace, DoctorReport, UNITS, bases};
use crate::plan::prefix::Prefix;
use crate::plan::settings::PoolSettings;

/// The name of this check in the report.
const CHECK: &str = "Docker's own pools";
/// The default path of the file; a flag may name another one.
const FILE: &str = "/etc/docker/daemon.json";
/// The type of a key of the file, or of a flag with the same name.
#[derive(Clone, Copy, Debug)]
enum Takes {
    /// A prefix that Docker uses.
    Subnet,
    /// An address that Docker uses.
    Address,
    /// A list of addresses that Docker uses.
    Addresses,
    /// Docker's address pools.
    Pools,
}

/// The keys that take addresses.
const KEYS: [(&str, Takes); 11] = [
    ("bip", Takes::Subnet),
    ("bip6", Takes::Subnet),
    ("fixed-cidr", Takes::Subnet),
    ("fixed-cidr-v6", Takes::Subnet),
    ("default-gateway", Takes::Address),
    ("default-gateway-v6", Takes::Address),
    ("ip", Takes::Address),
    ("dns", Takes::Addresses),
    ("host-gateway-ips", Takes::Addresses),
    ("host-gateway-ip", Takes::Addresses),
    ("default-address-pools", Takes::Pools),
];
/// The pools from which Docker takes networks by default; Engine 27 and later also use a /48 of `fd00::/8`.
const BUILT_IN: [&str; 7] = [
    "172.17.0.0/16",
    "172.18.0.0/16",
    "172.19.0.0/16",
    "172.20.0.0/14",
    "172.24.0.0/14",
    "172.28.0.0/14",
    "192.168.0.0/16",
];

/// The subnets and addresses that Docker uses, and where each is configured.
#[derive(Debug, Default)]
struct Own {
    subnets: Vec<(Prefix, String)>,
    addresses: Vec<(IpAddr, String)>,
    /// Whether address pools are configured, so that the built-in ones are not used.
    pools: bool,
    bridge: bool,
    refused: Vec<String>,
}

/// Checks that Docker's own subnets do not overlap gipam's pools.
pub(super) fn check(report: &mut DoctorReport, place: &BooksPlace, pools: &[PoolSettings]) {
    let flags = flags(place);
    let file = flags.iter().rev().find(|(name, _)| name == "config-file").map(|(_, path)| path.as_str());
    let file = file.unwrap_or(FILE);
    let mut own = Own::default();
    let there = match std::fs::read(place.path(file)) {
        Ok(bytes) => {
            own.read(file, &bytes);
            true
        }
        Err(_) => false,
    };
    own.take_flags(&flags);
    for why in &own.refused {
        report.warning(
            CHECK,
            why.clone(),
            "dockerd refuses to start with this; correct it, then check with dockerd --validate",
        );
    }
    if !own.pools {
        let built_in = BUILT_IN.iter().filter_map(|text| Prefix::parse(text));
        let unless =
            |prefix: &Prefix| !own.bridge || *prefix != Prefix::parse(BUILT_IN[0]).unwrap_or(*prefix);
        let built_in: Vec<Prefix> = built_in.filter(unless).collect();
        for prefix in built_in {
            own.subnets.push((prefix, "Docker's built-in pools".to_owned()));
        }
    }
    let clashes = compare(report, &own, pools);
    if !clashes && own.refused.is_empty() {
        let where_from = match (there, flags.is_empty()) {
            (true, _) => file.to_owned(),
            (false, false) => "the command line of dockerd".to_owned(),
            (false, true) => "Docker's built-in pools".to_owned(),
        };
        report.well(CHECK, format!("no overlap with {where_from}"));
    }
}

/// Reports overlaps; returns whether there were any.
fn compare(report: &mut DoctorReport, own: &Own, pools: &[PoolSettings]) -> bool {
    let mut clashes = false;
    for (prefix, from) in &own.subnets {
        for (pool, base) in bases(pools).filter(|(_, base)| base.overlaps(*prefix)) {
            clashes = true;
            let found = format!("{prefix} ({from}) overlaps pool {} ({base})", pool.name);
            if from.starts_with("Docker's built-in") {
                let advice = "Docker and gipam may give the same addresses; set default-address-pools in daemon.json to other prefixes";
                report.warning(CHECK, found, advice);
            } else {
                report.wrong(
                    CHECK,
                    found,
                    "Docker and gipam would give the same addresses; change one of the two",
                );
            }
        }
    }
    for (address, from) in &own.addresses {
        for (pool, base) in bases(pools).filter(|(_, base)| base.contains_address(*address)) {
            clashes = true;
            let found = format!("{address} ({from}) is in pool {} ({base})", pool.name);
            let advice = format!("a container could get this address; reserve it: gipam reserve {address}");
            report.warning(CHECK, found, advice);
        }
    }
    clashes
}

impl Own {
    /// Reads the content of a daemon.json.
    fn read(&mut self, file: &str, bytes: &[u8]) {
        let Some(text) = decoded(bytes) else {
            self.refused.push(format!("{file} is neither UTF-8 nor UTF-16 with a byte order mark"));
            return;
        };
        // dockerd treats an empty file as absent.
        if text.trim().is_empty() {
            return;
        }
        let settings: Map<String, Value> = match serde_json::from_str(&text) {
            Ok(Value::Object(settings)) => settings,
            Ok(Value::Null) => return,
            Ok(_) => return self.refused.push(format!("{file} is not a JSON object")),
            Err(error) => return self.refused.push(format!("{file} cannot be read as JSON: {error}")),
        };
        for (key, value) in &settings {
            let known = KEYS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
            match known {
                Some((name, takes)) if name == key => {
                    self.take(name, takes, format!("{key} in {file}"), value)
                }
                // dockerd accepts its keys only in this spelling.
                Some((name, _)) => {
                    self.refused
                        .push(format!("{file} has the key {key:?}, whose correct spelling is {name:?}"));
                }
                None => {}
            }
        }
    }

    /// Reads the same settings from dockerd's command line.
    fn take_flags(&mut self, flags: &[(String, String)]) {
        for (flag, text) in flags {
            let key = if flag == "default-address-pool" { "default-address-pools" } else { flag };
            let Some((name, takes)) = KEYS.into_iter().find(|(name, _)| *name == key) else { continue };
            let value = match takes {
                Takes::Subnet | Takes::Address => json!(text),
                Takes::Addresses => json!([text]),
                Takes::Pools => {
                    let parts = text.split(',').filter_map(|part| part.trim().split_once('='));
                    json!([{"base": parts.filter(|(key, _)| *key == "base").map(|(_, base)| base).next_back()}])
                }
            };
            self.take(name, takes, format!("--{flag} of dockerd"), &value);
        }
    }

    fn take(&mut self, key: &str, takes: Takes, from: String, value: &Value) {
        match (takes, value) {
            (_, Value::Null) => {}
            (Takes::Pools, Value::Array(entries)) => {
                self.pools = !entries.is_empty();
                entries.iter().for_each(|entry| self.pool(&from, entry));
            }
            (Takes::Addresses, Value::Array(entries)) => {
                for entry in entries {
                    match entry.as_str() {
                        Some(text) => self.address(&from, text),
                        None => self.refused.push(format!("{from}: {entry} is not a string")),
                    }
                }
            }
            (Takes::Subnet, Value::String(text)) => {
                self.bridge |= matches!(key, "bip" | "fixed-cidr") && !text.is_empty();
                if !(text.is_empty() || key == "bip" && text == "none") {
                    self.prefix(&from, text);
                }
            }
            (Takes::Address, Value::String(text)) => self.address(&from, text),
            (_, Value::String(text)) if key == "host-gateway-ip" => self.address(&from, text),
            (takes, other) => {
                let wanted = match takes {
                    Takes::Pools | Takes::Addresses => "a list",
                    Takes::Subnet | Takes::Address => "a string",
                };
                let found = match other {
                    Value::Object(_) => "an object",
                    Value::Array(_) => "a list",
                    Value::String(_) => "a string",
                    _ => "something else",
                };
                self.refused.push(format!("{from} must be {wanted}, but is {found}"));
            }
        }
    }

    /// Reads one of Docker's pools. The keys in it are not case-sensitive.
    fn pool(&mut self, from: &str, entry: &Value) {
        let Value::Object(entry) = entry else {
            return self.refused.push(format!("{from}: {entry} is not an object with base and size"));
        };
        let value = |name: &str| entry.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name));
        match value("base").map(|(_, base)| base) {
            Some(Value::String(base)) => self.prefix(from, base),
            _ => self.refused.push(format!("{from}: an entry has no base")),
        }
        if value("size").is_some_and(|(_, size)| !size.is_u64()) {
            self.refused.push(format!("{from}: the size of an entry is not a number"));
        }
    }

    fn prefix(&mut self, from: &str, text: &str) {
        match Prefix::parse(text) {
            Some(prefix) => self.subnets.push((prefix, from.to_owned())),
            None => self.refused.push(format!("{from}: {text:?} is not a prefix")),
        }
    }

    fn address(&mut self, from: &str, text: &str) {
        // The interface (zone) of a link-local address does not matter here.
        let bare = text.split('%').next().unwrap_or_default();
        match bare.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() => self.addresses.push((address, from.to_owned())),
            Ok(_) => {}
            Err(_) if text.is_empty() => {}
            Err(_) => self.refused.push(format!("{from}: {text:?} is not an IP address")),
        }
    }
}

/// The text of a file: UTF-8, with or without a byte order mark, or UTF-16 with one.
fn decoded(bytes: &[u8]) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
        bytes.len().is_multiple_of(2).then(|| String::from_utf16(&units).ok()).flatten()
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        plain => String::from_utf8(plain.to_vec()).ok(),
    }
}

/// The flags of a running dockerd, otherwise those in its unit: names without dashes, and values.
fn flags(place: &BooksPlace) -> Vec<(String, String)> {
    let words = running(place).or_else(|| unit(place)).unwrap_or_default();
    let mut flags = Vec::new();
    let mut words = words.into_iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else { continue };
        match flag.split_once('=') {
            Some((name, value)) => flags.push((name.to_owned(), value.to_owned())),
            None => {
                if let Some(value) = words.next_if(|next| !next.starts_with('-')) {
                    flags.push((flag.to_owned(), value));
                }
            }
        }
    }
    flags
}

/// The command line of a running dockerd, if this user may read it.
fn running(place: &BooksPlace) -> Option<Vec<String>> {
    let processes = std::fs::read_dir(place.path("/proc")).ok()?.flatten();
    processes
        .filter(|process| process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|line| -> Vec<String> {
            let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
        })
        .find(|words| words.first().is_some_and(|program| program.rsplit('/').next() == Some("dockerd")))
}

/// The command line in the unit, including its drop-ins.
fn unit(place: &BooksPlace) -> Option<Vec<String>> {
    let mut text = UNITS.iter().find_map(|folder| place.text(&format!("{folder}/docker.service")))?;
    for folder in UNITS.iter().rev() {
        let folder = place.path(&format!("{folder}/docker.service.d"));
        let mut files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
        files.sort_by_key(std::fs::DirEntry::file_name);
        for file in files.iter().filter(|file| file.path().extension().is_some_and(|end| end == "conf")) {
            text.push('\n');
            text.push_str(&std::fs::read_to_string(file.path()).unwrap_or_default());
        }
    }
    let text = text.replace("\\\n", " ");
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix("ExecStart="));
    let last = lines.rfind(|line| !line.trim().is_empty())?;
    let bare = |word: &str| word.trim_matches(['"', '\'']).to_owned();
    Some(last.split_ascii_whitespace().map(bare).collect())
}
