//! The crates built into the program (an SBOM in CycloneDX's JSON), with their licences and licence texts.
//!
//! Promises: every crate that cargo resolves for the program on the requested target is named with version,
//! source, checksum and licence; crates used only while building are marked as such; the result does not
//! depend on paths or clocks (`SOURCE_DATE_EPOCH` is the time). C code inside crates (SQLite, AWS-LC) is
//! described only as the crates describe it.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A crate, as cargo knows it.
pub struct Crate {
    pub id: String,
    pub name: String,
    pub version: String,
    pub licence: String,
    pub source: Option<String>,
    /// The checksum of the package file in the registry, from `Cargo.lock`.
    pub checksum: Option<String>,
    /// Used only by the compiler: macros, build scripts and what they need.
    pub building: bool,
    needs: Vec<String>,
    directory: PathBuf,
}

/// The default target: this machine's.
pub fn here() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Every crate of the program, itself included, sorted by name; crates that only tests use are left out.
pub fn crates(target: &str) -> Result<Vec<Crate>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
    let output = Command::new(cargo).args(words).current_dir(root).output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let known: Value = serde_json::from_slice(&output.stdout)?;
    let checksums = checksums(&fs::read_to_string(root.join("Cargo.lock"))?)?;
    let nodes: BTreeMap<&str, &Value> =
        list(&known["resolve"]["nodes"]).map(|node| (text(&node["id"]), node)).collect();
    let start = text(&known["resolve"]["root"]);
    let macros: BTreeSet<&str> = list(&known["packages"])
        .filter(|package| list(&package["targets"]).any(|target| target["kind"][0] == "proc-macro"))
        .map(|package| text(&package["id"]))
        .collect();
    let inside = reachable(&nodes, start, |id, kind| kind.is_null() && !macros.contains(id));
    let all = reachable(&nodes, start, |_, kind| kind != "dev");
    let mut found: Vec<Crate> = list(&known["packages"])
        .filter(|package| all.contains(text(&package["id"])))
        .map(|package| {
            let (name, version) = (text(&package["name"]), text(&package["version"]));
            let id = text(&package["id"]);
            let needs =
                list(&nodes[id]["deps"]).map(|need| text(&need["pkg"])).filter(|need| all.contains(need));
            Crate {
                id: id.to_owned(),
                name: name.to_owned(),
                version: version.to_owned(),
                licence: text(&package["license"]).replace('/', " OR "),
                source: package["source"].as_str().map(str::to_owned),
                checksum: checksums.get(&(name.to_owned(), version.to_owned())).cloned(),
                building: !inside.contains(id),
                needs: needs.map(str::to_owned).collect(),
                directory: Path::new(text(&package["manifest_path"])).parent().unwrap_or(root).to_owned(),
            }
        })
        .collect();
    found.sort_by(|one, two| (&one.name, &one.version).cmp(&(&two.name, &two.version)));
    Ok(found)
}

/// The crates that can be reached over the edges that `allowed` accepts.
fn reachable<'a>(
    nodes: &BTreeMap<&'a str, &'a Value>,
    start: &'a str,
    allowed: impl Fn(&str, &Value) -> bool,
) -> BTreeSet<&'a str> {
    let (mut found, mut left) = (BTreeSet::from([start]), vec![start]);
    while let Some(id) = left.pop() {
        for need in nodes.get(id).into_iter().flat_map(|node| list(&node["deps"])) {
            let to = text(&need["pkg"]);
            let ways = list(&need["dep_kinds"]).any(|way| allowed(to, &way["kind"]));
            if ways && found.insert(to) {
                left.push(to);
            }
        }
    }
    found
}

fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>, Box<dyn Error>> {
    let lock: toml::Table = lock.parse()?;
    let packages =
        lock.get("package").and_then(toml::Value::as_array).ok_or("Cargo.lock does not contain packages")?;
    let word =
        |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let row =
        |package| Some(((word(package, "name")?, word(package, "version")?), word(package, "checksum")?));
    Ok(packages.iter().filter_map(row).collect())
}

/// Writes `gipam.cdx.json` and `THIRD-PARTY.txt`.
pub fn write(directory: &Path, target: &str) -> Result<(), Box<dyn Error>> {
    let crates = crates(target)?;
    fs::write(directory.join("gipam.cdx.json"), serde_json::to_string_pretty(&bill(&crates)?)? + "\n")?;
    fs::write(directory.join("THIRD-PARTY.txt"), licences(&crates)?)?;
    Ok(())
}

/// The bill of materials.
pub fn bill(crates: &[Crate]) -> Result<Value, Box<dyn Error>> {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok().map_or(Ok(0), |text| text.parse())?;
    let of = |id: &str| crates.iter().find(|one| one.id == id).map(address);
    let depends = |one: &Crate| {
        let mut needs: Vec<String> = one.needs.iter().filter_map(|id| of(id)).collect();
        needs.sort();
        json!({ "ref": address(one), "dependsOn": needs })
    };
    let (own, others): (Vec<&Crate>, Vec<&Crate>) = crates.iter().partition(|one| one.source.is_none());
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": jiff::Timestamp::from_second(seconds)?.to_string(),
            "component": own.first().map(|one| component(one, "application")),
        },
        "components": others.iter().map(|one| component(one, "library")).collect::<Vec<_>>(),
        "dependencies": crates.iter().map(depends).collect::<Vec<_>>(),
    }))
}

fn address(one: &Crate) -> String {
    format!("pkg:cargo/{}@{}", one.name, one.version)
}

fn component(one: &Crate, kind: &str) -> Value {
    let mut row = json!({
        "type": kind,
        "bom-ref": address(one),
        "name": one.name,
        "version": one.version,
        "scope": if one.building { "excluded" } else { "required" },
        "licenses": [{ "expression": one.licence }],
        "purl": address(one),
    });
    if let Some(sum) = &one.checksum {
        row["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    row
}

/// The licence report: a table of the crates, then every licence text once, with the crates that use it.
pub fn licences(crates: &[Crate]) -> Result<String, Box<dyn Error>> {
    let mut page = String::from(
        "gipam is under the Apache License 2.0. Built into it, each under its own licence:\n\n\
         Rust's standard library (MIT OR Apache-2.0)\n\
         the GNU C Library, in the static build (LGPL-2.1-or-later): Debian's glibc of the machine that built it;\n  \
         gipam's own source is all that is needed to link it with another one\n",
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in crates.iter().filter(|one| !one.building && one.source.is_some()) {
        let name = format!("{} {}", one.name, one.version);
        writeln!(page, "{name} ({})", one.licence)?;
        for entry in fs::read_dir(&one.directory)? {
            let path = entry?.path();
            let word = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            let heads = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
            if path.is_file() && heads.iter().any(|head| word.starts_with(head)) {
                texts.entry(fs::read_to_string(path)?.trim().to_owned()).or_default().push(name.clone());
            }
        }
    }
    for (text, mut names) in texts {
        names.sort();
        names.dedup();
        write!(page, "\n{}\n{}\n\n{text}\n", "=".repeat(100), names.join(", "))?;
    }
    Ok(page)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
