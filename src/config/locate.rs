//! Converts a byte position in the configuration file, or in another TOML file, to its line, column and key.
//!
//! Promises: lines and columns count from 1, columns in characters; the key is the innermost one around the byte,
//! dotted, with entries of `[[pool]]` numbered from 1. Does not interpret values.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The byte positions at which the lines of a text begin.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    /// Finds the lines of this text.
    pub(crate) fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// Line and column of a byte of the text.
    pub(crate) fn position(&self, text: &str, byte: usize) -> (usize, usize) {
        let byte = if text.is_char_boundary(byte) { byte } else { text.len() };
        let line = self.0.partition_point(|start| *start <= byte);
        let start = line.checked_sub(1).and_then(|at| self.0.get(at)).copied().unwrap_or(0);
        (line.max(1), text.get(start..byte).unwrap_or_default().chars().count() + 1)
    }
}

/// The key around this byte range; `None` if the text is not valid TOML or no key is there.
pub(crate) fn key(text: &str, span: &Range<usize>) -> Option<String> {
    in_table(DeTable::parse(text).ok()?.get_ref(), span)
}

fn in_table(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let below = if holds(&name.span(), span) { Some(String::new()) } else { in_value(value, span) };
        below.map(|below| format!("{}{below}", name.get_ref()))
    })
}

/// The rest of the key, from this value down to the span; empty if the span is in the value itself.
fn in_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<String> {
    let below = match value.get_ref() {
        DeValue::Table(table) => in_table(table, span).map(|key| format!(".{key}")),
        DeValue::Array(entries) => {
            let below = |(index, entry)| Some(format!("[{}]{}", index + 1, in_value(entry, span)?));
            entries.iter().enumerate().find_map(below)
        }
        _ => None,
    };
    below.or_else(|| holds(&value.span(), span).then(String::new))
}

const fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end && outer.start < outer.end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(text: &str, needle: &str) -> Option<String> {
        let start = text.find(needle).unwrap();
        key(text, &(start..start + needle.len()))
    }

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let text = "a = 1\n# é\nb = \"é\" # x";
        let lines = Lines::of(text);
        let position = |byte| lines.position(text, byte);
        assert_eq!(position(0), (1, 1));
        assert_eq!(position(text.find("b =").unwrap()), (3, 1));
        assert_eq!(position(text.find("# x").unwrap()), (3, 9));
        assert_eq!(position(1000), (3, 12));
    }

    #[test]
    fn the_key_is_the_deepest_one_around_the_place() {
        let text = "log = \"x\"\n[[pool]]\nname = \"a\"\n[[pool]]\nname = \"b\"\nv4 = { base = \"wrong\", size = 24 }\n\
            reserved = [\"one\", \"two\"]\n[driver.dmz]\npools = [\"c\"]\n";
        assert_eq!(key_of(text, "\"x\""), Some("log".into()));
        assert_eq!(key_of(text, "\"wrong\""), Some("pool[2].v4.base".into()));
        assert_eq!(key_of(text, "size"), Some("pool[2].v4.size".into()));
        assert_eq!(key_of(text, "\"two\""), Some("pool[2].reserved[2]".into()));
        assert_eq!(key_of(text, "\"c\""), Some("driver.dmz.pools[1]".into()));
    }

    #[test]
    fn invalid_toml_has_no_key() {
        assert_eq!(key_of("a = = 1", "= 1"), None);
    }
}
