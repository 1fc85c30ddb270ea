//! docs/install.md, read as an administrator reads it: block after block of commands.
//!
//! Promises: the tests type the page's own words; a block that has gone, or has other words where a test must
//! change one, is a failure. Comments stay in: they are shell comments.

use crate::machine::Machine;

const PAGE: &str = include_str!("../../docs/install.md");

/// The shell blocks under a heading, in order.
fn blocks(heading: &str) -> Vec<String> {
    let title = format!("## {heading}");
    let section: Vec<&str> = PAGE
        .lines()
        .skip_while(|line| **line != title)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .collect();
    assert!(!section.is_empty(), "docs/install.md has no section {heading:?}");
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in section {
        match (&mut open, line) {
            (None, "```sh") => open = Some(String::new()),
            (Some(_), "```") => found.extend(open.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    found
}

/// One block.
pub fn block(heading: &str, number: usize) -> String {
    let mut all = blocks(heading);
    assert!(number < all.len(), "docs/install.md has no block {number} under {heading:?}");
    all.swap_remove(number)
}

/// The block with one of its lines replaced, or taken out: what cannot be done on a test's machine.
pub fn without(block: &str, line: &str) -> String {
    assert!(block.lines().any(|found| found == line), "the page no longer says {line:?}: {block}");
    block.lines().filter(|found| *found != line).map(|line| format!("{line}\n")).collect()
}

/// Installs as the page says; the program was built before.
pub fn install(m: &Machine) {
    m.sh(&without(&block("Install", 0), "make build"));
}
