//! The colours of the page: WCAG AA, computed from the variables of its style sheet, light and dark.

use std::collections::BTreeMap;

const SHEET: &str = include_str!("../../src/web/assets/page.css");

/// Text colours and their backgrounds: a contrast of 4.5.
const TEXTS: [(&str, &[&str]); 14] = [
    ("ink", &["back", "panel", "faint", "bad-back", "warn-back", "hatch", "hatch-line"]),
    ("soft", &["back", "panel", "faint"]),
    ("accent", &["back", "panel", "faint", "bad-back", "warn-back"]),
    ("accent-ink", &["accent"]),
    ("good", &["panel"]),
    ("bad", &["panel", "bad-back"]),
    ("warn", &["panel", "warn-back"]),
    ("u1-ink", &["u1"]),
    ("u2-ink", &["u2"]),
    ("u3-ink", &["u3"]),
    ("u4-ink", &["u4"]),
    ("u5-ink", &["u5"]),
    ("cool-ink", &["cool"]),
    ("alien-ink", &["alien", "alien-line"]),
];

/// Shapes and their surroundings: a contrast of 3. The light cells of the map have an edge of u3.
const SHAPES: [(&str, &[&str]); 8] = [
    ("focus", &["back", "panel"]),
    ("edge", &["back", "panel"]),
    ("u3", &["panel"]),
    ("u4", &["panel"]),
    ("u5", &["panel"]),
    ("cool-edge", &["panel"]),
    ("alien-edge", &["panel", "alien"]),
    ("soft", &["faint"]),
];

/// The variables in the first block after this text.
fn variables(from: &str) -> BTreeMap<String, [f64; 3]> {
    let block = SHEET.split_once(from).unwrap().1.split_once('}').unwrap().0;
    let mut found = BTreeMap::new();
    for line in block.split(';') {
        let Some((name, value)) = line.trim().strip_prefix("--").and_then(|line| line.split_once(": "))
        else {
            continue;
        };
        let Some(hex) = value.strip_prefix('#') else { continue };
        let digits: String = if hex.len() == 3 {
            hex.chars().flat_map(|digit| [digit, digit]).collect()
        } else {
            hex.to_owned()
        };
        let part = |at: usize| f64::from(u8::from_str_radix(&digits[at..at + 2], 16).unwrap()) / 255.0;
        found.insert(name.to_owned(), [part(0), part(2), part(4)]);
    }
    found
}

/// WCAG 2's relative luminance.
fn light(colour: [f64; 3]) -> f64 {
    let linear = |part: f64| if part <= 0.03928 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
    let [red, green, blue] = colour.map(linear);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[test]
fn colours_meet_wcag_aa_in_light_and_dark() {
    for (scheme, from) in [("light", ":root {"), ("dark", "(prefers-color-scheme: dark) {\n  :root {")] {
        let colours = variables(from);
        assert!(colours.len() > 25, "{scheme}: {colours:?}");
        let faint: Vec<String> = [(&TEXTS[..], 4.5), (&SHAPES[..], 3.0)]
            .into_iter()
            .flat_map(|(pairs, least)| pairs.iter().map(move |pair| (pair, least)))
            .flat_map(|((ink, papers), least)| papers.iter().map(move |paper| (*ink, *paper, least)))
            .filter_map(|(ink, paper, least)| {
                let [one, other] = [ink, paper].map(|name| light(colours[name]) + 0.05);
                let ratio = one.max(other) / one.min(other);
                (ratio < least).then(|| format!("{ink} on {paper}: {ratio:.2}, not {least}"))
            })
            .collect();
        assert!(faint.is_empty(), "{scheme}: {faint:#?}");
    }
}
