//! The page `docs/configuration.md`: the table of keys, and the rules that apply to them.
//!
//! Promises: every key of [`SECTIONS`] is on the page; `gipam config keys` prints it. Defines no keys.

use std::fmt::Write as _;

use super::keys::SECTIONS;

const BEFORE: &str = "\
# Configuration

<!-- Made by `gipam config keys`; change src/config/keys.rs, not this page. -->

This page lists the keys of the configuration file, with the options and variables that set the same values.

gipam reads `/etc/gipam/gipam.toml` if it exists, or the file that `--config` or `GIPAM_CONFIG` names. An unknown key is
an error that names the file, the line and the key; `gipam config check FILE` shows it. `gipam config show` prints the settings
in force and where each value comes from. [packaging/gipam.toml](../packaging/gipam.toml) is a sample to start from.

An option overrides its variable, a variable overrides the file, and the file overrides the default. Pools are different: pools in
the file override those of a lease file that is taken over, which override those in the books, which override `-v4` and `-v6`.
An empty variable counts as absent; an empty option (`-address \"\"`) takes the default, even if the variable is set.

Durations are written `\"10m\"`, `\"90s\"`, `\"1h30m\"`, `\"2d\"` or `\"0\"`. Relative paths start at the file's directory; those of
options and variables at the working directory.
";

const AFTER: &str = "
## Where the books are

`file` may name the books or a lease file of the old gipam; its content decides. For a lease file, and for any name
that ends in `.json`, the books are next to it with the ending `.db`. If `file` is not set, gipam uses a `leases.json` or
`lease.json` in the working directory, or the `leases.db` or `lease.db` made from one. If there is none, it uses `gipam.db` in
`$STATE_DIRECTORY`, otherwise in `/var/lib/gipam` (as root) or in the working directory.

## Where gipam listens

gipam listens on the socket, unless the first of these places that mentions the transport (options, variables, `[driver.NAME]`,
top of the file) sets an `address` or `unix = false`. `unix = true` overrides every address. Further drivers have their sockets next to
the first; if the first listens on TCP, each of them needs its own `address`.

The admin socket is `/run/gipam/admin.sock`. If a plugin socket `DIR/X.sock` is set, it is `DIR/X.admin.sock`, or
`/run/gipam/X.admin.sock` if Docker searches DIR.
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
            "| key | default | option, variable | takes effect at | meaning |\n|---|---|---|---|---|\n",
        );
        for key in section.keys {
            let default = if key.is_value() { format!("`{}`", key.default) } else { key.default.to_owned() };
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
