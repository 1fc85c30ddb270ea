//! Compares docs/troubleshooting.md with the sources: the program can print each of its messages, and every
//! message that Docker's users see is listed.
//!
//! Promises: fails for an entry whose text is not in any source, and for a refusal of the plan without an
//! entry. All placeholders are alike (`{path}` in the page matches `{}` in the source). Cannot tell whether
//! an explanation is true.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../docs/troubleshooting.md");

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// A source with each text on one line: continued lines are joined, and escaped quotes are unescaped.
fn joined(source: &str) -> String {
    let mut parts = source.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start()).replace("\\\"", "\u{1}")
}

/// The fixed parts of a message, between its placeholders.
fn fixed(message: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_u32;
    for character in message.chars() {
        match character {
            '{' => {
                depth += 1;
                if depth == 1 {
                    parts.push(String::new());
                }
            }
            '}' => depth = depth.saturating_sub(1),
            '"' if depth == 0 => parts.last_mut().unwrap().push('\u{1}'),
            other if depth == 0 => parts.last_mut().unwrap().push(other),
            _ => {}
        }
    }
    parts
}

/// Whether one text of a source has these parts in this order, with only placeholders in between.
fn has(source: &str, parts: &[String]) -> bool {
    let rest_fits = |mut rest: &str| {
        for part in &parts[1..] {
            let placeholder = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let Some(after) = placeholder.and_then(|(_, after)| after.strip_prefix(part.as_str())) else {
                return false;
            };
            rest = after;
        }
        true
    };
    match parts[0].as_str() {
        "" => source.match_indices('{').any(|(at, _)| rest_fits(&source[at..])),
        first => source.match_indices(first).any(|(at, _)| rest_fits(&source[at + first.len()..])),
    }
}

/// The entries of the page: their messages, and the explanation.
fn entries(page: &str) -> Vec<(Vec<String>, String)> {
    let mut entries: Vec<(Vec<String>, String)> = Vec::new();
    for line in page.lines() {
        let message = |text: &str| Some(text.strip_prefix('`')?.strip_suffix("`\\")?.to_owned());
        let last = entries.last_mut();
        match (line.strip_prefix("* ").and_then(message), line.strip_prefix("  "), last) {
            (Some(first), ..) => entries.push((vec![first], String::new())),
            (None, Some(text), Some((messages, why))) => match message(text) {
                Some(further) if why.is_empty() => messages.push(further),
                _ => why.push_str(text),
            },
            _ => {}
        }
    }
    entries
}

#[test]
fn every_entry_is_a_message_of_the_program_and_says_what_to_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let files: Vec<String> = files.iter().map(|path| joined(&fs::read_to_string(path).unwrap())).collect();
    let entries = entries(PAGE);
    assert!(
        (35..=60).contains(&entries.len()),
        "{} entries: the page should list only what operators meet",
        entries.len()
    );
    let mut seen: Vec<&String> = entries.iter().flat_map(|(messages, _)| messages).collect();
    let gone: Vec<_> =
        seen.iter().filter(|message| !files.iter().any(|file| has(file, &fixed(message)))).collect();
    let bare: Vec<_> = entries.iter().filter(|(_, why)| why.len() < 20).collect();
    assert!(gone.is_empty() && bare.is_empty(), "no source has {gone:#?}\nwithout an explanation: {bare:#?}");
    seen.sort_unstable();
    assert!(seen.windows(2).all(|two| two[0] != two[1]), "duplicate entry");
}

/// A refusal reaches the user of Docker, who sees only its text.
#[test]
fn every_refusal_that_docker_shows_has_an_entry() {
    let source = include_str!("../src/plan/error.rs");
    let entries: Vec<Vec<String>> =
        entries(PAGE).into_iter().flat_map(|(messages, _)| messages).map(|message| fixed(&message)).collect();
    let mut count = 0;
    for part in joined(source).split("format!(").skip(1) {
        let message = part.trim_start().strip_prefix('"').and_then(|text| text.split('"').next()).unwrap();
        // What follows the phrase is a part of a refusal.
        if !message.contains(": ") {
            continue;
        }
        count += 1;
        assert!(entries.contains(&fixed(message)), "docs/troubleshooting.md lacks: {message}");
    }
    assert!(count > 12, "{count}");
}

#[test]
fn a_message_is_found_in_its_source_and_nowhere_else() {
    let source = joined("#[error(\"one {two:?} \\\n            three\")]\nformat!(\"it \\\"is\\\" {}\", x)");
    for (message, found) in [
        ("one {x} three", true),
        ("it \"is\" {0}", true),
        ("{x} three", true),
        ("one {x} four", false),
        ("one three", false),
    ] {
        assert_eq!(has(&source, &fixed(message)), found, "{message}");
    }
}
