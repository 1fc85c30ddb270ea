//! Tables for people: aligned columns, no lines, no colour, readable on a pipe.
//!
//! Promises: a cell can neither break the table nor steer the terminal, whatever name a container has; an absent value
//! is a dash. Does not know what the rows mean.

use comfy_table::{CellAlignment, Table, presets};

/// Lays rows out under these headings; headings that begin with `>` are of numbers and stand to the right.
pub(super) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| heading.trim_start_matches('>')));
    for row in rows {
        table.add_row(row.iter().map(|cell| escaped(cell)));
    }
    for (index, heading) in headings.iter().enumerate() {
        let Some(column) = table.column_mut(index) else { continue };
        column.set_padding((0, 2));
        if heading.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// Lines of `name: value`, the values aligned.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len() + 2).max().unwrap_or_default();
    let line = |(name, value): &(&str, String)| format!("{:<width$}{}\n", format!("{name}:"), escaped(value));
    pairs.iter().map(line).collect()
}

/// A value that may be absent.
pub(super) fn optional(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

/// A time without its fraction of a second.
pub(super) fn time(value: Option<&str>) -> String {
    let value = value.unwrap_or_default();
    match value.split_once('.') {
        Some((seconds, fraction)) if fraction.ends_with('Z') => format!("{seconds}Z"),
        _ => value.to_owned(),
    }
}

/// The text without anything that moves the cursor, turns the writing round or begins a new line.
pub(super) fn escaped(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    crate::text::line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let rows = [
            vec!["lan".to_owned(), "7".to_owned(), "x".to_owned()],
            vec!["d".into(), "1024".into(), "".into()],
        ];
        assert_eq!(table(&["POOL", ">FREE", "WHO"], rows), "POOL  FREE  WHO\nlan      7  x\nd     1024  -\n");
    }

    #[test]
    fn no_rows_are_headings_alone() {
        assert_eq!(table(&["A", "B"], []), "A  B\n");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(escaped("a\u{1b}[31m\nb\u{202e}c"), "a\\u{1b}[31m\\nb\\u{202e}c");
        assert_eq!(escaped("wéb"), "wéb");
    }

    #[test]
    fn pairs_are_aligned() {
        assert_eq!(pairs(&[("a", "1".into()), ("long", "".into())]), "a:    1\nlong: -\n");
    }

    #[test]
    fn times_are_shown_to_the_second() {
        assert_eq!(time(Some("2023-11-14T22:13:20.123Z")), "2023-11-14T22:13:20Z");
        assert_eq!(time(None), "");
    }
}
