//! What comments, tests and pages cite must exist here: facts about Docker (P1 ...), duties (D1 ...), rules
//! (R1 ...), files.
//!
//! A section number without a file of this repository must be that of an RFC or of a published format named
//! on the same line. Does not judge whether the cited rule fits.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 9] =
    ["src", "tests", "docs", "benches", "examples", "fuzz", "packaging", "scripts", ".ci"];
const KINDS: [&str; 7] = ["rs", "md", "sh", "toml", "py", "js", "yml"];
/// Papers that a reader of the repository does not have. Split in halves, so that this file does not cite
/// them.
const ELSEWHERE: [(&str, &str); 4] =
    [("design", ".md"), ("models", ".md"), ("crates", ".md"), ("cases", "/")];

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "corpus" {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known))
            || name == "run"
        {
            found.push(path);
        }
    }
}

/// All texts of the repository, with their names.
fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    FOLDERS.iter().for_each(|folder| walk(&root.join(folder), &mut found));
    let top = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    found.extend(
        top.filter(|path| path.extension().is_some_and(|kind| kind == "md") || path.ends_with("Makefile")),
    );
    let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Words of a text: letters, digits and the characters that join them in names of files and tests.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || "_./-".contains(c)))
        .map(|word| word.trim_matches(['.', '-', '/']))
}

/// Parses `P20.4`, `p12`, `D3`, `R7`: the letter, its number, and the number of a part.
fn numbered(word: &str) -> Option<(char, u32, Option<u32>)> {
    let letter = word.chars().next()?.to_ascii_uppercase();
    let (number, part) =
        word.get(1..)?.split_once('.').map_or((&word[1..], None), |(one, two)| (one, Some(two)));
    let small = |digits: &str| (digits.len() <= 2).then(|| digits.parse().ok()).flatten();
    let part = match part {
        Some(part) => Some(small(part)?),
        None => None,
    };
    "PDR".contains(letter).then_some((letter, small(number)?, part))
}

/// The numbers that a line cites, also in the name of a test (`p20_4_duty_11_...`).
fn cited(line: &str) -> Vec<(char, u32, Option<u32>)> {
    let mut found = Vec::new();
    for word in words(line) {
        if word.starts_with(char::is_uppercase) {
            found.extend(word.split(['-', '/']).filter_map(numbered));
        }
    }
    let named = line.trim_start();
    let named = named.strip_prefix("fn ").unwrap_or(named);
    let pieces: Vec<&str> = named.split(['_', '(', ' ']).collect();
    let (mut at, mut leading) = (0, true);
    while leading && at < pieces.len() && named.contains('_') {
        let next = pieces.get(at + 1).copied().unwrap_or("");
        match (pieces[at], numbered(pieces[at])) {
            ("duty", _) => {
                found.extend(next.parse().ok().map(|number| ('D', number, None)));
                at += 2;
            }
            (piece, Some((letter, number, _))) if piece.starts_with('p') => {
                let part = next.parse().ok();
                found.push((letter, number, part));
                at += 1 + usize::from(part.is_some());
            }
            _ => leading = false,
        }
    }
    found
}

/// Everything that can be cited by a number, in the order of the text.
fn anchors() -> Vec<(char, u32, Option<u32>)> {
    let facts = include_str!("../../docs/docker-facts.md");
    let (mut found, mut fact) = (Vec::new(), 0);
    for line in facts.lines() {
        let heading = line.strip_prefix("### ").or_else(|| line.strip_prefix("| "));
        if let Some((letter, number, _)) = heading.and_then(|rest| numbered(rest.split(' ').next()?)) {
            fact = number;
            found.push((letter, number, None));
        } else if let Some(part) = line.split_once(". ").and_then(|(digits, _)| digits.parse().ok()) {
            found.push(('P', fact, Some(part)));
        }
    }
    let rules = include_str!("../../docs/rules.md").lines();
    found.extend(rules.filter_map(|line| numbered(line.strip_prefix("* **")?.split('*').next()?)));
    found
}

#[test]
fn anchors_are_numbered_without_a_gap() {
    let all = anchors();
    for (letter, last) in [('P', 33), ('D', 17), ('R', 99)] {
        // A rule that was added later is in the section of its topic.
        let mut numbers: Vec<u32> = all
            .iter()
            .filter(|(of, _, part)| *of == letter && part.is_none())
            .map(|(_, number, _)| *number)
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "{letter}");
    }
    assert_eq!(all.iter().filter(|(_, _, part)| part.is_some()).count(), 7, "P20 has seven parts");
}

#[test]
fn every_citation_leads_to_something_in_the_repository() {
    let anchors: BTreeSet<_> = anchors().into_iter().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut wrong, mut count, mut files) = (Vec::new(), 0, 0);
    for (name, text) in texts() {
        for (at, line) in text.lines().enumerate() {
            let mut tell = |what: &str| wrong.push(format!("{name}:{}: {what}: {}", at + 1, line.trim()));
            for one in cited(line) {
                count += 1;
                if !anchors.contains(&one) {
                    tell(&format!("{one:?} is not in docs/docker-facts.md or docs/rules.md"));
                }
            }
            for (first, last) in ELSEWHERE {
                if line.contains(&format!("{first}{last}")) {
                    tell("a paper that is not in this repository");
                }
            }
            let case = |word: &str| {
                word.len() == 3
                    && word.starts_with(['C', 'F'])
                    && numbered(&format!("P{}", &word[1..])).is_some()
            };
            if words(line).any(case) {
                tell("a numbered case that is not in this repository");
            }
            let lower = line.to_ascii_lowercase();
            let section = lower.match_indices("section").any(|(at, word)| {
                let after = lower[at + word.len()..].trim_start_matches('s').trim_start();
                after.starts_with(|c: char| c.is_ascii_digit())
            });
            if section && !line.contains("RFC ") && !line.contains(" format") {
                tell("a section without its document");
            }
            for path in words(line).filter(|word| word.starts_with("tests/") || word.starts_with("src/")) {
                files += 1;
                if !root.join(path).exists() {
                    tell(&format!("{path} does not exist"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} citations lead nowhere:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 150 && files > 30, "{count} citations, {files} files");
}

#[test]
fn citations_are_recognised() {
    let of = |line: &str| {
        cited(line).into_iter().map(|(letter, number, _)| format!("{letter}{number}")).collect::<Vec<_>>()
    };
    assert_eq!(of("//! P8, P20.4 and duty (R7-R9)"), ["P8", "P20", "R7", "R9"]);
    assert_eq!(of("fn p20_4_duty_11_a_refused_v6() {"), ["P20", "D11"]);
    assert_eq!(of("    duty_3_restarts [\"x\"];"), ["D3"]);
    assert!(of("let p2 = R; // 10 D3D, AP12, P123").is_empty());
    assert_eq!(numbered("P20.4"), Some(('P', 20, Some(4))));
}
