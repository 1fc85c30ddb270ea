//! Files that are packaged with the program: manual pages and completions cover the whole command line, the
//! bill of materials covers the whole lock file, and every crate comes from an allowed source under an
//! allowed licence.
//!
//! Needs neither network nor tools other than cargo. Does not check for known vulnerabilities, whose list is
//! on the network.

#![cfg(test)]

#[path = "../examples/papers/bill.rs"]
mod bill;
#[path = "../examples/papers/pages.rs"]
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Licences allowed for a crate; one of its alternatives suffices. All let the program be distributed under
/// Apache 2.0.
const LICENCES: [&str; 8] =
    ["Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unicode-3.0", "Zlib", "CC0-1.0"];
/// Never in the program: crates that call C libraries of the machine, a second TLS library, or crates that we
/// rejected.
const BANNED: [&str; 6] = ["openssl", "openssl-sys", "native-tls", "aws-lc-sys", "chrono", "bollard"];

/// Every command as a list of words, gipam itself first.
fn commands() -> Vec<(Vec<String>, clap::Command)> {
    let mut left = vec![(vec!["gipam".to_owned()], gipam::cli::definition())];
    let mut found = Vec::new();
    while let Some((words, command)) = left.pop() {
        for below in command.get_subcommands() {
            let words = words.iter().cloned().chain([below.get_name().to_owned()]).collect();
            left.push((words, below.clone()));
        }
        found.push((words, command));
    }
    found
}

/// A command's own options; the global ones belong to gipam itself.
fn options(command: &clap::Command) -> Vec<String> {
    command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

#[test]
fn manual_pages_cover_every_command_and_option() {
    let place = tempfile::tempdir().unwrap();
    pages::write(&gipam::cli::definition(), place.path()).unwrap();
    let all = commands();
    assert!(all.len() > 10, "{all:?}");
    for (words, command) in &all {
        let path = place.path().join(format!("man1/{}.1", words.join("-")));
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let about = command.get_about().unwrap_or_else(|| panic!("{words:?} has no description")).to_string();
        assert!(
            page.contains(".SH NAME") && page.contains(&about.replace('-', "\\-").replace('\'', "\\*(Aq")),
            "{page}"
        );
        for option in options(command) {
            let spelled = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(page.contains(&spelled), "{words:?} lacks --{option}: {page}");
        }
    }
    assert_eq!(fs::read_dir(place.path().join("man1")).unwrap().count(), all.len());
    let first = fs::read_to_string(place.path().join("man1/gipam.1")).unwrap();
    assert!(first.contains(".SH FILES") && first.contains(".SH \"EXIT STATUS\""), "{first}");
}

#[test]
fn completions_cover_every_command_and_option() {
    let place = tempfile::tempdir().unwrap();
    pages::write(&gipam::cli::definition(), place.path()).unwrap();
    for file in ["gipam.bash", "_gipam", "gipam.fish"] {
        let text = fs::read_to_string(place.path().join("completions").join(file)).unwrap();
        for (words, command) in commands() {
            assert!(text.contains(words.last().unwrap()), "{file} lacks {words:?}");
            for option in options(&command) {
                // fish writes "-l admin", the others "--admin"
                let there = text.contains(&format!("--{option}")) || text.contains(&format!("-l {option}"));
                assert!(there, "{file} lacks --{option} of {words:?}");
            }
        }
    }
}

#[test]
fn papers_are_reproducible() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for place in [&one, &two] {
        pages::write(&gipam::cli::definition(), place.path()).unwrap();
        bill::write(place.path(), &bill::here()).unwrap();
    }
    let same = std::process::Command::new("diff").arg("-r").args([one.path(), two.path()]).status().unwrap();
    assert!(same.success());
}

#[test]
fn the_bill_names_every_crate_of_the_program() {
    let crates = bill::crates(&bill::here()).unwrap();
    let bill = bill::bill(&crates).unwrap();
    let rows = bill["components"].as_array().unwrap();
    assert!(rows.len() > 50 && bill["metadata"]["component"]["name"] == "gipam");
    for row in rows {
        let sum = row["hashes"][0]["content"].as_str().unwrap_or_default();
        assert!(sum.len() == 64 && row["licenses"][0]["expression"] != "", "{row}");
    }
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    let names: BTreeMap<_, _> =
        rows.iter().map(|row| (row["name"].as_str().unwrap(), &row["scope"])).collect();
    for direct in manifest["dependencies"].as_table().unwrap().keys() {
        assert_eq!(names[direct.as_str()], "required", "{direct}");
    }
    let shipped = manifest["dependencies"].as_table().unwrap();
    for testing in manifest["dev-dependencies"].as_table().unwrap().keys() {
        assert!(
            // A crate of the tests may also build a crate of the program.
            shipped.contains_key(testing)
                || names.get(testing.as_str()).is_none_or(|scope| **scope != "required"),
            "{testing} is not in the program"
        );
    }
    let refs: BTreeSet<_> = rows.iter().map(|row| row["bom-ref"].as_str()).collect();
    assert_eq!(refs.len(), rows.len());
    let report = bill::licences(&crates).unwrap();
    for one in crates.iter().filter(|one| !one.building && one.source.is_some()) {
        assert!(report.contains(&format!("{} {} (", one.name, one.version)), "{}", one.name);
    }
    assert!(report.contains("TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION"));
}

#[test]
fn crates_come_from_the_registry_under_allowed_licences() {
    for one in bill::crates(&bill::here()).unwrap() {
        let name = format!("{} {}", one.name, one.version);
        let expression = spdx::Expression::parse(&one.licence);
        let expression = expression.unwrap_or_else(|error| panic!("{name}: {:?}: {error}", one.licence));
        let fits = expression.evaluate(|wanted| {
            let id = wanted.license.id().map(|id| id.name);
            wanted.exception.is_none() && id.is_some_and(|id| LICENCES.contains(&id))
        });
        assert!(fits, "{name} is under {}, which is not among {LICENCES:?}", one.licence);
        assert!(!BANNED.contains(&one.name.as_str()), "{name} is banned");
        match &one.source {
            None => assert_eq!(one.name, "gipam", "only gipam comes from a directory"),
            Some(source) => {
                assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{name}");
                assert!(one.checksum.is_some(), "{name} has no checksum in Cargo.lock");
            }
        }
    }
}

#[test]
fn no_crate_of_the_program_has_several_versions() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in bill::crates(&bill::here()).unwrap().into_iter().filter(|one| !one.building) {
        versions.entry(one.name).or_default().push(one.version);
    }
    for (name, versions) in &versions {
        assert!(versions.len() == 1, "{name}: {versions:?}");
    }
}

/// Versions of all packages of a lock file, and the dependencies of `package`.
fn locked(file: &str, package: &str) -> (BTreeSet<(String, String)>, BTreeSet<String>) {
    let lock: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let packages = lock["package"].as_array().unwrap();
    let versions = packages.iter().map(|one| (text(&one["name"]), text(&one["version"]))).collect();
    let named = packages.iter().find(|one| one["name"].as_str() == Some(package)).unwrap();
    (versions, named["dependencies"].as_array().unwrap().iter().map(text).collect())
}

#[test]
fn the_fuzz_targets_are_built_with_the_programs_crates() {
    let manifest: toml::Table = fs::read_to_string("Cargo.toml").unwrap().parse().unwrap();
    let ours: BTreeSet<String> = manifest["dependencies"].as_table().unwrap().keys().cloned().collect();
    let (program, _) = locked("Cargo.lock", "gipam");
    let (fuzzed, known) = locked("fuzz/Cargo.lock", "gipam");
    let known: BTreeSet<String> = known.iter().map(|one| one.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(
        known, ours,
        "fuzz/Cargo.lock is older than Cargo.toml: run cargo metadata in fuzz/ to update it"
    );
    let direct = |versions: &BTreeSet<(String, String)>| -> BTreeSet<(String, String)> {
        versions.iter().filter(|(name, _)| ours.contains(name)).cloned().collect()
    };
    assert_eq!(direct(&fuzzed), direct(&program), "the versions in fuzz/Cargo.lock and Cargo.lock differ");
}

/// A hook's URL or command may contain a password.
#[test]
fn the_install_script_restricts_the_configuration_and_keeps_a_chosen_mode() {
    use std::os::unix::fs::PermissionsExt;
    let (from, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let copy = |name: &str| fs::copy(packaging.join(name), from.path().join(name)).unwrap();
    for directory in ["man1", "completions", "systemd"] {
        fs::create_dir(from.path().join(directory)).unwrap();
    }
    for name in ["install.sh", "gipam.toml", "gipam.env", "systemd/gipam.service", "systemd/gipam.socket"] {
        copy(name);
    }
    for name in
        ["gipam", "man1/gipam.1", "completions/gipam.bash", "completions/_gipam", "completions/gipam.fish"]
    {
        fs::write(from.path().join(name), "x").unwrap();
    }
    let install = || {
        let script = from.path().join("install.sh");
        let run =
            std::process::Command::new("sh").arg(script).arg("--root").arg(root.path()).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    let file = |name: &str| root.path().join("etc/gipam").join(name);
    let modes = || {
        ["gipam.toml", "gipam.env"].map(|name| fs::metadata(file(name)).unwrap().permissions().mode() & 0o777)
    };
    install();
    assert_eq!(modes(), [0o640, 0o640]);
    fs::set_permissions(file("gipam.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(file("gipam.env"), fs::Permissions::from_mode(0o600)).unwrap();
    let said = install();
    assert_eq!(modes(), [0o640, 0o600]);
    assert!(said.contains("was readable by everybody"), "{said}");
}
