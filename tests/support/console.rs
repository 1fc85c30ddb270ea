//! The ```` ```console ```` blocks of a page of docs/: the commands, and the output that the page shows for
//! them.
//!
//! Promises: every line that starts with `$ ` is a command; the lines up to the next command are its output.
//! Output is compared by line and word, except for what differs from run to run: times, MAC addresses,
//! Docker's ids, and the random end of a PoolID. A line `...` of the page matches any lines. If the output of
//! a view differs from the page, the view may be repeated, because gipam learns names from the Engine a
//! moment after the addresses.
#![allow(dead_code, reason = "each test program uses a part of it")]

/// A command and its output as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub command: String,
    pub output: Vec<String>,
}

/// The steps of a page, in order.
pub fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("\n```console\n").skip(1) {
        let block = block.split("\n```").next().unwrap_or("");
        assert!(block.starts_with("$ "), "the block must begin with a command: {block}");
        // A backslash at the end of a line continues it.
        for line in block.replace("\\\n", "").lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), output: Vec::new() }),
                (None, Some(step)) => step.output.push(line.to_owned()),
                (None, None) => {}
            }
        }
    }
    steps
}

/// The ```` ```sh ```` blocks of a page, in order.
pub fn scripts(page: &str) -> Vec<&str> {
    page.split("\n```sh\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// The first ```` ```toml ```` block: the configuration of the daemon that the page describes.
pub fn configuration(page: &str) -> &str {
    block(page, "toml").expect("the page shows a configuration")
}

/// The first block in this language.
pub fn block<'a>(page: &'a str, language: &str) -> Option<&'a str> {
    page.split(&format!("\n```{language}\n")).nth(1).and_then(|rest| rest.split("\n```").next())
}

/// Whether a command only shows something and may be repeated.
pub fn is_view(command: &str) -> bool {
    let views = ["pools", "subnets", "leases", "who", "history", "explain", "map", "status"];
    command
        .strip_prefix("gipam ")
        .is_some_and(|rest| views.iter().any(|view| rest.split(' ').next() == Some(view)))
}

/// A word without the parts that differ from run to run.
fn plain(word: &str) -> String {
    let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let bare = word.trim_matches([',', ';', '(', ')', '"']);
    let parts: Vec<&str> = bare.split(':').collect();
    if parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && is_hex(part)) {
        return word.replace(bare, "MAC");
    }
    let digits = bare.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    if digits.starts_with("0000-00-00T00:00:00") {
        return word.replace(bare, "TIME");
    }
    if bare.len() == 64 && is_hex(bare) {
        return word.replace(bare, "DOCKERID");
    }
    match word.rsplit_once('#') {
        Some((head, id)) if bare.len() >= 16 && is_hex(id.get(..16).unwrap_or("?")) => {
            format!("{head}#ID{}", &id[16..])
        }
        _ => word.to_owned(),
    }
}

fn line_alike(expected: &str, seen: &str) -> bool {
    let words = |line: &str| line.split_whitespace().map(plain).collect::<Vec<_>>();
    let (expected, seen) = (words(expected), words(seen));
    expected == seen
}

/// Whether the output matches the page.
pub fn alike(expected: &[String], seen: &str) -> bool {
    lines_alike(expected, &seen.lines().collect::<Vec<_>>())
}

fn lines_alike(expected: &[String], seen: &[&str]) -> bool {
    match (expected.split_first(), seen.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((line, rest)), _) if line == "..." => {
            (0..=seen.len()).any(|from| lines_alike(rest, &seen[from..]))
        }
        (Some((line, rest)), Some((first, more))) => line_alike(line, first) && lines_alike(rest, more),
        (Some(_), None) => false,
    }
}
