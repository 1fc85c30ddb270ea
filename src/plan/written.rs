//! Parses the prefixes, ranges and addresses that a person writes, and knows which prefixes can never serve a
//! container.
//!
//! Promises: pure; the text is never silently trimmed, masked or reordered; a refusal says what is wrong with
//! the text (its length, its order, its families), not only that it is wrong. Wire requests are parsed
//! elsewhere, more tolerantly.

use std::net::IpAddr;

use super::prefix::{AddressRange, Family, Prefix, number};
use super::settings::{Base, default_size};

/// Why a text cannot be parsed, and how to write it. The variant shows what was probably meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A prefix with a length that the family does not have.
    #[error("{0}")]
    Length(String),
    /// A prefix with a netmask instead of a length.
    #[error("{0}")]
    Netmask(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Parses a prefix; also returns whether bits beyond its length were set.
pub fn prefix(text: &str) -> Result<(Prefix, bool), Unreadable> {
    let wrong = || {
        let text =
            format!("{text:?} is not a prefix; write it like 10.20.0.0/16 or 2001:db8::/48, without spaces");
        Unreadable::Other(text)
    };
    let Some((address, length)) = text.split_once('/') else {
        let address: IpAddr = text.parse().map_err(|_| wrong())?;
        let usual = default_size(Family::of(address));
        return Err(Unreadable::Other(format!("{text} has no length; write it like {text}/{usual}")));
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    if let Some(prefix) = Prefix::parse(text) {
        return Ok((prefix, number(address) != prefix.first()));
    }
    if let Some(prefix) = masked(address, length) {
        return Err(Unreadable::Netmask(format!("{text} has a netmask; write {prefix}")));
    }
    let family = Family::of(address);
    // A number that is too long to be parsed is too large.
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || length.parse::<u32>().is_ok_and(|number| number <= family.bits().into()) {
        return Err(wrong());
    }
    let most = family.bits();
    Err(Unreadable::Length(format!(
        "{text} has length /{length}, and {family} has lengths from /0 to /{most}; write one of those"
    )))
}

/// Converts `ADDRESS/255.255.0.0` to a prefix.
fn masked(address: IpAddr, mask: &str) -> Option<Prefix> {
    let mask: std::net::Ipv4Addr = mask.parse().ok().filter(|_| address.is_ipv4())?;
    let length = mask.to_bits().leading_ones();
    let whole = mask.to_bits().count_ones() == length;
    Some(Prefix::new(Family::V4, number(address), u8::try_from(length).ok().filter(|_| whole)?))
}

/// Parses addresses to reserve: an address, a prefix without host bits, or `first-last`.
pub fn range(text: &str) -> Result<AddressRange, Unreadable> {
    let wrong = || {
        Unreadable::Other(format!(
            "{text:?} is not an address, a prefix or a range; write 10.20.0.7, 10.20.0.0/28 or 10.20.0.7-10.20.0.9"
        ))
    };
    if let Some(range) = AddressRange::parse(text) {
        if let Some((prefix, true)) = text.contains('/').then(|| prefix(text)).transpose()? {
            let address = text.split('/').next().unwrap_or_default();
            return Err(Unreadable::Other(format!(
                "{text} has host bits set; write {prefix} for all of it, or {address} for the one address"
            )));
        }
        return Ok(range);
    }
    if let Some((first, last)) = text.split_once('-') {
        let (first, last): (IpAddr, IpAddr) =
            (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        return Err(Unreadable::Other(match Family::of(first) == Family::of(last) {
            true => {
                format!("{text} runs backwards: the first address must come first; write {last}-{first}")
            }
            false => format!("{text} mixes IPv4 and IPv6; write one range for each family"),
        }));
    }
    match prefix(text) {
        Err(error @ (Unreadable::Length(_) | Unreadable::Netmask(_))) => Err(error),
        _ => Err(wrong()),
    }
}

/// Parses an address, which may be followed by the length of its subnet, as Docker prints it.
pub fn address(text: &str) -> Result<IpAddr, Unreadable> {
    let wrong = || {
        let text = format!("{text:?} is not an IP address; write it like 10.20.0.7 or 2001:db8::7");
        Unreadable::Other(text)
    };
    if !text.contains('/') {
        return text.parse().map_err(|_| wrong());
    }
    match prefix(text) {
        Ok(_) => text.split('/').next().and_then(|address| address.parse().ok()).ok_or_else(wrong),
        Err(error @ Unreadable::Length(_)) => Err(error),
        Err(_) => Err(wrong()),
    }
}

/// Prefixes whose addresses no container can have, and what they are.
const NEVER: [(&str, &str); 8] = [
    ("0.0.0.0/8", "\"this network\", which no host has as its address"),
    ("127.0.0.0/8", "loopback"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved and broadcast"),
    ("::/128", "the unspecified address"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4 written as IPv6"),
    ("ff00::/8", "multicast"),
];

/// The prefix overlapping this base whose addresses no container can have, and what it is.
pub fn never_serves(base: Prefix) -> Option<(Prefix, &'static str)> {
    let known = NEVER.iter().filter_map(|(text, what)| Some((Prefix::parse(text)?, *what)));
    known.into_iter().find(|(never, _)| never.overlaps(base))
}

/// Why this address cannot lead other hosts to one; `None` if it can.
pub fn never_leads(via: IpAddr) -> Option<&'static str> {
    let never = never_serves(Prefix::host(via)).map(|(_, what)| what);
    // IPv4 link-local addresses are on one link, as any others, and need no interface.
    let link_local = |via| Prefix::parse("fe80::/10").is_some_and(|local| local.contains_address(via));
    never.or_else(|| link_local(via).then_some("link-local, and needs an interface on each host"))
}

/// A warning about a base that works, but perhaps not as intended.
pub fn remark(base: &Base) -> Option<String> {
    let link_local = ["169.254.0.0/16", "fe80::/10"];
    let Base { base: prefix, size, .. } = base;
    if link_local.iter().filter_map(|text| Prefix::parse(text)).any(|local| local.overlaps(*prefix)) {
        return Some(format!(
            "{prefix} is link-local, so it cannot be routed to from other networks; use a routable prefix"
        ));
    }
    if *size == prefix.family().bits() {
        return Some(format!(
            "size /{size} gives each network of {prefix} one address; where Docker takes it for the gateway, \
             containers get none"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T: std::fmt::Debug>(read: Result<T, Unreadable>) -> String {
        read.unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_of_a_prefix_names_what_is_wrong() {
        assert_eq!(prefix("10.20.0.0/16").map(|it| it.1), Ok(false));
        assert_eq!(prefix("10.20.0.1/16").map(|it| it.1), Ok(true));
        for (text, words) in [
            ("10.0.0.0/33", "length /33"),
            ("2001:db8::/129", "/0 to /128"),
            ("10.0.0.0/99999999999", "length /99999999999"),
            ("10.0.0.0", "has no length; write it like 10.0.0.0/24"),
            ("2001:db8::", "2001:db8::/64"),
            ("10.20.0.0/255.255.0.0", "netmask; write 10.20.0.0/16"),
            ("10.20.0.0/", "is not a prefix"),
            ("10.20.0.0/x", "is not a prefix"),
            (" 10.20.0.0/16", "without spaces"),
            ("10.20.0/16", "is not a prefix"),
        ] {
            let said = said(prefix(text));
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_refusal_of_a_range_names_what_is_wrong() {
        assert!(
            range("10.0.0.1-10.0.0.9").is_ok() && range("10.0.0.7").is_ok() && range("10.0.0.0/28").is_ok()
        );
        for (text, words) in [
            ("10.0.0.9-10.0.0.1", "write 10.0.0.1-10.0.0.9"),
            ("10.0.0.1-2001:db8::1", "mixes IPv4 and IPv6"),
            ("10.0.0.0/33", "length /33"),
            ("10.0.0.5/28", "write 10.0.0.0/28 for all of it, or 10.0.0.5"),
            ("10.0.0.0/255.255.255.0", "netmask"),
            ("x-y", "is not an address, a prefix or a range"),
            ("10.0.0.1 - 10.0.0.9", "is not an address"),
        ] {
            let said = said(range(text));
            assert!(said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn an_address_may_have_the_length_of_its_subnet() {
        for text in ["10.0.0.7", "10.0.0.7/24", "10.0.0.7/32"] {
            assert_eq!(address(text).unwrap().to_string(), "10.0.0.7");
        }
        assert_eq!(address("2001:db8::7/64").unwrap().to_string(), "2001:db8::7");
        assert!(said(address("10.0.0.7/33")).contains("length /33"));
        for text in ["", "web", "10.0.0.7/", "10.0.0/24", "10.0.0.7/x"] {
            assert!(said(address(text)).contains("is not an IP address"), "{text}");
        }
    }

    #[test]
    fn prefixes_that_no_container_can_have_are_named_by_their_kind() {
        let never = |text: &str| never_serves(Prefix::parse(text).unwrap()).map(|(_, what)| what);
        for (text, what) in [
            ("127.1.0.0/16", "loopback"),
            ("224.0.0.0/4", "multicast"),
            ("239.1.0.0/16", "multicast"),
            ("255.255.0.0/16", "reserved and broadcast"),
            ("ff02::/16", "multicast"),
            ("::/64", "the unspecified address"),
            ("::1/128", "loopback"),
            ("::ffff:10.0.0.0/104", "IPv4 written as IPv6"),
        ] {
            assert_eq!(never(text), Some(what), "{text}");
        }
        assert!(never("0.0.0.0/0").is_some() && never("::/0").is_some() && never("126.0.0.0/7").is_some());
        for text in ["10.0.0.0/8", "198.18.0.0/15", "169.254.0.0/16", "fe80::/56", "fd00::/8", "2000::/3"] {
            assert_eq!(never(text), None, "{text}");
        }
    }

    #[test]
    fn a_base_that_works_but_perhaps_not_as_intended_causes_a_warning() {
        let said = |text: &str, size| {
            let base = Prefix::parse(text).unwrap();
            remark(&Base::new(base, size, Default::default()))
        };
        assert!(said("fe80::/56", 64).unwrap().contains("link-local"));
        assert!(said("10.0.0.0/24", 32).unwrap().contains("one address"));
        assert_eq!((said("10.0.0.0/24", 28), said("2001:db8::/48", 64)), (None, None));
    }
}
