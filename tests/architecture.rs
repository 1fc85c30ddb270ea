//! The architecture: which module may use which others, and how large one may be.
//!
//! Promises: compares the table of ARCHITECTURE.md with the code. Only reads the sources.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and the modules that it may use, as ARCHITECTURE.md says.
const MAY_USE: [(&str, &[&str]); 25] = [
    ("plan", &[]),
    ("server", &["processes"]),
    ("processes", &[]),
    ("host", &["plan"]),
    ("text", &[]),
    ("json", &[]),
    ("clock", &["plan"]),
    ("config", &["plan"]),
    ("settle", &["plan", "config"]),
    ("store", &["plan", "json", "text"]),
    ("ledger", &["plan", "store", "clock"]),
    ("hooks", &["plan", "store", "ledger", "config", "server", "clock", "text", "view"]),
    ("claims", &["plan", "ledger", "config", "clock"]),
    ("view", &["plan", "store", "ledger", "config", "clock", "reconcile", "claims", "text"]),
    ("edge", &["plan", "ledger", "config", "clock", "claims", "host", "hooks", "text", "view"]),
    ("probe", &["plan", "ledger", "clock", "host", "view"]),
    ("watch", &["plan", "store", "ledger", "config", "clock", "hooks", "view"]),
    ("docker", &["plan", "ledger", "server", "config", "clock", "probe", "processes", "json", "text"]),
    ("reconcile", &["plan", "store", "ledger", "docker", "clock", "text"]),
    (
        "admin",
        &[
            "plan",
            "store",
            "ledger",
            "server",
            "docker",
            "config",
            "settle",
            "clock",
            "reconcile",
            "claims",
            "edge",
            "hooks",
            "probe",
            "watch",
            "text",
            "view",
        ],
    ),
    (
        "web",
        &[
            "plan",
            "store",
            "ledger",
            "server",
            "docker",
            "config",
            "clock",
            "reconcile",
            "claims",
            "hooks",
            "watch",
            "admin",
            "view",
        ],
    ),
    (
        "daemon",
        &[
            "plan",
            "store",
            "ledger",
            "server",
            "docker",
            "config",
            "settle",
            "clock",
            "processes",
            "host",
            "admin",
            "reconcile",
            "claims",
            "edge",
            "hooks",
            "probe",
            "watch",
            "web",
            "text",
        ],
    ),
    ("doctor", &["plan", "store", "server", "config", "clock", "host", "probe", "text", "view"]),
    ("renumber", &["plan", "server", "docker", "view"]),
    (
        "cli",
        &[
            "daemon",
            "admin",
            "server",
            "config",
            "reconcile",
            "renumber",
            "claims",
            "web",
            "doctor",
            "text",
            "view",
        ],
    ),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 40, "too few source files were found");
    found
}

/// The module of a file: `src/plan/mod.rs` and `src/clock.rs` are `plan` and `clock`.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests") || path.to_string_lossy().ends_with("tests.rs")
}

/// The modules that a text names with `crate::`, except in test modules.
fn used(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let code =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut names = Vec::new();
    for part in code.split("crate::").skip(1) {
        let list = part.strip_prefix('{').and_then(|list| list.split('}').next());
        let heads: Vec<&str> = list.map_or_else(|| vec![part], |list| list.split(',').collect());
        for head in heads {
            let head = head.trim();
            names
                .push(head.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned());
        }
    }
    names
}

#[test]
fn modules_use_only_the_modules_that_they_may() {
    let table: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let module = module(&path);
        let Some(may) = table.get(module.as_str()) else {
            assert!(module == "lib" || module == "main", "{module} is missing from the table");
            continue;
        };
        for name in used(&text) {
            if table.contains_key(name.as_str()) && name != module && !may.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} may not use {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_equals_that_of_architecture_md() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for (module, may) in MAY_USE {
        let row = format!(
            "| `{module}` | {} |",
            if may.is_empty() { "nothing".to_owned() } else { may.join(", ") }
        );
        assert!(page.contains(&row), "ARCHITECTURE.md lacks: {row}");
    }
}

/// Whether a file belongs to a part that does no I/O and reads no clock.
fn is_pure(path: &Path) -> bool {
    module(path) == "plan" || path.to_string_lossy().contains("/src/claims/machine/")
}

#[test]
fn the_plan_and_the_machine_of_claims_are_pure() {
    let banned = [
        "SystemTime",
        "Instant::now",
        "tokio",
        "tracing",
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "rustix",
        "std::env",
    ];
    for (path, text) in sources().into_iter().filter(|(path, _)| is_pure(path) && !is_test(path)) {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in banned {
                assert!(!line.contains(word), "{}: {line}", path.display());
            }
        }
    }
}

#[test]
fn every_file_begins_with_a_doc_comment_and_stays_short() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not begin with //!", path.display());
        let lines = text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}

#[test]
fn one_program_is_run_installed_packed_and_measured() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let manifest = read("Cargo.toml");
    let profiles: Vec<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("[profile.")?.strip_suffix(']'))
        .filter(|name| !name.contains('.'))
        .collect();
    assert_eq!(profiles, ["release", "dev"], "another profile would build everything again");
    for (path, wanted) in [
        ("Makefile", "scripts/package.sh program"),
        ("scripts/demo.sh", "scripts/package.sh program"),
        ("scripts/bench.sh", "scripts/package.sh measured"),
        ("scripts/bench.sh", "scripts/package.sh guarded"),
        ("docs/install.md", "target/package/gipam"),
    ] {
        let text = read(path);
        assert!(text.contains(wanted), "{path} does not use {wanted}");
        assert!(!text.contains("build --release"), "{path} builds another program");
    }
}

#[test]
fn the_docs_name_the_rust_version_of_the_manifest() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    for page in [include_str!("../README.md"), include_str!("../docs/install.md")] {
        assert!(page.contains(&format!("Rust {version} or later")), "{version}");
    }
}

/// Names of types that files define, with the files; associated types do not count as definitions.
fn type_names() -> BTreeMap<String, Vec<PathBuf>> {
    let mut names: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let is_test = |path: &Path| path.to_string_lossy().ends_with("tests.rs");
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        for line in text[..tests].lines() {
            let words: Vec<&str> =
                line.split_whitespace().skip_while(|word| word.starts_with("pub")).collect();
            let associated = line.starts_with(' ') && words.first() == Some(&"type");
            if let [what, name, ..] = words[..]
                && ["struct", "enum", "trait", "type", "union"].contains(&what)
                && !associated
            {
                let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // A name that a macro fills in is empty here.
                if !name.is_empty() {
                    names.entry(name).or_default().push(path.clone());
                }
            }
        }
    }
    names
}

#[test]
fn every_type_name_is_defined_once() {
    let names = type_names();
    assert!(names.len() > 300, "{}", names.len());
    let twice: Vec<_> = names.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

#[test]
fn no_file_is_longer_than_450_lines() {
    let long: Vec<_> = sources().into_iter().map(|(path, text)| (text.lines().count(), path)).collect();
    let long: Vec<_> = long.into_iter().filter(|(lines, _)| *lines > 450).collect();
    assert!(long.is_empty(), "{long:?}");
}

/// Rust and assets without tests: the part of a file before its test module.
fn source_lines() -> usize {
    let rust = sources().into_iter().filter(|(path, _)| !is_test(path));
    let rust = rust.map(|(_, text)| text.split("#[cfg(test)]\nmod ").next().unwrap_or(&text).lines().count());
    let assets = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/assets")).unwrap();
    let assets = assets.map(|file| fs::read_to_string(file.unwrap().path()).unwrap().lines().count());
    rust.sum::<usize>() + assets.sum::<usize>()
}

/// A change that adds lines must remove others, or raise the number in ARCHITECTURE.md.
#[test]
fn src_is_not_larger_than_architecture_md_says() {
    let page = include_str!("../ARCHITECTURE.md");
    let said =
        page.split("lines, tests excluded").next().unwrap().rsplit("`src/` has at most ").next().unwrap();
    let said: usize = said.trim().replace(',', "").parse().expect("a number of lines in ARCHITECTURE.md");
    let lines = source_lines();
    assert!(
        lines <= said && lines + 500 > said,
        "src has {lines} lines, ARCHITECTURE.md says at most {said}"
    );
}
