//! Tables for people: aligned columns, no borders, no colour, readable on a pipe.
//!
//! Promises: a cell can neither break the table nor control the terminal, whatever a container is called; an absent
//! value is a dash. A pipe gets every column; a terminal of less than 120 columns gets fewer columns and ages instead of
//! times, and long texts are wrapped inside their column. Does not know what the rows mean.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

use super::terminal;
use crate::view::rows::age;

/// A terminal with fewer columns than this is narrow.
const NARROW: usize = 120;

/// The columns of the terminal; `None` if the output is a pipe.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Width(Option<usize>);

impl Width {
    /// The width of standard output.
    pub(super) fn of_output() -> Self {
        Self(terminal::size().map(|(columns, _)| columns))
    }

    /// Whether there is room only for the essential columns.
    pub(super) fn is_narrow(self) -> bool {
        self.0.is_some_and(|columns| columns < NARROW)
    }

    /// A time without its fraction of a second; on a narrow terminal, how long ago it was.
    pub(super) fn time(self, value: Option<&str>) -> String {
        match value.filter(|_| self.is_narrow()).and_then(age) {
            Some(seconds) if seconds < 0 => format!("in {}", super::paper::span(-seconds)),
            Some(seconds) => format!("{} ago", super::paper::span(seconds)),
            None => time(value),
        }
    }

    /// The name of the holder; on a narrow terminal, its MAC if the name is unknown.
    pub(super) fn holder(self, name: Option<&str>, mac: Option<&str>) -> String {
        optional(name.or(mac.filter(|_| self.is_narrow())))
    }
}

/// Lays out rows under these headings. Marks before a heading: `>` numbers, aligned to the right; `~` a text that may be
/// wrapped; `?` omitted on a narrow terminal; `=` omitted there if all rows have the same value.
pub(super) fn table(width: Width, headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let alike = |n: usize| {
        let mut cells = rows.iter().map(|row| row.get(n));
        let first = cells.next();
        cells.all(|cell| Some(cell) == first)
    };
    let shown: Vec<usize> = (0..headings.len())
        .filter(|n| match headings[*n].chars().next() {
            Some('?') => !width.is_narrow(),
            Some('=') => !(width.is_narrow() && alike(*n)),
            _ => true,
        })
        .collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(shown.iter().map(|n| headings[*n].trim_start_matches(['>', '~', '?', '='])));
    for row in &rows {
        table.add_row(shown.iter().map(|n| escaped(row.get(*n).map_or("", String::as_str))));
    }
    if let Width(Some(columns)) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(columns).unwrap_or(u16::MAX));
    }
    for (index, n) in shown.iter().enumerate() {
        let Some(column) = table.column_mut(index) else { continue };
        column.set_padding((0, 2));
        if headings[*n].starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !headings[*n].starts_with('~') {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// Lines of `name: value`, with the values aligned.
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

/// The text, with all characters escaped that move the cursor, reverse the direction of text or start a new line.
pub(super) fn escaped(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    crate::text::line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_spaces() {
        let rows = [
            vec!["lan".to_owned(), "7".to_owned(), "x".to_owned()],
            vec!["d".into(), "1024".into(), "".into()],
        ];
        let width = Width::default();
        assert_eq!(
            table(width, &["POOL", ">FREE", "WHO"], rows),
            "POOL  FREE  WHO\nlan      7  x\nd     1024  -\n"
        );
    }

    #[test]
    fn without_rows_only_the_headings_are_printed() {
        assert_eq!(table(Width::default(), &["A", "B"], []), "A  B\n");
    }

    #[test]
    fn a_narrow_terminal_gets_the_essential_columns_and_a_wide_one_all() {
        let rows = || {
            let long = "x y ".repeat(20);
            ["web", "db"]
                .map(|name| ["192.0.2.0/24", name, "local", long.trim(), "id"].map(str::to_owned).to_vec())
        };
        let headings = ["SUBNET", "=NETWORK", "=SPACE", "~WHY", "?ID"];
        let of = |columns| table(Width(columns), &headings, rows());
        let narrow = of(Some(80));
        assert!(narrow.starts_with("SUBNET        NETWORK  WHY\n"), "{narrow}");
        assert!(narrow.lines().all(|line| line.width() <= 80), "{narrow}");
        assert!(narrow.contains("192.0.2.0/24  web      x y x y"), "{narrow}");
        assert!(of(Some(119)).starts_with("SUBNET        NETWORK  WHY"));
        for wide in [of(Some(120)), of(None)] {
            assert!(wide.starts_with("SUBNET        NETWORK  SPACE  WHY"), "{wide}");
            assert!(wide.contains("  id"), "{wide}");
        }
        assert_eq!(of(None).lines().count(), 3, "lines for a pipe are not wrapped");
    }

    #[test]
    fn times_are_ages_on_a_narrow_terminal_only() {
        let at = Some("2020-01-01T00:00:00.5Z");
        assert!(Width(Some(80)).time(at).ends_with(" h ago"));
        assert_eq!(Width(Some(120)).time(at), "2020-01-01T00:00:00Z");
        assert_eq!(Width(None).time(at), "2020-01-01T00:00:00Z");
        assert_eq!(Width(Some(80)).time(None), "");
        assert_eq!(Width(Some(80)).holder(None, Some("02:00:00:00:00:01")), "02:00:00:00:00:01");
        assert_eq!(Width(None).holder(None, Some("02:00:00:00:00:01")), "");
    }

    #[test]
    fn a_name_cannot_control_the_terminal() {
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
