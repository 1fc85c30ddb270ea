//! docs/troubleshooting.md against the sources: what the program can say has an entry there, and every entry is something
//! that the program can say.
//!
//! Promises: read from the sources are the texts of `#[error(...)]`, of `warn!` and `error!`, and those handed to the
//! constructors of refusals ([`mouth`]); an entry is missing, or matches nothing any more, is a failure, which prints a
//! ready skeleton. Placeholders are all alike (`{path}` in the page matches `{}` in the source). Does not look at `doctor`
//! (it says itself what to do) nor at the page's own answers, and cannot tell whether an entry is true.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Functions and methods of the sources that make a refusal or a warning of a text.
const MAKERS: [&str; 7] = ["invalid", "missing", "refuse", "unavailable", "told", "note", "warnings.push"];
/// Names under which a text is kept that becomes a refusal or a warning.
const KEPT: [&str; 4] = ["lettext=", "letwarning=", "why:", "text:"];
/// Rooms in which only the errors and the log count.
const QUIET: [&str; 2] = ["doctor", "web"];

/// One text of the sources.
struct Literal {
    text: String,
    /// The source before it, without blanks.
    before: String,
    /// Whether it follows the opening of `warn!` or `error!`, fields aside.
    logged: bool,
}

/// The texts of a source, comments, characters and test modules left out.
fn literals(source: &str) -> Vec<Literal> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or(source);
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let mut code = String::new(); // what was read, texts and comments left out
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if let Some((text, length)) = raw(rest, &code).or_else(|| plain(rest)) {
            found.push(Literal { text, before: tail(&code), logged: logged(&code) });
            code.push('"');
            at += length;
        } else {
            let length = character(rest).unwrap_or_else(|| rest.chars().next().map_or(1, char::len_utf8));
            code.push_str(&rest[..length]);
            at += length;
        }
    }
    found
}

/// A raw text at the start, and its length in the source.
fn raw(rest: &str, code: &str) -> Option<(String, usize)> {
    let hashes = rest.strip_prefix('r')?.bytes().take_while(|byte| *byte == b'#').count();
    let inside = rest.get(1 + hashes..)?.strip_prefix('"')?;
    if code.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let end = inside.find(&format!("\"{}", "#".repeat(hashes)))?;
    Some((inside[..end].to_owned(), 1 + hashes + 1 + end + 1 + hashes))
}

/// A text at the start, its continued lines joined, and its length in the source.
fn plain(rest: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut characters = rest.strip_prefix('"')?.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((text, at + 2)),
            '\\' => match characters.next()?.1 {
                '\n' => while characters.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                'n' => text.push('\n'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}

/// The length of a character such as `'"'` or `'\n'` at the start; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    if let Some(escaped) = inside.strip_prefix('\\') {
        let from = escaped.chars().next()?.len_utf8();
        return escaped[from..].find('\'').map(|end| 1 + 1 + from + end + 1);
    }
    let one = inside.chars().next()?.len_utf8();
    inside[one..].starts_with('\'').then_some(1 + one + 1)
}

/// The last of the code, without blanks and `return`.
fn tail(code: &str) -> String {
    let from = code.char_indices().rev().nth(200).map_or(0, |(at, _)| at);
    code[from..].split_whitespace().filter(|word| *word != "return").collect()
}

/// Whether only fields stand between the opening of `warn!` or `error!` and here.
fn logged(code: &str) -> bool {
    let opened = ["warn!(", "error!("].iter().filter_map(|name| Some(code.rfind(name)? + name.len())).max();
    let Some(fields) = opened.map(|from| &code[from..]) else { return false };
    let open = |sign| fields.matches(sign).count();
    !fields.contains(['"', ';', '{']) && open('(') == open(')')
}

/// Whether what comes after this is an error's text, or one handed to whoever refuses or warns.
fn mouth(before: &str, room: &str) -> bool {
    if before.ends_with("#[error(") {
        return true;
    }
    let before = before.strip_suffix("format!(").unwrap_or(before).trim_end_matches('&');
    if QUIET.contains(&room) {
        return false;
    }
    let word = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '.');
    if KEPT.iter().any(|name| before.ends_with(name)) {
        return true;
    }
    let (opened, list) = match before.rsplit_once('(') {
        Some((opened, list)) => (opened.rsplit(word).next().unwrap_or(""), list),
        None => return false,
    };
    let optional = room == "plan" && opened == "Some" && list.is_empty();
    let made =
        optional || MAKERS.iter().any(|maker| opened == *maker || opened.ends_with(&format!(".{maker}")));
    let built = opened.rsplit_once("::").is_some_and(|(kind, _)| kind.ends_with("Error"));
    (made || built) && list.trim_end_matches('"').chars().all(|c| c.is_alphanumeric() || "_:,&.".contains(c))
}

/// The same text with every placeholder as `{}`.
fn alike(text: &str) -> String {
    let (mut out, mut depth) = (String::new(), 0_u32);
    for character in text.replace("{{", "\u{1}").replace("}}", "\u{2}").chars() {
        match character {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                out.push_str("{}");
            }
            _ if depth > 0 => {}
            '\u{1}' => out.push('{'),
            '\u{2}' => out.push('}'),
            other => out.push(other),
        }
    }
    out.trim_matches([' ', '\n', ';']).to_owned()
}

/// Whether somebody could look it up: at least two words beside the placeholders.
fn tells(alike: &str) -> bool {
    let words = alike.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() > 1);
    words.count() >= 2 && !alike.starts_with('/')
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// What must have an entry, with the file and the text as it stands there; and all texts of the sources.
fn said() -> (BTreeMap<String, (String, String)>, BTreeSet<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut must, mut all) = (BTreeMap::new(), BTreeSet::new());
    for path in files {
        let file = path.strip_prefix(&root).unwrap().display().to_string();
        let room = file.split(['/', '.']).next().unwrap_or("").to_owned();
        for literal in literals(&fs::read_to_string(&path).unwrap()) {
            let text = alike(&literal.text);
            if tells(&text) && (literal.logged || mouth(&literal.before, &room)) {
                must.insert(text.clone(), (file.clone(), literal.text.trim().replace(":?}", "}")));
            }
            all.insert(text);
        }
    }
    (must, all)
}

/// The entries of the page: each line that is one code span, up to a backslash, and whether an explanation follows.
fn entries(page: &str) -> Vec<(String, bool)> {
    let lines: Vec<&str> = page.lines().collect();
    let head = |line: &str| {
        let line = line.strip_prefix("* ").or_else(|| line.strip_prefix("  "))?;
        let text = line.strip_prefix('`')?.strip_suffix("`\\")?;
        (!text.contains('`')).then(|| alike(text))
    };
    let explained = |after: &[&str]| {
        let next = after.iter().find(|line| head(line).is_none());
        next.is_some_and(|line| line.strip_prefix("  ").is_some_and(|text| text.trim().len() > 15))
    };
    let heads =
        lines.iter().enumerate().filter_map(|(at, line)| Some((head(line)?, explained(&lines[at + 1..]))));
    heads.collect()
}

#[test]
fn every_message_has_an_entry_and_every_entry_a_message() {
    let page = include_str!("../docs/troubleshooting.md");
    let (must, all) = said();
    let entries = entries(page);
    let named: BTreeSet<&String> = entries.iter().map(|(text, _)| text).collect();
    let missing = must.iter().filter(|(text, _)| !named.contains(text));
    let skeleton: Vec<String> = missing
        .map(|(_, (file, text))| format!("<!-- src/{file} -->\n* `{text}`\\\n  What it means. What to do.\n"))
        .collect();
    let gone: Vec<_> = entries.iter().filter(|(text, _)| !all.contains(text)).map(|(text, _)| text).collect();
    let bare: Vec<_> = entries.iter().filter(|(_, explained)| !explained).map(|(text, _)| text).collect();
    let twice: Vec<_> =
        named.iter().filter(|text| entries.iter().filter(|(one, _)| one == **text).count() > 1).collect();
    assert!(
        skeleton.is_empty() && gone.is_empty() && bare.is_empty() && twice.is_empty(),
        "docs/troubleshooting.md\nlacks {} entries:\n\n{}\nhas entries that no message matches: {gone:#?}\nwithout an explanation: {bare:#?}\n\
         twice: {twice:#?}",
        skeleton.len(),
        skeleton.concat()
    );
}

#[test]
fn what_is_read_from_the_sources_is_what_stands_there() {
    let source = "#[error(\"one {two:?} \\\n            three\")] // \"no\"\nlet c = '\"'; tracing::warn!(%error, \"it {}\", x);\n\
                  Err(Error::Odd(format!(r#\"a \"b\" c\"#))); foo(\"quiet words\"); Kind::Bad; invalid(\"so it is\")";
    let read: Vec<_> = literals(source)
        .into_iter()
        .map(|one| (one.logged || mouth(&one.before, "plan"), one.text))
        .collect();
    let expected = [
        (true, "one {two:?} three"),
        (true, "it {}"),
        (true, "a \"b\" c"),
        (false, "quiet words"),
        (true, "so it is"),
    ];
    assert_eq!(read, expected.map(|(spoken, text)| (spoken, text.to_owned())));
    assert_eq!(alike("{a:?} of {} in {{x}}, {0}"), "{} of {} in {x}, {}");
}

#[test]
fn enough_is_read() {
    let (must, _) = said();
    assert!(must.len() > 200, "{}", must.len());
    // One of each way to say something.
    for text in [
        "address already in use: {} is held by {}; {}",
        "cannot accept connections; trying again",
        "unknown option {}={}; known options are {}",
        "Options must be an object, not {}",
        "{}: {} is given {}; nothing else is free",
    ] {
        assert!(must.contains_key(text), "{text}");
    }
}
