//! dockerd's JSON: turns bodies into requests, and replies into bodies.
//!
//! Promises: null, absent and unknown fields are tolerated if the meaning stays clear (P6); a request that
//! changes something must name its space or subnet (P8), and name it once; odd names and MACs never cause an
//! address to be refused: they are escaped, truncated or ignored. Makes no decisions, and knows nothing about
//! HTTP.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;
use smol_str::SmolStr;

use crate::json::{Json, Object, get};
use crate::plan::error::Refusal;
use crate::plan::host_use::HostUse;
use crate::plan::prefix::{self, Family, Prefix};
use crate::plan::request::{AddressRequest, Cannot, Dead, Mac, Reply, Request, Space, SubnetRequest, Wanted};
use crate::text;

/// Option of RequestAddress that says what the address is for.
const ADDRESS_TYPE: &str = "RequestAddressType";
/// Its value for a gateway, and the key of a gateway in the answer to RequestPool.
const GATEWAY: &str = "com.docker.network.gateway";
/// The endpoint's name (Engine 29+).
const ENDPOINT_NAME: &str = "com.docker.network.endpoint.name";
/// The endpoint's MAC, with `RequiresMACAddress`.
const ENDPOINT_MAC: &str = "com.docker.network.endpoint.macaddress";
/// libnetwork's label for next-fit.
const SERIAL: &str = "com.docker.network.ipam.serial";
/// How many characters are kept at the beginning of a message that is too long.
const MESSAGE_HEAD: usize = 1_500;
/// How many characters are kept at its end.
const MESSAGE_TAIL: usize = 500;
/// Length to which texts from outside are truncated in messages.
const SHOWN: usize = 100;

/// Constant answer to Plugin.Activate.
pub const ACTIVATE: &str = r#"{"Implements":["IpamDriver"]}"#;
/// Constant answer with both spaces; requested before every RequestPool since Engine 27 (P9).
pub const ADDRESS_SPACES: &str =
    r#"{"LocalDefaultAddressSpace":"local","GlobalDefaultAddressSpace":"global"}"#;

/// The body of GetCapabilities. Replay is never requested: the books are durable, and a refused replay kills
/// dockerd (P21).
pub fn capabilities(requires_mac_address: bool) -> String {
    json!({ "RequiresMACAddress": requires_mac_address, "RequiresRequestReplay": false }).to_string()
}

/// Whether the body is empty (P8).
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes.trim_ascii().is_empty()
}

/// A decoded body, which borrows from the bytes.
#[derive(Debug)]
pub struct Body<'a>(Object<'a>);

fn invalid(text: String) -> Refusal {
    Refusal::invalid_request(text)
}

impl<'a> Body<'a> {
    /// Decodes a body. dockerd sends an empty one, without any fields, when it repeats a lost call (P8).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if is_blank(bytes) {
            return Err(invalid(
                "empty request: the connection to the plugin broke and the Engine repeated the call without its body \
                 (moby#39331); nothing was changed, please try again"
                    .to_owned(),
            ));
        }
        let broken =
            |why: &dyn fmt::Display| invalid(format!("the body is not JSON ({why}); nothing was changed"));
        // UTF-8 is checked once for the whole body; otherwise it would be checked for each string.
        let text = str::from_utf8(bytes).map_err(|error| broken(&error))?;
        let body: Json<'_> = serde_json::from_str(text).map_err(|error| broken(&error))?;
        body.once().map_err(|key| broken(&format!("duplicate key {:?}", shown(key))))?;
        match body {
            Json::Object(fields) => Ok(Self(fields)),
            _ => Err(invalid("the body is not a JSON object; nothing was changed".to_owned())),
        }
    }

    /// A text field; `None` if absent or null.
    fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match get(&self.0, name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text)),
            Some(other) => Err(invalid(format!("{name} must be a string, not {}", other.kind()))),
        }
    }

    fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name)?
            .ok_or_else(|| invalid(format!("{name} is missing; nothing was changed, please try again")))
    }

    fn space(&self) -> Result<Space, Refusal> {
        let text = self.required("AddressSpace")?;
        Space::parse(text).ok_or_else(|| {
            Refusal::invalid_space(format!("{:?}; the address spaces are local and global", shown(text)))
        })
    }

    fn pool_id(&self) -> Result<String, Refusal> {
        match self.required("PoolID")? {
            "" => Err(Refusal::invalid_pool("the PoolID is empty; nothing was changed".to_owned())),
            id => Ok(id.to_owned()),
        }
    }

    fn address(&self) -> Result<Option<IpAddr>, Refusal> {
        match self.text("Address")? {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| invalid(format!("Address {:?} is not an IP address", shown(text)))),
        }
    }

    /// One of the options, if it is present and a string.
    fn option(&self, name: &str) -> Option<&str> {
        match get(&self.0, "Options")? {
            Json::Object(options) => match get(options, name)? {
                Json::Text(text) => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// All options, which must be strings.
    fn options(&self) -> Result<BTreeMap<String, String>, Refusal> {
        let map = match get(&self.0, "Options") {
            None => return Ok(BTreeMap::new()),
            Some(Json::Object(map)) => map,
            Some(other) => {
                return Err(invalid(format!("Options must be an object, not {}", other.kind())));
            }
        };
        let mut options = BTreeMap::new();
        for (key, value) in map {
            let Json::Text(text) = value else {
                return Err(invalid(format!("option {} must be a string, not {}", shown(key), value.kind())));
            };
            options.insert(key.to_string(), text.to_string());
        }
        Ok(options)
    }

    fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match get(&self.0, name) {
            None => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(other) => Err(invalid(format!("{name} must be true or false, not {}", other.kind()))),
        }
    }

    /// RequestPool. `in_use` is left empty, for the caller to fill in.
    pub fn subnet_request(
        &self,
        pools: Option<Arc<[String]>>,
        dead: Arc<Dead>,
    ) -> Result<SubnetRequest, Refusal> {
        let space = self.space()?;
        let family = if self.flag("V6")? { Family::V6 } else { Family::V4 };
        let wanted = match self.text("Pool")? {
            None | Some("") => Wanted::Any { size: None },
            Some(text) => wanted(text, family)?,
        };
        let range = match self.text("SubPool")? {
            None | Some("") => None,
            Some(text) => Some(
                prefix(text)
                    .ok_or_else(|| Refusal::invalid_sub_pool(format!("{:?} is not a prefix", shown(text))))?,
            ),
        };
        let options = self.options()?;
        Ok(SubnetRequest {
            space,
            family,
            wanted,
            range,
            options,
            pools,
            in_use: HostUse::default(),
            in_a_row: 0,
            dead,
            cannot: Cannot::default(),
        })
    }

    /// RequestAddress.
    pub fn address_request(&self, dead: Arc<Dead>) -> Result<Request, Refusal> {
        let (id, address) = (self.pool_id()?, self.address()?);
        let is = |key: &str, value: &str| self.option(key) == Some(value);
        Ok(Request::Address(AddressRequest {
            cannot: Cannot::default(),
            id,
            address,
            gateway: is(ADDRESS_TYPE, GATEWAY),
            name: self.option(ENDPOINT_NAME).and_then(tidy_name),
            mac: self.option(ENDPOINT_MAC).and_then(Mac::parse),
            serial: is(SERIAL, "true"),
            dead,
            half: None,
            probed: None,
        }))
    }

    /// ReleasePool.
    pub fn release_subnet(&self) -> Result<Request, Refusal> {
        Ok(Request::Release { id: self.pool_id()?, address: None, generation: None })
    }

    /// ReleaseAddress.
    pub fn release_address(&self) -> Result<Request, Refusal> {
        let id = self.pool_id()?;
        let address =
            self.address()?.ok_or_else(|| invalid("Address is missing; nothing was changed".to_owned()))?;
        Ok(Request::Release { id, address: Some(address), generation: None })
    }
}

/// Accepts only `address/length`: some programs read `010` as ten, others as eight.
fn prefix(text: &str) -> Option<Prefix> {
    let (address, length) = text.split_once('/')?;
    let plain =
        length.bytes().all(|byte| byte.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    (plain && address.parse::<IpAddr>().is_ok()).then(|| Prefix::parse(text))?
}

/// A specific prefix, or a size request: `0.0.0.0/N`, `::/N` (Engine 29).
fn wanted(text: &str, family: Family) -> Result<Wanted, Refusal> {
    let prefix = prefix(text).ok_or_else(|| {
        Refusal::invalid_pool(format!(
            "{:?} is not a prefix; write it as 192.0.2.0/24 or 2001:db8::/64",
            shown(text)
        ))
    })?;
    if prefix.family() != family {
        return Err(Refusal::invalid_pool(format!(
            "{prefix} is {}, but {family} was requested",
            prefix.family()
        )));
    }
    let unspecified = text.split('/').next().and_then(|address| address.parse::<IpAddr>().ok());
    Ok(match unspecified {
        Some(address) if address.is_unspecified() => Wanted::Any { size: Some(prefix.length()) },
        _ => Wanted::Exact(prefix),
    })
}

/// Escapes and truncates a text from outside for a message.
fn shown(text: &str) -> String {
    text::cut(text, SHOWN).into_owned()
}

/// A name in the form in which it is stored, see [`text::name`]; an empty name counts as absent.
pub fn tidy_name(name: &str) -> Option<SmolStr> {
    (!name.is_empty()).then(|| text::name(name).into())
}

/// The body of a successful answer.
pub fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Subnet { id, prefix, gateway } => {
            let data = match gateway {
                // Docker refuses a gateway without a length (P11).
                Some(gateway) => {
                    json!({ GATEWAY: format!("{}/{}", prefix::text(*gateway), prefix.length()) })
                }
                None => json!({}),
            };
            json!({ "PoolID": id, "Pool": prefix.to_string(), "Data": data }).to_string()
        }
        Reply::Address { address, length } => {
            // The characters of an address do not need escaping.
            format!(r#"{{"Address":"{}/{length}","Data":{{}}}}"#, prefix::text(*address))
        }
        Reply::Done | Reply::Wait(_) | Reply::Look(_) | Reply::Probe(_) | Reply::Claim(_) => "{}".to_owned(),
    }
}

/// Makes a message safe for a log, a terminal and a JSON body: escapes control characters, and leaves out the
/// middle of a very long message (its end says what to do).
pub fn tidy_message(message: &str) -> String {
    let cut = |at: usize| message.char_indices().nth(at).map(|(byte, _)| byte);
    let length = message.chars().count();
    match (cut(MESSAGE_HEAD), cut(length.saturating_sub(MESSAGE_TAIL))) {
        (Some(head), Some(tail)) if head < tail => {
            format!("{} ... {}", text::line(&message[..head]), text::line(&message[tail..]))
        }
        _ => text::line(message).into_owned(),
    }
}

/// The body of a refusal, with the text under both names, because Engines read one or the other (P7).
pub fn refusal(text: &str) -> String {
    json!({ "Err": text, "Error": text }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body<'_> {
        Body::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn p8_empty_body_says_what_happened() {
        for text in ["", "\n", " \r\n"] {
            let error = Body::parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("moby#39331"), "{error}");
        }
    }

    #[test]
    fn p8_absent_or_null_space_and_pool_id_are_refused() {
        for text in ["{}", r#"{"AddressSpace":null}"#, r#"{"AddressSpace":7}"#] {
            assert!(body(text).subnet_request(None, Arc::default()).is_err(), "{text}");
        }
        for text in ["{}", r#"{"PoolID":null}"#, r#"{"PoolID":""}"#, r#"{"PoolID":["x"]}"#] {
            assert!(body(text).address_request(Arc::default()).is_err(), "{text}");
            assert!(body(text).release_subnet().is_err(), "{text}");
            assert!(body(text).release_address().is_err(), "{text}");
        }
        assert!(body(r#"{"AddressSpace":""}"#).subnet_request(None, Arc::default()).is_ok());
    }

    #[test]
    fn size_requests_of_engine_29_name_a_size_only() {
        let any = |text: &str| body(text).subnet_request(None, Arc::default()).unwrap().wanted;
        assert_eq!(any(r#"{"AddressSpace":"local","Pool":"0.0.0.0/26"}"#), Wanted::Any { size: Some(26) });
        assert_eq!(
            any(r#"{"AddressSpace":"local","Pool":"::/80","V6":true}"#),
            Wanted::Any { size: Some(80) }
        );
        let exact = any(r#"{"AddressSpace":"local","Pool":"192.0.2.9/24"}"#);
        assert_eq!(exact, Wanted::Exact(Prefix::parse("192.0.2.0/24").unwrap()));
    }

    #[test]
    fn families_that_do_not_match_are_refused() {
        for text in [
            r#"{"AddressSpace":"local","Pool":"2001:db8::/64"}"#,
            r#"{"AddressSpace":"local","Pool":"192.0.2.0/24","V6":true}"#,
            r#"{"AddressSpace":"local","Pool":"::/64","V6":false}"#,
        ] {
            let refusal = body(text).subnet_request(None, Arc::default()).unwrap_err();
            assert!(refusal.text.starts_with("invalid address pool"), "{text}: {refusal}");
        }
    }

    #[test]
    fn messages_are_one_line_of_bounded_length_and_keep_their_end() {
        assert_eq!(tidy_message("a\u{1b}[31m\n\u{e9}"), "a\\u{1b}[31m\\n\u{e9}");
        let long = tidy_message(&format!("{} free it with: gipam", "\u{e9}".repeat(9_000)));
        assert!(long.chars().count() < 2_100 && long.ends_with(" free it with: gipam"), "{long}");
        let short = "x".repeat(2_000);
        assert_eq!(tidy_message(&short), short);
    }

    #[test]
    fn odd_names_and_macs_never_refuse_an_address() {
        let long = "x".repeat(5_000);
        for options in [
            r#"null"#.to_owned(),
            r#"[1,2]"#.to_owned(),
            r#"{"com.docker.network.endpoint.name":7}"#.to_owned(),
            format!(
                r#"{{"com.docker.network.endpoint.name":"{long}","com.docker.network.endpoint.macaddress":"zz"}}"#
            ),
            r#"{"com.docker.network.endpoint.name":"a\u0000b\n"}"#.to_owned(),
        ] {
            let Ok(Request::Address(request)) =
                body(&format!(r#"{{"PoolID":"x","Options":{options}}}"#)).address_request(Arc::default())
            else {
                panic!("{options}")
            };
            assert!(
                request
                    .name
                    .is_none_or(|name| name.len() <= 255 && !name.contains('\0') && !name.contains('\n'))
            );
            assert_eq!(request.mac, None);
        }
    }
}
