//! The part of a path after the `?`: names and percent-encoded values.
//!
//! Promises: a value that cannot be decoded is an error that quotes it; it is never guessed.

use crate::config::value::duration;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::settings::{Millis, parse_rfc3339};

/// A query, not decoded yet.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(pub &'a str);

impl Query<'_> {
    /// One value, decoded; `None` if it is absent or empty.
    pub fn text(self, name: &str) -> Result<Option<String>, Refusal> {
        let value = form_urlencoded::parse(self.0.as_bytes()).find(|(key, _)| key == name);
        let value = value.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty());
        // The parser replaces invalid UTF-8 with U+FFFD.
        match &value {
            Some(text) if text.contains(char::REPLACEMENT_CHARACTER) || !self.is_well_encoded() => {
                Err(invalid(format!("the query {:?} is not valid URL encoding", self.0)))
            }
            _ => Ok(value),
        }
    }

    /// Whether each `%` is followed by two hexadecimal digits. The parser would take any other `%` literally.
    fn is_well_encoded(self) -> bool {
        let byte = |rest: &str| rest.len() > 1 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
        self.0.split('%').skip(1).all(byte)
    }

    /// One value, parsed.
    pub fn parsed<T: std::str::FromStr>(self, name: &str, what: &str) -> Result<Option<T>, Refusal> {
        let wrong = |text: &str| invalid(format!("{name}: {text:?} is not a valid {what}"));
        self.text(name)?.map(|text| text.parse().map_err(|_| wrong(&text))).transpose()
    }

    /// Whether the query contains `name=true`.
    pub fn flag(self, name: &str) -> bool {
        matches!(self.text(name), Ok(Some(text)) if text == "true")
    }

    /// The time in `since`: RFC 3339, or a span before now (`90s`, `10m`, `2h`, `3d`, `1w`).
    pub fn since(self, now: Millis) -> Result<Option<Millis>, Refusal> {
        self.text("since")?.map(|text| moment(&text, now)).transpose()
    }
}

fn moment(text: &str, now: Millis) -> Result<Millis, Refusal> {
    let wrong = || {
        invalid(format!(
            "since: {text:?} is not a time; write one such as 2026-01-31T12:00:00Z, or a span before now such as 90s, 10m, 2h, 3d, 1w"
        ))
    };
    let span = duration(text).ok().map(|span| now.saturating_sub(span));
    span.or_else(|| parse_rfc3339(text)).ok_or_else(wrong)
}

fn invalid(text: String) -> Refusal {
    Refusal::new(ErrorKind::Invalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_absent_is_none() {
        let query = Query("a=x%20y&b=&e=1+2%2B%c3%A9");
        assert_eq!(query.text("a").unwrap(), Some("x y".to_owned()));
        assert_eq!(query.text("b").unwrap(), None);
        assert_eq!(query.text("d").unwrap(), None);
        assert_eq!(query.text("e").unwrap(), Some("1 2+\u{e9}".to_owned()), "a space may be written as +");
        for odd in ["%zz", "%", "%4", "%+1", "%ff"] {
            let said = Query(&format!("b=&c={odd}")).text("c").unwrap_err();
            assert!(said.text.contains(odd) && said.kind == ErrorKind::Invalid, "{}", said.text);
        }
        assert!(
            query.parsed::<u8>("a", "number").unwrap_err().text.contains("\"x y\" is not a valid number")
        );
    }

    #[test]
    fn moments_are_times_or_spans_before_now() {
        let now = 1_800_000_000_000;
        let since = |text: &str| Query(&format!("since={text}")).since(now);
        assert_eq!(since("90s").unwrap(), Some(now - 90_000));
        assert_eq!(since("1w").unwrap(), Some(now - 604_800_000));
        assert_eq!(since("2027-01-15T08:00:00Z").unwrap(), Some(now));
        assert_eq!(since("99999999999999999999w").unwrap_err().kind, ErrorKind::Invalid);
        assert!(since("yesterday").unwrap_err().text.contains("\"yesterday\" is not a time"));
    }
}
