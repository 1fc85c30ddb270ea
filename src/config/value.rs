//! The types of configuration values: durations, modes, names, levels, prefixes.
//!
//! Promises: values are neither trimmed nor guessed; an error says how to write the value. Times are in milliseconds.
//! Does not know where a text is in the file; the caller adds that.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::Deref;

use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;
use tracing::Level;

use super::door::TcpAddress;
use super::edge::interface;
use super::error::{Problem, problem};
use super::hooks::EVENTS;
use super::origin::{At, Value};
use crate::plan::prefix::{AddressRange, Family, Prefix};
use crate::plan::settings::{AddressOrder, Millis};
use crate::plan::written;

/// Types that TOML or serde reads as they are.
macro_rules! plain {
    ($($kind:ty),*) => {$(
        impl Value for $kind {
            type Raw = Self;

            fn read(raw: Self) -> Result<Self, Problem> {
                Ok(raw)
            }
        }
    )*};
}

plain!(bool, u8, u16, u32, NonZeroU16, String, AddressOrder, UnknownSubnets, Begin, PlanRoutes, Translate);

impl<T: Value> Value for Vec<At<T>> {
    type Raw = Self;

    fn read(raw: Self) -> Result<Self, Problem> {
        Ok(raw)
    }
}

/// Types that are read from a text.
macro_rules! texts {
    ($($kind:ty = $read:expr;)*) => {$(
        impl Value for $kind {
            type Raw = String;

            fn read(text: String) -> Result<Self, Problem> {
                let read: fn(&str) -> Result<Self, Problem> = $read;
                read(&text)
            }
        }
    )*};
}

texts! {
    AddressRange = |text| written::range(text).map_err(|error| problem!("{error}"));
    TcpAddress = TcpAddress::parse;
}

/// Types that are written as a text with a rule, and how each is shown.
macro_rules! ruled {
    ($($(#[$about:meta])* $kind:ident($inner:ty) = $read:expr, $show:expr;)*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $kind(pub $inner);

        texts! { $kind = |text| $read(text).map($kind); }

        impl Deref for $kind {
            type Target = $inner;

            fn deref(&self) -> &$inner {
                &self.0
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let show: fn(&$inner) -> String = $show;
                formatter.write_str(&show(&self.0))
            }
        }
    )*};
}

ruled! {
    LogLevel(Level) = level, |level| level.as_str().to_ascii_lowercase();
    Time(Millis) = duration, |millis| duration_text(*millis);
    /// Permission bits.
    Mode(u32) = mode, |mode| format!("{mode:04o}");
    /// A threshold in percent; `None` = never.
    Share(Option<u8>) = share, |share| share.map_or_else(|| "off".to_owned(), |share| format!("{share}%"));
    /// A text that is not empty.
    Text(String) = text, String::clone;
    DriverName(String) = driver_name, String::clone;
    PoolName(String) = pool_name, String::clone;
    HookName(String) = hook_name, String::clone;
    /// The name of a host in a plan.
    PlanHost(String) = plan_host, String::clone;
    /// The name of an event that a hook can select.
    EventName(String) = event, String::clone;
    HostName(String) = host_name, String::clone;
    /// The name of a network interface.
    Interface(String) = interface, String::clone;
    /// An address of the page, where a port alone is on loopback.
    PageAddress(TcpAddress) = page_address, ToString::to_string;
}

/// What to do with subnets that the Engine does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownSubnets {
    Report,
    Free,
}

/// Who makes the routes to the slices of other hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanRoutes {
    /// Other programs.
    #[default]
    None,
    /// gipam, in the kernel of this host.
    Kernel,
}

impl PlanRoutes {
    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kernel => "kernel",
        }
    }
}

/// How the addresses of a pool are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Translate {
    /// RFC 6296.
    Nptv6,
}

/// At which event a new hook starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    Now,
    Start,
}

fn text(text: &str) -> Result<String, Problem> {
    if text.is_empty() { Err(problem!("must not be empty")) } else { Ok(text.to_owned()) }
}

/// Reads `80%` or `off`.
fn share(text: &str) -> Result<Option<u8>, Problem> {
    if text == "off" {
        return Ok(None);
    }
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
    let number = number.filter(|number| (1..=100).contains(number));
    number
        .map(Some)
        .ok_or_else(|| problem!("{text:?} is not a percentage; write \"1%\" to \"100%\", or \"off\""))
}

fn host_name(text: &str) -> Result<String, Problem> {
    let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    if letters && !text.is_empty() {
        return Ok(text.to_ascii_lowercase());
    }
    Err(problem!("{text:?} is not a host name; write letters, digits, '-' and '.', without a port"))
}

/// Reads `PORT`, `:PORT` (both loopback) or `HOST:PORT`.
fn page_address(text: &str) -> Result<TcpAddress, Problem> {
    let port = text.strip_prefix(':').unwrap_or(text);
    let alone = port.bytes().all(|byte| byte.is_ascii_digit());
    let address =
        if alone { TcpAddress::parse(&format!("127.0.0.1:{port}")) } else { TcpAddress::parse(text) };
    address.map_err(|_| {
        problem!(
            "{text:?} is not an address for the page; write PORT (on loopback), HOST:PORT or [IPV6]:PORT"
        )
    })
}

fn event(text: &str) -> Result<String, Problem> {
    if EVENTS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(problem!("unknown event {text:?}; the events are: {}", EVENTS.join(", ")))
}

/// A log level by its name, in any case.
pub(super) fn level(text: &str) -> Result<Level, Problem> {
    let refuse = || problem!("{text:?} is not a log level; write error, warn, info, debug or trace");
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_alphabetic())).ok_or_else(refuse)
}

/// A duration such as `10m`, `90s`, `1h30m`, `2d`, `500ms` or `0`, in milliseconds. The grammar is that of jiff; a day
/// has 24 hours.
pub fn duration(text: &str) -> Result<Millis, Problem> {
    let refuse =
        || problem!("{text:?} is not a duration; write it like \"10m\", \"90s\", \"1h30m\" or \"0\"");
    if text == "0" {
        return Ok(0);
    }
    let span: Span = text.parse().map_err(|_| refuse())?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| refuse())?;
    let whole = time.subsec_nanos() % 1_000_000 == 0 && text == text.trim();
    Millis::try_from(time.as_millis()).ok().filter(|millis| whole && *millis <= MOST).ok_or_else(refuse)
}

/// A hundred years, so that adding a duration to a time cannot overflow.
const MOST: Millis = 100 * 365 * 86_400_000;

/// The units in which a duration is shown, in milliseconds.
const UNITS: [(&str, Millis); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The shortest text that [`duration`] parses as this value.
pub fn duration_text(millis: Millis) -> String {
    let unit = UNITS.iter().rev().find(|(_, factor)| millis != 0 && millis.is_multiple_of(*factor));
    unit.map_or_else(|| "0".to_owned(), |(name, factor)| format!("{}{name}", millis / factor))
}

/// Octal permission bits such as `0600`.
pub fn mode(text: &str) -> Result<u32, Problem> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
    mode.filter(|mode| *mode <= 0o777).ok_or_else(|| {
        problem!("{text:?} is not a mode; write octal permission bits such as \"0600\" or \"0660\"")
    })
}

/// A boolean in any of the spellings that the old gipam's flags accept.
pub fn boolean(text: &str) -> Result<bool, Problem> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(problem!("{text:?} is not a boolean; write true or false")),
    }
}

/// A pool's base: a prefix of this family. Also returns whether host bits had to be masked.
pub fn base(text: &str, family: Family) -> Result<(Prefix, bool), Problem> {
    let (prefix, masked) = written::prefix(text).map_err(|error| problem!("{error}"))?;
    if prefix.family() != family {
        return Err(problem!("{prefix} is not an {family} prefix"));
    }
    Ok((prefix, masked))
}

/// A prefix length of this family, in decimal.
pub fn size(text: &str, family: Family) -> Result<u8, Problem> {
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let size = text.parse::<u8>().ok().filter(|size| decimal && *size <= family.bits());
    let most = family.bits();
    size.ok_or_else(|| problem!("{text:?} is not a prefix length; write a number from 0 to {most}"))
}

/// A driver name, which becomes a file name that Docker looks up.
pub(super) fn driver_name(name: &str) -> Result<String, Problem> {
    let refuse = |why| Err(problem!("{name:?} cannot be a driver name: {why}"));
    match name {
        "" => refuse("it is empty"),
        "default" | "null" => refuse("the Engine has its own driver with this name"),
        _ if name.len() > 63 => refuse("it is longer than 63 characters"),
        _ if !name.bytes().all(word_byte) => refuse("use letters, digits, '-', '_' and '.'"),
        _ if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) => {
            refuse("it must begin with a letter or a digit")
        }
        _ => Ok(name.to_owned()),
    }
}

/// The name of a host in a plan, which may be a host name with its domain.
pub fn plan_host(name: &str) -> Result<String, Problem> {
    let refuse = || problem!("{name:?} cannot be a host; use 1 to 253 letters, digits, '-', '_' and '.'");
    let fits = (1..=253).contains(&name.len()) && name.bytes().all(word_byte);
    fits.then(|| name.to_owned()).ok_or_else(refuse)
}

fn is_word(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(word_byte)
}

/// A pool name, which may appear in `--ipam-opt pool=A,B`.
pub fn pool_name(name: &str) -> Result<String, Problem> {
    let refuse = || problem!("{name:?} cannot be a pool name; use 1 to 63 letters, digits, '-', '_' and '.'");
    is_word(name).then(|| name.to_owned()).ok_or_else(refuse)
}

fn hook_name(name: &str) -> Result<String, Problem> {
    let refuse = || problem!("{name:?} cannot be a hook name; use 1 to 63 letters, digits, '-', '_' and '.'");
    is_word(name).then(|| name.to_owned()).ok_or_else(refuse)
}

const fn word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units_or_zero() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("10m", 600_000),
            ("60s", 60_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("1.5h", 5_400_000),
            ("10 m", 600_000),
            ("2 days", 172_800_000),
        ] {
            assert_eq!(duration(text), Ok(millis), "{text}");
        }
        for text in [
            "",
            "10",
            "m",
            " 10m",
            "10m ",
            "-1s",
            "10M",
            "99999999999999999999s",
            "40000d",
            "1us",
            "1y",
            "2mo",
            "10m ago",
        ] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_shown_duration_can_be_parsed_again() {
        for text in ["0", "10m", "60s", "1h", "90s", "250ms", "2d"] {
            let millis = duration(text).unwrap();
            assert_eq!(duration(&duration_text(millis)), Ok(millis));
        }
        assert_eq!(duration_text(600_000), "10m");
        assert_eq!(duration_text(5_400_000), "90m");
    }

    #[test]
    fn modes_are_octal_permission_bits() {
        assert_eq!(mode("0600"), Ok(0o600));
        assert_eq!(mode("660"), Ok(0o660));
        for text in ["", "0888", "-600", "+600", "rw", "07777"] {
            assert!(mode(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn booleans_have_the_spellings_of_the_old_flags() {
        assert_eq!(boolean("True"), Ok(true));
        assert_eq!(boolean("0"), Ok(false));
        for text in ["yes", "", "tRuE", " true"] {
            assert!(boolean(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn host_bits_of_a_base_are_detected() {
        assert!(!base("10.0.0.0/8", Family::V4).unwrap().1);
        assert!(base("10.0.0.1/8", Family::V4).unwrap().1);
        assert!(!base("2001:DB8:0::/48", Family::V6).unwrap().1);
        assert!(base("10.0.0.0/8", Family::V6).is_err());
        assert!(base("10.0.0.0", Family::V4).is_err());
    }

    #[test]
    fn names_that_docker_reserves_or_cannot_use_are_refused() {
        let (longest, longer) = ("x".repeat(63), "x".repeat(64));
        for name in ["gipam", "gipam-demo", "a", "0", "Lan_2.x", &longest] {
            assert_eq!(driver_name(name), Ok(name.to_owned()), "{name}");
        }
        for name in ["", "default", "null", "a/b", "../x", ".x", ".", "-x", "a b", "a:b", "é", "a\n", &longer]
        {
            assert!(driver_name(name).is_err(), "{name:?}");
        }
        for name in ["default", "dmz-2", "_x"] {
            assert_eq!(pool_name(name), Ok(name.to_owned()), "{name}");
        }
        for name in ["", "a,b", "a b", "a=b"] {
            assert!(pool_name(name).is_err(), "{name:?}");
        }
    }
    #[test]
    fn a_share_is_a_whole_percentage_or_off() {
        assert_eq!(share("80%"), Ok(Some(80)));
        assert_eq!(share("100%"), Ok(Some(100)));
        assert_eq!(share("off"), Ok(None));
        for text in ["", "80", "0%", "101%", "8.5%", "-1%", "%", "never"] {
            assert!(share(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_port_alone_means_loopback() {
        for text in ["9468", ":9468", "127.0.0.1:9468"] {
            let found = page_address(text).map(|found| found.to_string());
            assert_eq!(found, Ok("127.0.0.1:9468".to_owned()), "{text}");
        }
        assert_eq!(page_address("[::1]:80").map(|found| found.to_string()), Ok("[::1]:80".to_owned()));
        for text in ["", "host", "host:", "65536", ":-1", "http://x:1", "0x1"] {
            assert!(page_address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn loopback_addresses_are_recognized() {
        for (text, inside) in [
            (":1", true),
            ("localhost:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("host:1", false),
        ] {
            assert_eq!(page_address(text).map(|found| found.is_loopback()), Ok(inside), "{text}");
        }
    }
}
