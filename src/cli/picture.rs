//! `gipam map`: the address space as a map of characters.
//!
//! Promises: readable without colour, on a pipe and at 80 columns. Draws the lines of a map as received, without scaling.

use super::paper::{Ink, Line};
use super::tables::escaped;
use crate::view::digits;
use crate::view::map::{LegendRow, MapRow, sign_of};

/// Characters per line.
pub(super) const COLUMNS: u16 = 64;
/// Maximum number of lines; a larger map is scaled, so that each character represents more.
pub(super) const LINES: u16 = 40;

/// The colour of a state.
fn ink_of(state: &str) -> Ink {
    match state {
        "used" => Ink::Green,
        "gateway" | "auxiliary" => Ink::Cyan,
        "quarantined" => Ink::Red,
        "cooling" => Ink::Yellow,
        "pinned" => Ink::Blue,
        "reserved" | "others" => Ink::Magenta,
        _ => Ink::Grey,
    }
}

/// The map of one pool or subnet.
pub(super) fn drawn(map: &MapRow, colour: bool) -> String {
    let width = map.lines.iter().map(|line| line.first.to_string().len()).max().unwrap_or(0);
    let mut text = heading(map);
    for line in &map.lines {
        let mut drawn = Line::of(format!("{:<width$}  ", line.first.to_string()));
        match line.cells.first().filter(|_| line.lines.0 > 1) {
            Some(cell) => {
                let whose = cell.name.as_ref().filter(|_| cell.state == "others");
                let what = whose.map_or_else(
                    || sign_of(&cell.state).1.to_owned(),
                    |host| format!("of host {}", escaped(host)),
                );
                drawn = drawn.and(Ink::Plain, format!("{what} to {}", cell.last))
            }
            None => {
                for run in line.cells.chunk_by(|a, b| a.state == b.state) {
                    let count = run.iter().map(|cell| usize::from(cell.span)).sum();
                    let signs: String = std::iter::repeat_n(sign_of(&run[0].state).0, count).collect();
                    drawn = drawn.and(ink_of(&run[0].state), signs);
                }
            }
        }
        text.push_str(&(drawn.drawn(usize::MAX, colour) + "\n"));
    }
    text.push_str(&legend(map));
    text
}

fn heading(map: &MapRow) -> String {
    let MapRow { of, pool, prefix, family, scale, .. } = map;
    let what = match (of.as_str(), pool) {
        ("outside", _) => return "outside all pools; one character per subnet\n".to_owned(),
        ("pool", Some(name)) => format!("pool {name}, {prefix}"),
        (_, Some(name)) => format!("subnet {prefix} of pool {name}"),
        _ => format!("subnet {prefix}"),
    };
    let is_address = *scale == if family == "v4" { 32 } else { 128 };
    let each = if is_address { "address".to_owned() } else { format!("/{scale}") };
    format!("{what}; one character per {each}\n")
}

/// The characters, the states that they represent, and how often each state occurs.
fn legend(map: &MapRow) -> String {
    let word = |row: &LegendRow| format!("{} {} {}", sign_of(&row.state).0, row.words, digits(row.count.0));
    let words: Vec<String> = map.legend.iter().map(word).collect();
    format!("{}\n", words.join("   "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> MapRow {
        let cell = |first: &str, last: &str, state: &str, span: u16| {
            serde_json::json!({"first": first, "last": last, "state": state, "span": span, "things": 1, "label": "",
                "name": null, "text": "", "of": null, "share": null})
        };
        let cells = [
            cell("192.0.2.0", "192.0.2.0", "never", 1),
            cell("192.0.2.1", "192.0.2.1", "gateway", 1),
            cell("192.0.2.2", "192.0.2.4", "used", 3),
            cell("192.0.2.5", "192.0.2.63", "free", 59),
        ];
        let row = serde_json::json!({"of": "subnet", "pool": "lan", "family": "v4", "prefix": "192.0.2.0/24", "unit": 32,
            "segments": [], "scale": 32, "lines": [{"first": "192.0.2.0", "lines": 1, "cells": cells},
                {"first": "192.0.2.64", "lines": 3, "cells": [cell("192.0.2.64", "192.0.2.255", "free", 64)]}],
            "legend": [{"state": "used", "words": "used", "count": 3}, {"state": "free", "words": "free", "count": 1_251}]});
        serde_json::from_value(row).unwrap()
    }

    #[test]
    fn lines_are_drawn_to_scale_and_folded_lines_become_text() {
        let expected = format!(
            "subnet 192.0.2.0/24 of pool lan; one character per address\n\
             192.0.2.0   xG###{}\n\
             192.0.2.64  free to 192.0.2.255\n\
             # used 3   . free 1,251\n",
            ".".repeat(59)
        );
        assert_eq!(drawn(&map(), false), expected);
    }

    #[test]
    fn colour_does_not_change_the_text() {
        let (plain, painted) = (drawn(&map(), false), drawn(&map(), true));
        assert!(painted.contains("\u{1b}[32m###\u{1b}[0m"));
        let mut stripped = painted;
        for sgr in [32, 36, 90, 0] {
            stripped = stripped.replace(&format!("\u{1b}[{sgr}m"), "");
        }
        assert_eq!(stripped, plain);
    }
}
