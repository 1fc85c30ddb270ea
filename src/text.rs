//! Texts from outside: names from the Engine, fields from requests, answers of hooks and servers.
//!
//! Promises: every result is one line that cannot control a terminal, forge a log line or reverse the
//! direction of text, whatever it contains; its length can be limited. Otherwise the text reads the same.
//! Only this file knows which characters those are, and only this file combines a number with a noun. Knows
//! nothing about fields and messages.

use std::borrow::Cow;

/// Length to which names are truncated, in bytes.
pub const NAME: usize = 255;

/// Whether a character starts a line, moves a cursor, reverses the direction of text, or is invisible.
fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Appends a character, escaped if necessary.
fn push(safe: &mut String, letter: char) {
    match letter {
        '\n' | '\r' | '\t' => safe.extend(letter.escape_default()),
        _ if is_unsafe(letter) => safe.extend(letter.escape_unicode()),
        _ => safe.push(letter),
    }
}

/// A number of things: `1 subnet`, `3 addresses`.
pub fn counted(count: impl std::fmt::Display, one: &str) -> String {
    let count = count.to_string();
    if let (Some(stem), false) = (one.strip_suffix("try"), count == "1") {
        return format!("{count} {stem}tries");
    }
    let ending = match (count.as_str(), one.ends_with('s')) {
        ("1", _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {one}{ending}")
}

/// The text on one line, with unsafe characters escaped.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        push(&mut safe, letter);
    }
    Cow::Owned(safe)
}

/// The text on one line, truncated to at most `most` bytes; three dots mark the end.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    cut_with(text, most, &"..."[..most.min(3)])
}

fn cut_with<'a>(text: &'a str, most: usize, more: &str) -> Cow<'a, str> {
    if text.len() <= most && !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let (mut safe, mut fits) = (String::new(), 0);
    for letter in text.chars() {
        push(&mut safe, letter);
        if safe.len() > most {
            safe.truncate(fits);
            safe.push_str(more);
            return Cow::Owned(safe);
        }
        if safe.len() + more.len() <= most {
            fits = safe.len();
        }
    }
    Cow::Owned(safe)
}

/// A name as it is stored and displayed: on one line, and truncated if it is long.
pub fn name(text: &str) -> Cow<'_, str> {
    cut_with(text, NAME, "")
}

/// Keeps line breaks, and treats each line as [`line`] does.
pub fn lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|letter| letter != '\n' && is_unsafe(letter)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.split('\n').map(line).collect::<Vec<_>>().join("\n"))
}

/// JSON with the same meaning, in which unsafe characters are escaped; they can occur only inside its
/// strings.
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(|letter| letter != '\n' && is_unsafe(letter)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if letter != '\n' && is_unsafe(letter) {
            let mut halves = [0; 2];
            for half in letter.encode_utf16(&mut halves) {
                safe.push_str(&format!("\\u{half:04x}"));
            }
        } else {
            safe.push(letter);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One unsafe character of each kind.
    const BAD: &str = "\0\u{7}\u{8}\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{61c}\u{200b}\u{200f}\u{2028}\u{2029}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0041}";

    #[test]
    fn unsafe_characters_are_escaped_and_others_stay() {
        for shown in [line(BAD), name(BAD), json(&serde_json::to_string(BAD).unwrap())] {
            assert!(!shown.contains(is_unsafe), "{shown:?}");
        }
        assert_eq!(line("a\u{1b}[31m\nb\u{202e}c"), "a\\u{1b}[31m\\nb\\u{202e}c");
        for plain in ["web", "wéb-1", "\u{65e5}\u{672c}", "", "a b", "\u{1f433}"] {
            assert!(matches!(line(plain), Cow::Borrowed(same) if same == plain));
            assert!(matches!(name(plain), Cow::Borrowed(same) if same == plain));
        }
        assert_eq!(lines("a\u{1b}\nb\n"), "a\\u{1b}\nb\n");
    }

    #[test]
    fn texts_are_truncated_between_characters() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abc...");
        assert_eq!(cut("\u{e9}\u{e9}\u{e9}\u{e9}", 6), "\u{e9}...");
        assert_eq!(cut("abcdefg", 2), "..");
        assert_eq!(cut("abc\u{1b}\u{1b}", 9), "abc...", "an escape is never cut in two");
        for length in [1, 254, 255, 256, 140_000] {
            assert!(name(&"\u{1b}\u{e9}x".repeat(length)).len() <= NAME);
            assert_eq!(name(&"x".repeat(length)).len(), length.min(NAME));
        }
    }

    #[test]
    fn escaped_json_has_the_same_meaning() {
        let text = serde_json::json!({"a": BAD, "b": ["\u{e9}", BAD]}).to_string();
        let (safe, before): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&json(&text)).unwrap(), serde_json::from_str(&text).unwrap());
        assert_eq!(safe, before);
    }
}
