//! Links between the pages: every relative link has a file in the repository, every `#...` a heading.
//!
//! Does not check external links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    docs.chain(top.map(|page| root.join(page))).collect()
}

/// The page without code blocks and code spans, which cannot contain links.
fn prose(text: &str) -> String {
    let blocks = text.split("```").step_by(2).collect::<String>();
    blocks.lines().map(|line| line.split('`').step_by(2).collect::<String>() + "\n").collect()
}

/// The anchors of the headings: lower case, spaces become dashes, punctuation is removed.
fn anchors(text: &str) -> BTreeSet<String> {
    let blocks = text.split("```").step_by(2).collect::<String>();
    let headings = blocks
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let name = |heading: &str| {
        let kept = heading.to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    headings.map(name).collect()
}

#[test]
fn every_link_has_a_target() {
    let (mut count, mut broken) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in prose(&text).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") {
                continue;
            }
            count += 1;
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let there = target.exists();
            let named = anchor.is_empty()
                || (there && anchors(&fs::read_to_string(&target).unwrap()).contains(anchor));
            if !(there && named) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(count > 30, "{count} links");
}

#[test]
fn the_readme_links_to_every_page() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in pages().into_iter().filter(|page| !page.ends_with("README.md")) {
        let link = format!("({})", page.strip_prefix(root).unwrap().display());
        assert!(readme.contains(&link), "README.md lacks {link}");
    }
}
