//! Parses a plan file: TOML into pools, hosts and slices, each with its place in the text.
//!
//! Promises: all mistakes are found at once, in the order of the file, each with its line, column and key; nothing is trimmed,
//! masked or guessed. Does not read files.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::division::{Division, HostPlan, SlicedPool};
use super::file::Mistake;
use crate::config::{locate, reworded, value};
use crate::plan::prefix::{Prefix, meeting};
use crate::plan::written;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanTables {
    #[serde(default)]
    pool: Vec<PoolEntry>,
    #[serde(default)]
    host: Vec<HostEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PoolEntry {
    base: Spanned<String>,
    slice: Spanned<u8>,
    by_number: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostEntry {
    name: Spanned<String>,
    via: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    slices: Vec<Spanned<String>>,
}

/// Parses the text of a plan file, or returns its mistakes.
pub(super) fn parse(text: &str) -> Result<Division, Vec<Mistake>> {
    let mut parser = Parser { text, lines: locate::Lines::of(text), mistakes: Vec::new() };
    let file = match toml::from_str::<PlanTables>(text) {
        Ok(tables) => parser.tables(&tables),
        Err(error) => {
            let place = error.span().unwrap_or(0..0);
            let key = locate::key(text, &place).unwrap_or_default();
            parser.refuse(&place, reworded(error.message(), &key).to_string());
            None
        }
    };
    file.filter(|_| parser.mistakes.is_empty()).ok_or(parser.mistakes)
}

struct Parser<'a> {
    text: &'a str,
    lines: locate::Lines,
    mistakes: Vec<Mistake>,
}

/// What was read of the hosts before this one.
#[derive(Default)]
struct Before {
    /// The line of each host, by its name in lower case.
    names: BTreeMap<String, usize>,
    /// The host and line of each slice.
    slices: BTreeMap<Prefix, (String, usize)>,
    /// The host of each address.
    vias: BTreeMap<IpAddr, String>,
}

impl Parser<'_> {
    fn refuse(&mut self, place: &Range<usize>, text: String) {
        let (line, column) = self.lines.position(self.text, place.start);
        self.mistakes.push(Mistake { line, column, key: locate::key(self.text, place), text });
    }

    fn line(&self, place: &Range<usize>) -> usize {
        self.lines.position(self.text, place.start).0
    }

    fn tables(&mut self, tables: &PlanTables) -> Option<Division> {
        for (missing, table) in [(tables.pool.is_empty(), "[[pool]]"), (tables.host.is_empty(), "[[host]]")] {
            if missing {
                self.refuse(&(0..0), format!("{table} is missing; a plan file has at least one"));
            }
        }
        let pools = self.pools(&tables.pool);
        // Without all pools, slices of the missing ones would be refused for the wrong reason.
        let pools = pools.filter(|pools| !pools.is_empty())?;
        let mut before = Before::default();
        let hosts = tables.host.iter().map(|entry| self.host(entry, &pools, &mut before)).collect();
        Some(Division::new(pools, hosts, BTreeSet::new()))
    }

    /// The pools; `None` if one of them cannot be used.
    fn pools(&mut self, entries: &[PoolEntry]) -> Option<Vec<SlicedPool>> {
        let known = self.mistakes.len();
        let mut pools: Vec<SlicedPool> = Vec::new();
        for PoolEntry { base: written, slice, by_number } in entries {
            let Some(base) = self.prefix(written) else { continue };
            if let Some((never, what)) = written::never_serves(base) {
                let text = format!("{base} includes {never} ({what}), which no container can use");
                self.refuse(&written.span(), text);
            }
            if let Some(other) = pools.iter().find(|other| other.base.overlaps(base)) {
                let text = format!("{base} overlaps pool {}; pools must not overlap", other.base);
                self.refuse(&written.span(), text);
            }
            let (place, slice, most) = (slice.span(), *slice.get_ref(), base.family().bits());
            if !(base.length()..=most).contains(&slice) {
                let least = base.length();
                self.refuse(
                    &place,
                    format!("slice /{slice} does not fit {base}; give a length from {least} to {most}"),
                );
            }
            let by_number = by_number.as_ref().and_then(|written| {
                let part = self.prefix(written)?;
                if !base.contains(part) {
                    self.refuse(&written.span(), format!("{part} lies outside {base}"));
                }
                Some(part)
            });
            pools.push(SlicedPool { base, slice, shared: None, by_number });
        }
        (self.mistakes.len() == known).then_some(pools)
    }

    /// A prefix without host bits.
    fn prefix(&mut self, written: &Spanned<String>) -> Option<Prefix> {
        let text = written.get_ref();
        let wrong = match written::prefix(text) {
            Ok((prefix, false)) => return Some(prefix),
            Ok((prefix, true)) => format!("{text} has host bits set; write {prefix}"),
            Err(error) => error.to_string(),
        };
        self.refuse(&written.span(), wrong);
        None
    }

    fn host(&mut self, entry: &HostEntry, pools: &[SlicedPool], before: &mut Before) -> HostPlan {
        let (name, place) = (entry.name.get_ref(), entry.name.span());
        if let Err(problem) = value::plan_host(name) {
            self.refuse(&place, problem.to_string());
        }
        let line = self.line(&place);
        if let Some(other) = before.names.insert(name.to_ascii_lowercase(), line) {
            self.refuse(&place, format!("duplicate host {name}; line {other} has it already"));
        }
        let via = self.via(entry, before);
        let slices = entry.slices.iter().filter_map(|written| {
            let slice = self.prefix(written)?;
            self.slice(slice, written, name, pools, before);
            Some(slice)
        });
        let slices = slices.collect();
        HostPlan { name: name.clone(), via, slices, record: None }
    }

    /// Where others reach the host.
    fn via(&mut self, entry: &HostEntry, before: &mut Before) -> Vec<IpAddr> {
        let name = entry.name.get_ref();
        if entry.via.get_ref().is_empty() {
            let text = format!("host {name} has no via; give an address at which the other hosts reach it");
            self.refuse(&entry.via.span(), text);
        }
        let mut all = Vec::new();
        for written in entry.via.get_ref() {
            let (text, place) = (written.get_ref(), written.span());
            let Ok(address) = text.parse::<IpAddr>() else {
                self.refuse(
                    &place,
                    format!("{text:?} is not an IP address; write it like 192.0.2.11 or 2001:db8::11"),
                );
                continue;
            };
            if let Some(what) = written::never_leads(address) {
                self.refuse(&place, format!("other hosts cannot reach {address}: it is {what}"));
            }
            if let Some(other) = before.vias.insert(address, name.clone()) {
                let text = match other == *name {
                    true => format!("duplicate address {address}"),
                    false => format!("{address} is already a via of host {other}; each host needs its own"),
                };
                self.refuse(&place, text);
            }
            all.push(address);
        }
        all
    }

    /// Checks a slice of this host against its pool and the slices before it.
    fn slice(
        &mut self,
        slice: Prefix,
        written: &Spanned<String>,
        host: &str,
        pools: &[SlicedPool],
        before: &mut Before,
    ) {
        let place = written.span();
        let line = self.line(&place);
        let Some(pool) = pools.iter().find(|pool| pool.base.overlaps(slice)) else {
            let bases: Vec<String> = pools.iter().map(|pool| pool.base.to_string()).collect();
            let text = format!(
                "slice {slice} of host {host} is not in any pool; the pools are {}",
                bases.join(", ")
            );
            return self.refuse(&place, text);
        };
        let part = pool.by_number.filter(|part| part.overlaps(slice));
        let (length, of) = match part {
            Some(part) => (slice.family().bits(), format!("the part {part} that is given by number")),
            None => (pool.slice, format!("pool {}", pool.base)),
        };
        if slice.length() != length {
            let text = format!("slice {slice} of host {host} must be a /{length}, as all slices of {of}");
            return self.refuse(&place, text);
        }
        let other = before.slices.range(meeting(&before.slices, slice)).next();
        if let Some((other, (owner, known))) = other {
            let text = match owner == host {
                true => format!("slice {slice} overlaps {other} of the same host {host}, line {known}"),
                false => {
                    format!("slice {slice} of host {host} overlaps {other} of host {owner}, line {known}")
                }
            };
            return self.refuse(&place, text);
        }
        before.slices.insert(slice, (host.to_owned(), line));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const GOOD: &str = r#"
[[pool]]
base = "10.20.0.0/16"
slice = 20
[[pool]]
base = "2001:db8:1000::/36"
slice = 52
[[host]]
name = "a"
via = ["192.0.2.11", "2001:db8::11"]
slices = ["10.20.0.0/20", "2001:db8:1000::/52"]
[[host]]
name = "b"
via = ["192.0.2.12"]
slices = ["10.20.16.0/20"]
"#;

    fn said(text: &str) -> Vec<String> {
        Division::parse(text, Path::new("/p")).unwrap_err().lines()
    }

    fn prefixes(list: &[&str]) -> Vec<Prefix> {
        list.iter().map(|text| Prefix::parse(text).unwrap()).collect()
    }

    #[test]
    fn a_plan_file_says_who_has_what_and_what_nobody_has() {
        let plan = Division::parse(GOOD, Path::new("/p")).unwrap();
        assert_eq!(plan.pools.len(), 2);
        let host = plan.host("A").unwrap();
        assert_eq!(host.via, ["192.0.2.11".parse::<IpAddr>().unwrap(), "2001:db8::11".parse().unwrap()]);
        assert_eq!(host.slices, prefixes(&["10.20.0.0/20", "2001:db8:1000::/52"]));
        let [owned] = &prefixes(&["10.20.17.0/24"])[..] else { panic!("one") };
        let owners: Vec<_> = plan.owners_of(*owned).map(|(slice, host)| (slice, &*host.name)).collect();
        assert_eq!(owners, [(Prefix::parse("10.20.16.0/20").unwrap(), "b")]);
        let holes = plan.holes(&plan.pools[0]);
        assert_eq!(holes, prefixes(&["10.20.32.0/19", "10.20.64.0/18", "10.20.128.0/17"]));
    }

    #[test]
    fn a_pool_may_be_one_slice_and_a_host_may_have_none() {
        let text = "[[pool]]\nbase = \"0.0.0.0/0\"\nslice = 0\n";
        assert!(said(text).concat().contains("which no container can use"));
        let text = "[[pool]]\nbase = \"192.0.2.0/24\"\nslice = 24\n[[host]]\nname = \"a\"\nvia = [\"198.51.100.1\"]\n";
        let plan = Division::parse(text, Path::new("/p")).unwrap();
        assert_eq!(plan.holes(&plan.pools[0]), prefixes(&["192.0.2.0/24"]));
    }

    /// What is replaced in a good file, by what, and what is said about it.
    #[rustfmt::skip]
    const WRONG: &[(&str, &str, &str)] = &[
        ("slice = 20", "slice = 20\nsize = 24", "/p, line 5, column 1, key pool[1].size: unknown key; the keys here are: base, slice"),
        ("[[host]]\nname = \"b\"", "[[hosts]]\nname = \"b\"", "/p, line 12, column 3, key hosts: unknown key; the keys here are: pool, host"),
        ("slice = 20", "slice = 15", "line 4, column 9, key pool[1].slice: slice /15 does not fit 10.20.0.0/16; give a length from 16 to 32"),
        ("slice = 20", "slice = 33", "slice /33 does not fit 10.20.0.0/16"),
        ("slice = 20", "slice = \"20\"", "key pool[1].slice: write 20 without quotes"),
        ("slice = 20\n", "", "missing field `slice`"),
        ("10.20.0.0/16", "10.20.0.1/16", "line 3, column 8, key pool[1].base: 10.20.0.1/16 has host bits set; write 10.20.0.0/16"),
        ("10.20.0.0/16", "10.20.0.0", "10.20.0.0 has no length; write it like 10.20.0.0/24"),
        ("2001:db8:1000::/36\"\nslice = 52", "10.20.128.0/17\"\nslice = 20", "10.20.128.0/17 overlaps pool 10.20.0.0/16; pools must not overlap"),
        ("name = \"b\"", "name = \"A\"", "line 13, column 8, key host[2].name: duplicate host A; line 9 has it already"),
        ("name = \"b\"", "name = \"\"", "\"\" cannot be a host"),
        ("name = \"b\"", "name = \"b c\"", "\"b c\" cannot be a host; use 1 to 253 letters"),
        ("via = [\"192.0.2.12\"]", "via = []", "line 14, column 7, key host[2].via: host b has no via; give an address"),
        ("via = [\"192.0.2.12\"]\n", "", "missing field `via`"),
        ("\"192.0.2.12\"", "\"host-b\"", "key host[2].via[1]: \"host-b\" is not an IP address"),
        ("\"192.0.2.12\"", "\"192.0.2.12/24\"", "\"192.0.2.12/24\" is not an IP address"),
        ("\"192.0.2.12\"", "\"127.0.0.1\"", "other hosts cannot reach 127.0.0.1: it is loopback"),
        ("\"192.0.2.12\"", "\"fe80::12\"", "other hosts cannot reach fe80::12: it is link-local, and needs an interface"),
        ("\"192.0.2.12\"", "\"192.0.2.11\"", "192.0.2.11 is already a via of host a; each host needs its own"),
        ("\"192.0.2.12\"", "\"192.0.2.12\", \"192.0.2.12\"", "duplicate address 192.0.2.12"),
        ("10.20.16.0/20", "10.20.16.0/21", "line 15, column 11, key host[2].slices[1]: slice 10.20.16.0/21 of host b must be a /20, as all slices of pool 10.20.0.0/16"),
        ("10.20.16.0/20", "10.0.0.0/8", "slice 10.0.0.0/8 of host b must be a /20"),
        ("10.20.16.0/20", "10.21.0.0/20", "slice 10.21.0.0/20 of host b is not in any pool; the pools are 10.20.0.0/16, 2001:db8:1000::/36"),
        ("10.20.16.0/20", "10.20.0.0/20", "slice 10.20.0.0/20 of host b overlaps 10.20.0.0/20 of host a, line 11"),
        ("10.20.16.0/20", "10.20.16.0/20\", \"10.20.16.0/20", "slice 10.20.16.0/20 overlaps 10.20.16.0/20 of the same host b, line 15"),
        ("10.20.16.0/20", "10.20.17.0/20", "10.20.17.0/20 has host bits set; write 10.20.16.0/20"),
        ("10.20.16.0/20", "10.20.16.0/255.255.240.0", "10.20.16.0/255.255.240.0 has a netmask; write 10.20.16.0/20"),
        ("10.20.16.0/20", " 10.20.16.0/20", "is not a prefix"),
        ("[[host]]\nname = \"b\"", "[[host]\nname = \"b\"", "/p, line 12, column"),
        ("[[host]]\nname = \"b\"", "[host]\nname = \"b\"", "/p, line 12, column"),
    ];

    #[test]
    fn each_mistake_is_refused_with_its_place_and_what_to_write() {
        let mut differ = Vec::new();
        for (from, to, expected) in WRONG {
            assert!(GOOD.contains(from), "{from}");
            let said = said(&GOOD.replacen(from, to, 1));
            if said.len() != 1 || !said[0].contains(expected) || !said[0].starts_with("/p, line ") {
                differ.push(format!("{to}\n{said:#?}\n{expected}"));
            }
        }
        assert!(differ.is_empty(), "{}", differ.join("\n"));
    }

    #[test]
    fn all_mistakes_are_found_at_once_in_the_order_of_the_file() {
        let text = GOOD.replace("\"192.0.2.12\"", "\"x\"").replace("10.20.16.0/20", "10.20.0.0/20");
        let said = said(&text);
        assert!(said.len() == 2 && said[0].contains("line 14") && said[1].contains("line 15"), "{said:?}");
        let error = Division::parse(&text, Path::new("/p")).unwrap_err().to_string();
        assert!(error.ends_with("(and 1 more; list them with gipam plan check /p)"), "{error}");
    }

    #[test]
    fn slices_in_the_part_by_number_are_single_addresses() {
        let file = |by_number: &str, slice: &str| {
            format!(
                "[[pool]]\nbase = \"192.0.2.0/24\"\nslice = 28\nby_number = {by_number:?}\n[[host]]\nname = \"a\"\n\
                 via = [\"198.51.100.1\"]\nslices = [{slice:?}]\n"
            )
        };
        for slice in ["192.0.2.241/32", "192.0.2.16/28"] {
            assert!(Division::parse(&file("192.0.2.240/29", slice), Path::new("/p")).is_ok(), "{slice}");
        }
        for (by_number, slice, expected) in [
            ("192.0.2.240/29", "192.0.2.240/28", "must be a /32, as all slices of the part 192.0.2.240/29"),
            ("192.0.2.240/29", "192.0.2.17/32", "must be a /28, as all slices of pool 192.0.2.0/24"),
            ("203.0.113.0/29", "192.0.2.16/28", "203.0.113.0/29 lies outside 192.0.2.0/24"),
        ] {
            let said = said(&file(by_number, slice));
            assert!(said.len() == 1 && said[0].contains(expected), "{said:?}");
        }
    }

    #[test]
    fn a_file_without_pools_or_hosts_is_refused() {
        for (text, expected) in [
            ("", "plan file /p is empty; write a [[pool]]"),
            (" \n", "plan file /p is empty"),
            ("# later\n", "/p, line 1, column 1: [[pool]] is missing; a plan file has at least one"),
            ("[[pool]]\nbase = \"192.0.2.0/24\"\nslice = 26\n", "[[host]] is missing"),
            ("\u{feff}[[pool]]", "plan file /p begins with a byte order mark"),
        ] {
            assert!(said(text)[0].contains(expected), "{text:?}: {:?}", said(text));
        }
    }

    #[test]
    fn what_is_not_a_plan_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plan.toml");
        let said = || Division::read(&path).unwrap_err().lines().concat();
        assert!(said().contains("cannot be read") && said().contains("No such file"), "{}", said());
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(said().ends_with("is not UTF-8 text"), "{}", said());
        let large = usize::try_from(super::super::file::MOST_BYTES).unwrap() + 1;
        std::fs::write(&path, vec![b'\n'; large]).unwrap();
        assert!(said().ends_with("is larger than 4 MiB"), "{}", said());
        std::fs::write(&path, GOOD).unwrap();
        assert!(Division::read(&path).is_ok());
        let said = Division::read(directory.path()).unwrap_err().to_string();
        assert!(said.ends_with("is not a regular file"), "{said}");
    }
}
