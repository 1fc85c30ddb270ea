//! The old gipam's spelling of options: one dash or two, `-x V` or `-x=V`.
//!
//! Promises: every long option may be written with one dash; a value is never changed, nor is anything
//! after `--`; unknown options are passed on as long options. Everything else is left to clap.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::CommandFactory;

use super::args::Cli;

/// The arguments, with two dashes where the old gipam used one. The first is the program name and is not changed.
pub(super) fn normalize(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    // Each long option, and whether the next argument is its value.
    let mut known = BTreeMap::from([("help".to_owned(), false), ("version".to_owned(), false)]);
    collect(&Cli::command(), &mut known);
    let mut arguments = arguments.into_iter();
    let mut normal: Vec<OsString> = arguments.next().into_iter().collect();
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str() else {
            normal.push(argument);
            continue;
        };
        if text == "--" {
            normal.push(argument);
            normal.extend(arguments);
            break;
        }
        let bare = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).unwrap_or_default();
        let (name, value) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)));
        let Some(takes_value) = known.get(name) else {
            // For a long option, clap can suggest a similar one; for short ones, it would report only the first letter.
            let long = name.len() > 1 && name.starts_with(|first: char| first.is_ascii_alphabetic());
            normal.push(if long { format!("--{bare}").into() } else { argument });
            continue;
        };
        normal.push(format!("--{bare}").into());
        if *takes_value && value.is_none() {
            normal.extend(arguments.next());
        }
    }
    normal
}

fn collect(command: &clap::Command, known: &mut BTreeMap<String, bool>) {
    for argument in command.get_arguments() {
        let takes_value = argument.get_action().takes_values() && !argument.is_require_equals_set();
        if let Some(name) = argument.get_long() {
            known.entry(name.to_owned()).or_insert(takes_value);
        }
    }
    command.get_subcommands().for_each(|command| collect(command, known));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(line: &str) -> String {
        let words = normalize(line.split(' ').map(OsString::from));
        let words: Vec<String> = words.into_iter().map(|word| word.into_string().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn one_dash_means_the_same_as_two_with_and_without_equals() {
        for (old, new) in [
            ("gipam -v6 P -v4 Q", "gipam --v6 P --v4 Q"),
            ("gipam -v6=P --v4=Q", "gipam --v6=P --v4=Q"),
            ("gipam -unix", "gipam --unix"),
            ("gipam -unix=false -address :9090", "gipam --unix=false --address :9090"),
            ("gipam -v6ab 64 -v4ab=24 -file x.json", "gipam --v6ab 64 --v4ab=24 --file x.json"),
            ("gipam leases -all -json -admin /x", "gipam leases --all --json --admin /x"),
            ("gipam -help", "gipam --help"),
            ("gipam -h -V", "gipam -h -V"),
            ("gipam -v4=", "gipam --v4="),
        ] {
            assert_eq!(normal(old), new);
        }
    }

    #[test]
    fn values_and_unknown_words_are_not_changed() {
        for line in
            ["gipam --file -v6", "gipam history -- -v6", "gipam -x --nope=1", "gipam - -", "gipam who a-b"]
        {
            assert_eq!(normal(line), line);
        }
        assert_eq!(normal("gipam -v5 x"), "gipam --v5 x", "the error can suggest the intended option");
    }

    #[test]
    fn unix_never_swallows_the_next_word() {
        assert_eq!(normal("gipam -unix -v4 P"), "gipam --unix --v4 P");
    }
}
