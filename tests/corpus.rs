//! THE FUZZ CORPUS AS A PLAIN TEST: runs the seeds (recorded conversations, the configuration and lease files
//! of this repository) and all earlier finds (`fuzz/corpus/`) through the functions that the fuzz targets
//! call.
//!
//! With `GIPAM_SEEDS=DIR` the seeds are also written there, one directory per target, to start a fuzzer from.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support {
    pub mod fuzzed;
    #[allow(dead_code, reason = "shared with other tests")]
    pub mod invariants;
    #[allow(dead_code, reason = "only the invariants refer to it")]
    pub mod model;
    #[allow(dead_code, reason = "only the invariants refer to it")]
    pub mod rows;
}

use std::fs;
use std::path::{Path, PathBuf};

use support::fuzzed;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &str, ending: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(root().join(under)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The recorded conversations, a few calls per seed.
fn conversations() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for file in files("tests/wire/fixtures", ".txt") {
        let text = String::from_utf8(file).unwrap();
        let recorded = |line: &str| Some(line.rsplit_once(" = ")?.0.to_owned());
        let bodies = text.split("----\n").filter_map(|call| {
            let method =
                call.lines().next()?.strip_prefix("POST /IpamDriver.")?.split(' ').next()?.to_owned();
            Some(format!("{method} {}", call.split_once("\n\n")?.1.trim()))
        });
        let calls = text.lines().filter(|line| line.starts_with("Re")).filter_map(recorded);
        let calls: Vec<String> = calls.chain(bodies).collect();
        assert!(calls.len() > 5, "a fixture does not contain calls");
        seeds.extend(calls.chunks(12).map(|calls| calls.join("\n").into_bytes()));
    }
    seeds
}

/// Runs every seed of a target, and its earlier finds.
fn run(target: &str, seeds: Vec<Vec<u8>>, look: fn(&[u8])) {
    assert!(!seeds.is_empty(), "{target} has no seeds");
    if let Some(directory) = std::env::var_os("GIPAM_SEEDS") {
        let directory = Path::new(&directory).join(target);
        fs::create_dir_all(&directory).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(directory.join(format!("seed-{number:03}")), seed).unwrap();
        }
    }
    for bytes in seeds.iter().chain(&files(&format!("fuzz/corpus/{target}"), "")) {
        look(bytes);
        // An input that is cut off at any point must be just as harmless.
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 16) {
            look(&bytes[..cut]);
        }
    }
}

#[test]
fn wire_bodies() {
    run("wire", conversations(), fuzzed::wire);
}

#[test]
fn configuration_files() {
    let pages = files("docs", ".md").into_iter().flat_map(|page| {
        let text = String::from_utf8(page).unwrap();
        let blocks: Vec<_> = text
            .split("```toml\n")
            .skip(1)
            .map(|it| it.split("```").next().unwrap().as_bytes().to_vec())
            .collect();
        blocks
    });
    // Most settings of the packaged file are in comments, so it is a seed as it is and with them uncommented.
    let packaged = files("packaging", "gipam.toml");
    let open = packaged.iter().map(|file| String::from_utf8_lossy(file).replace("\n#", "\n").into_bytes());
    let seeds = open.chain(packaged.clone()).chain(pages).collect();
    run("configuration", seeds, fuzzed::configuration);
}

#[test]
fn lease_files() {
    run("lease_file", files("src/store/old_gipam/fixtures", ".json"), fuzzed::lease_file);
}

#[test]
fn rows_of_the_books() {
    let values = [
        "",
        "0",
        "-1",
        "9223372036854775807",
        "10.123.0.0/24",
        "fd12:3400::/64",
        "gateway",
        "{}",
        "local",
        "v4",
    ];
    let seeds = (0..40u8).flat_map(|column| {
        values
            .iter()
            .enumerate()
            .map(move |(how, value)| [&[column, how as u8 % 3], value.as_bytes()].concat())
    });
    run("rows", seeds.collect(), fuzzed::rows);
}

#[test]
fn plan_files() {
    let pages = files("docs", ".md").into_iter().flat_map(|page| {
        let text = String::from_utf8(page).unwrap();
        let blocks = text.split("```toml\n").skip(1).filter(|block| block.contains("[[host]]"));
        blocks.map(|it| it.split("```").next().unwrap().as_bytes().to_vec()).collect::<Vec<_>>()
    });
    let plain = "[[pool]]\nv4 = { base = \"10.8.0.0/16\", slice = 20 }\n\n[[host]]\nname = \"a\"\nvia = [\"192.0.2.11\"]\nslices = [\"10.8.0.0/20\"]\n";
    run("plan_file", pages.chain([plain.as_bytes().to_vec()]).collect(), fuzzed::plan_file);
}

/// Records as hosts write them, and some that only another program would.
#[test]
fn records_of_a_store() {
    let plan = |epoch: u64, settled: u64| {
        format!(
            "plan {{\"version\":1,\"id\":\"p\",\"epoch\":{epoch},\"mark\":\"m\",\"settled\":{settled}}}\n"
        )
    };
    let host = |id: &str, beat: u64| {
        format!(
            "host/{id} {{\"name\":\"{id}\",\"via\":[],\"fenced\":null,\"beat\":{beat},\"epoch\":1,\"mark\":\"m\",\"machine\":\"\",\"run\":\"x\"}}\n"
        )
    };
    let slice = |key: &str, host: &str, seq: u64| {
        format!("slice/v4/{key} {{\"host\":\"{host}\",\"seq\":{seq},\"epoch\":1,\"run\":\"x\"}}\n")
    };
    let pool = "pool/v4/10.0.0.0/16 {\"slice\":20,\"shared\":false,\"by_number\":null}\n".to_owned();
    let most = u64::MAX;
    let seeds = [
        [plan(1, 1), host("b", 1), slice("0a002000-20", "b", 1), pool.clone()].concat(),
        [plan(2, 1), host("a", 9), host("b", 1), slice("0a001000-20", "a", 7)].concat(),
        [plan(1, 1), host("a", 3), slice("0a001000-20", "b", 1), pool].concat(),
        [plan(most, most), host("a", most), host("b", most), slice("0a001000-20", "a", most)].concat(),
        [plan(1, 1), slice("0a001000-255", "b", 1), slice("ffffffffffffffffffffffffffffffff-20", "a", 1)]
            .concat(),
        "plan {}\nhost/a {}\nslice/v4/0a001000-20 {}\npool/v4/10.0.0.0/16 []\n".to_owned(),
    ];
    let seeds = seeds.map(String::into_bytes);
    run("store_records", seeds.to_vec(), fuzzed::store_records);
}
