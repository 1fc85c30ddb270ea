//! Lines of a screen: coloured text, bars, and human-readable times and sizes.
//!
//! Promises: a line is never wider than requested, whatever names it contains, and reads the same without colour; text
//! from outside cannot control the terminal. Does not know what the lines say.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::tables::escaped;
use crate::view::Fullness;

/// Colours, as SGR numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain = 0,
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
    Magenta = 35,
    Cyan = 36,
    Grey = 90,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Ink, String)>);

impl Line {
    /// Our own plain text, which is trusted; for any other text see [`Line::quote`].
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self::default().and(Ink::Plain, text)
    }

    /// Appends text in this colour.
    pub(super) fn and(mut self, ink: Ink, text: impl Into<String>) -> Self {
        self.0.push((ink, text.into()));
        self
    }

    /// Appends text from outside, escaped.
    pub(super) fn quote(self, text: &str) -> Self {
        self.and(Ink::Plain, escaped(text))
    }

    /// The line, cut to a width; two dots replace what is cut off.
    pub(super) fn drawn(&self, width: usize, colour: bool) -> String {
        let length: usize = self.0.iter().map(|(_, text)| text.width()).sum();
        let mut room = if length > width { width.saturating_sub(2) } else { width };
        let mut drawn = String::new();
        for (ink, text) in &self.0 {
            let part: String = fitting(text.chars(), room).collect();
            // The first text that does not fit ends the line, even if a narrow one follows.
            room = if part.len() < text.len() { 0 } else { room - part.width() };
            match (*ink, colour) {
                (Ink::Plain, _) | (_, false) => drawn.push_str(&part),
                (ink, true) => drawn.push_str(&format!("\u{1b}[{}m{part}\u{1b}[0m", ink as u8)),
            }
        }
        if length > width {
            drawn.push_str(&".."[..width.min(2)]);
        }
        drawn.truncate(drawn.trim_end_matches(' ').len());
        drawn
    }
}

/// As many of the first characters as fit into this number of columns.
fn fitting(letters: impl Iterator<Item = char>, columns: usize) -> impl Iterator<Item = char> {
    letters.scan(columns, |room, letter| {
        *room = room.checked_sub(letter.width().unwrap_or(0))?;
        Some(letter)
    })
}

/// Escapes a text from outside and shortens it to at most this many columns; two dots replace the middle.
pub(super) fn short(text: &str, columns: usize) -> String {
    let text = escaped(text);
    if text.width() <= columns {
        return text;
    }
    let room = columns.saturating_sub(2);
    let front: String = fitting(text.chars(), room / 2).collect();
    let back: Vec<char> = fitting(text.chars().rev(), room.div_ceil(2)).collect();
    let dots = &".."[..columns.min(2)];
    front + dots + &back.iter().rev().collect::<String>()
}

/// A text in lines of this many columns, broken between words; the first line has a separate width.
pub(super) fn wrapped(text: &str, first: usize, columns: usize) -> Vec<String> {
    let (mut lines, mut line, mut room) = (Vec::new(), String::new(), first);
    for word in text.split(' ') {
        if !line.is_empty() && line.width() + 1 + word.width() > room {
            lines.push(std::mem::take(&mut line));
            room = columns;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// The text, padded with spaces to this many columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

/// A bar of this many characters between brackets. It is empty only at zero, and full only at 100 %.
pub(super) fn bar(full: Fullness, signs: usize) -> (Ink, String) {
    let share = full.0.clamp(0.0, 1.0);
    // The result is at most `signs`, which is small.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and signs")]
    let full = (share * signs as f64) as usize;
    let full = if share > 0.0 { full.max(1) } else { 0 };
    let ink = match share {
        share if share >= 0.9 => Ink::Red,
        share if share >= 0.7 => Ink::Yellow,
        _ => Ink::Green,
    };
    (ink, format!("[{}{}]", "#".repeat(full), ".".repeat(signs - full)))
}

/// Seconds as a human-readable duration.
pub(super) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match () {
        () if seconds < 60 => format!("{seconds} s"),
        () if minutes < 60 => format!("{minutes} min"),
        () if hours < 24 => format!("{hours} h {} min", minutes % 60),
        () => format!("{days} d {} h", hours % 24),
    }
}

/// Bytes as a human-readable size.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{} GiB", bytes / 1_073_741_824),
    }
}

/// The time of day of an RFC 3339 time, preceded by the date unless it is today.
pub(super) fn clock(at: &str, now: Option<&str>) -> String {
    let plain = at.split(['.', 'Z']).next().unwrap_or(at);
    match (plain.split_once('T'), now.and_then(|now| now.split_once('T'))) {
        (Some((day, time)), Some((today, _))) if day == today => time.to_owned(),
        (Some((day, time)), _) => format!("{day} {time}"),
        (None, _) => escaped(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_wider_than_requested_with_or_without_colour() {
        let line = Line::of("a").and(Ink::Red, "bcdef").quote("g\u{1b}[2J");
        assert_eq!(line.drawn(80, false), "abcdefg\\u{1b}[2J");
        assert_eq!(line.drawn(6, false), "abcd..");
        assert_eq!(line.drawn(1, false), ".");
        assert_eq!(line.drawn(6, true), "a\u{1b}[31mbcd\u{1b}[0m..");
        assert_eq!(line.drawn(0, true).replace("\u{1b}[31m", "").replace("\u{1b}[0m", ""), "");
    }

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(short("/var/lib/gipam/gipam.db", 12), "/var/..am.db");
        assert_eq!(short("web", 12), "web");
        assert_eq!(short("web\n", 3), "...".to_owned().replace("...", "..n"));
    }

    #[test]
    fn a_wide_character_has_two_columns_and_a_combining_accent_none() {
        let wide = "\u{65e5}\u{672c}\u{8a9e}";
        assert_eq!(Line::of(wide).drawn(6, false), wide);
        assert_eq!(Line::of(wide).and(Ink::Plain, "a").drawn(6, false), "\u{65e5}\u{672c}..");
        assert_eq!(Line::of(wide).and(Ink::Plain, "a").drawn(5, false), "\u{65e5}..");
        assert_eq!(Line::of("e\u{301}e\u{301}").drawn(2, false), "e\u{301}e\u{301}");
        assert_eq!(short(&wide.repeat(2), 8), "\u{65e5}..\u{8a9e}");
        assert_eq!(padded(wide, 8), format!("{wide}  "));
        assert_eq!(wrapped("\u{65e5}\u{672c} \u{8a9e} a", 7, 4), ["\u{65e5}\u{672c} \u{8a9e}", "a"]);
    }

    #[test]
    fn a_bar_is_empty_only_at_zero_and_full_only_at_100_percent() {
        let text = |share| bar(Fullness(share), 4).1;
        assert_eq!(
            [0.0, 0.001, 0.5, 0.999, 1.0, f64::NAN].map(text),
            ["[....]", "[#...]", "[##..]", "[###.]", "[####]", "[....]"]
        );
        assert_eq!(
            [0.5, 0.7, 0.9].map(|share| bar(Fullness(share), 4).0),
            [Ink::Green, Ink::Yellow, Ink::Red]
        );
    }

    #[test]
    fn times_spans_and_sizes_are_human_readable() {
        assert_eq!([5, 65, 3_700, 90_000, -3].map(span), ["5 s", "1 min", "1 h 1 min", "1 d 1 h", "0 s"]);
        assert_eq!([5, 4_096, 5 << 20, 3 << 30].map(size), ["5 B", "4 KiB", "5 MiB", "3 GiB"]);
        let now = Some("2026-01-02T10:00:00Z");
        assert_eq!(clock("2026-01-02T03:04:05Z", now), "03:04:05");
        assert_eq!(clock("2026-01-01T03:04:05.123Z", now), "2026-01-01 03:04:05");
        assert_eq!(clock("\u{1b}", now), "\\u{1b}");
    }
}
