//! docs/install.md, read as an administrator reads it: one block of commands after another.
//!
//! Promises: the tests run the page's own commands; a test fails if a block is gone, or if a line that the
//! test must change reads differently. Comments in a block are kept, because the shell ignores them.

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

/// The block with this number under a heading.
pub fn block(heading: &str, number: usize) -> String {
    let mut all = blocks(heading);
    assert!(number < all.len(), "docs/install.md has no block {number} under {heading:?}");
    all.swap_remove(number)
}

/// The block with one of its lines removed, because it cannot be run on a test's machine.
pub fn without(block: &str, line: &str) -> String {
    assert!(block.lines().any(|found| found == line), "the page no longer contains {line:?}: {block}");
    block.lines().filter(|found| *found != line).map(|line| format!("{line}\n")).collect()
}

/// Installs as the page says; the program was already built.
pub fn install(m: &Machine) {
    m.sh(&without(&block("Install by hand", 0), "make build"));
}
