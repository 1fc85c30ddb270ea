//! Counts in JSON and as text.
//!
//! Promises: every reader of JSON gets the exact value. Does not count anything.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A count that may be as large as the IPv6 address space: in JSON a number up to 2^53, a string above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u128);

/// The largest number that every JSON reader keeps exact.
const EXACT: u128 = 1 << 53;

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match u64::try_from(self.0) {
            Ok(number) if self.0 <= EXACT => serializer.serialize_u64(number),
            _ => serializer.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum NumberOrText {
            Number(u64),
            Text(String),
        }
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => Ok(Self(number.into())),
            NumberOrText::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// A count in digit groups of three; above a trillion as a power of two, rounded down.
pub fn digits(count: u128) -> String {
    if count > 1_000_000_000_000 {
        return format!("2^{}", count.ilog2());
    }
    let plain = count.to_string();
    let mut text = String::new();
    for (n, digit) in plain.chars().enumerate() {
        if n > 0 && (plain.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
