//! A MAC address: parsed once, where text is read, and always printed in the same form.
//!
//! Promises: `Display` and [`Mac::parse`] agree. Does not know who has the MAC.

use std::fmt;

use smol_str::SmolStr;

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Parses six bytes separated by `:` or `-`, or three pairs of bytes separated by dots, as Docker does; nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut mac, mut digits) = ([0; 6], [0; 12]);
        let parted = match text.len() {
            17 => text.bytes().skip(2).step_by(3).all(|byte| matches!(byte, b':' | b'-')),
            14 => text.bytes().skip(4).step_by(5).all(|byte| byte == b'.'),
            _ => false,
        };
        let every = if text.len() == 17 { 3 } else { 5 };
        let of_bytes = text.bytes().enumerate().filter(|(at, _)| at % every != every - 1);
        for (digit, (_, byte)) in digits.iter_mut().zip(of_bytes) {
            *digit = u8::try_from(char::from(byte).to_digit(16)?).ok()?;
        }
        for (byte, pair) in mac.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        parted.then_some(Self(mac))
    }

    /// Whether software may have generated it: the bit for locally administered addresses is set.
    pub const fn is_made_up(self) -> bool {
        self.0[0] & 2 != 0
    }
}

impl Mac {
    /// The MAC as text: the same as `to_string`, but in less time.
    pub fn text(self) -> SmolStr {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut text = [b':'; 17];
        for (place, byte) in text.chunks_mut(3).zip(self.0) {
            if let [high, low, ..] = place {
                (*high, *low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            }
        }
        // Only digits and colons, so this is valid UTF-8.
        str::from_utf8(&text).unwrap_or_default().into()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text())
    }
}
