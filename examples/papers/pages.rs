//! Manual pages and completions, from the command line's own definition.
//!
//! Promises: one page for gipam and one for every command below it; completions for bash, zsh and fish; the
//! same bytes for the same definition. The program itself does not contain any of these files.

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fs;
use std::io;
use std::path::Path;

/// The end of gipam(1): files and exit codes.
const FILES: [(&str, &str); 6] = [
    ("/etc/gipam/gipam.toml", "the configuration; gipam config keys prints every key"),
    ("/etc/gipam/gipam.env", "variables for the unit, such as GIPAM_V4; each is also an option"),
    ("/var/lib/gipam/gipam.db", "the books"),
    ("/run/docker/plugins/gipam.sock", "where Docker finds the driver"),
    (
        "/etc/docker/plugins/gipam.spec, gipam.json",
        "the file that announces a TCP address, with or without TLS",
    ),
    ("/run/gipam/admin.sock", "the admin socket, which the commands use"),
];
const EXIT: [(&str, &str); 7] = [
    ("0", "done"),
    ("1", "failed"),
    ("2", "wrong usage or configuration"),
    ("3", "not found"),
    ("4", "in use"),
    ("5", "exhausted"),
    ("6", "the daemon cannot be reached"),
];

/// Writes `man1/*.1` and `completions/` below this directory.
pub fn write(definition: &Command, directory: &Path) -> io::Result<()> {
    let manual = directory.join("man1");
    fs::create_dir_all(&manual)?;
    let mut built = definition.clone();
    built.build();
    page(&built, &manual, true)?;
    let completions = directory.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut definition.clone(), "gipam", &completions)?;
    }
    Ok(())
}

/// The page of a command and of every command below it.
fn page(command: &Command, directory: &Path, first: bool) -> io::Result<()> {
    let man = Man::new(command.clone()).manual("gipam");
    let mut text = Vec::new();
    if first {
        man.render(&mut text)?;
        let mut more = Roff::default();
        list(&mut more, "FILES", &FILES);
        list(&mut more, "EXIT STATUS", &EXIT);
        more.to_writer(&mut text)?;
    } else {
        man.render(&mut text)?;
    }
    fs::write(directory.join(man.get_filename()), text)?;
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| page(below, directory, false))
}

fn list(page: &mut Roff, title: &str, rows: &[(&str, &str)]) {
    page.control("SH", [title]);
    for (word, meaning) in rows {
        page.control("TP", []);
        page.text([bold(*word)]);
        page.text([roman(*meaning)]);
    }
}
