//! The page `docs/configuration.md`: the table of keys and the rules around it.
//!
//! Promises: every key of [`SECTIONS`] is on the page; `gipam config keys` prints it. Defines no keys.

use std::fmt::Write as _;

use super::keys::{SECTIONS, is_number};

const BEFORE: &str = "\
# Configuration

<!-- Made by `gipam config keys`; change src/config/keys.rs, not this page. -->

gipam reads `/etc/gipam/gipam.toml` if it exists, or the file that `--config` or `GIPAM_CONFIG` names. An unknown key is
an error that names file, line and key: `gipam config check FILE`. What is in force, and where each value comes from:
`gipam config show`. [packaging/gipam.toml](../packaging/gipam.toml) is a file to start from.

An option overrides its variable, the variable the file, the file the default. Pools are different: those of
the file override those of a lease file that is taken over, these those in the books, and these `-v4` and `-v6`.
An empty variable counts as absent; an empty option (`-address \"\"`) takes the default whatever the variable says.

Durations are written `\"10m\"`, `\"90s\"`, `\"1h30m\"`, `\"2d\"` or `\"0\"`. Relative paths start at the file's directory; those of
options and variables at the working directory.
";

const AFTER: &str = "
## Where the books are

`file` may name the books or a lease file of the old gipam; its content decides. For a lease file, and for any name
that ends in `.json`, the books are next to it with the ending `.db`. Where nothing is named: a `leases.json` or `lease.json`
in the working directory, or the `leases.db` or `lease.db` made from one; else `gipam.db` in `$STATE_DIRECTORY`, as root in
`/var/lib/gipam`, else in the working directory.

## Where gipam listens

On the socket, unless the highest place that says anything about it (options, variables, `[driver.NAME]`, top of the file)
gives an `address` or says `unix = false`. `unix = true` wins over every address. Further drivers have their sockets next to
the first; where the first listens on TCP, each needs an `address` of its own.

The admin socket is `/run/gipam/admin.sock`. Where a plugin socket `DIR/X.sock` is named, it is `DIR/X.admin.sock`; if DIR is
one that Docker searches, `/run/gipam/X.admin.sock`.
";

/// The page `docs/configuration.md`.
pub fn page() -> String {
    let mut page = BEFORE.to_owned();
    for section in SECTIONS {
        let heading = if section.table.is_empty() {
            "Top of the file".to_owned()
        } else {
            format!("`{}`", section.table)
        };
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {heading}\n\n{}\n\n", section.about);
        page.push_str(
            "| key | default | option, variable | followed at | meaning |\n|---|---|---|---|---|\n",
        );
        for key in section.keys {
            let value =
                key.default == "true" || key.default.starts_with(['"', '[']) || is_number(key.default);
            let default = if value { format!("`{}`", key.default) } else { key.default.to_owned() };
            let options = match key.options {
                [one] => vec![one.flag, one.variable],
                several => several.iter().map(|option| option.flag).collect(),
            };
            let options: Vec<String> = options.into_iter().map(|option| format!("`{option}`")).collect();
            let (options, follows) = (options.join(", "), key.follows);
            let _ =
                writeln!(page, "| `{}` | {default} | {options} | {follows} | {} |", key.name, key.meaning);
        }
    }
    page.push_str(AFTER);
    page
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_is_the_table() {
        let page_file =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md"))
                .unwrap();
        assert!(page_file == page(), "run: gipam config keys > docs/configuration.md");
    }
}
