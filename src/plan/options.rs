//! The `--ipam-opt` options of RequestPool.
//!
//! Promises: unknown options are refused with a list of the known ones, but only if gipam chooses the subnet (an empty Pool or
//! a size request); with an explicit Pool, options that affect the choice are accepted without effect. Does not choose.

use std::collections::BTreeMap;

use super::error::Refusal;
use super::prefix::Family;

/// The options of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolOptions {
    /// `pool=A,B`: use these pools, in this order.
    pub pools: Option<Vec<String>>,
    /// `v4.size=N` and `v6.size=N`.
    sizes: [Option<u8>; 2],
    /// `key=WORD`: give the same subnet again.
    pub key: Option<String>,
    /// `overlap=true`: a second copy on purpose. Docker passes the same map for both families, so the option may come with a
    /// family that has no `--subnet`, where it has no effect.
    pub overlap: bool,
}

const KNOWN: &str = "pool=NAME[,NAME], v4.size=N, v6.size=N, key=WORD, overlap=true";

impl PoolOptions {
    /// Parses the map; `choosing` means that gipam chooses the subnet.
    pub fn parse(options: &BTreeMap<String, String>, choosing: bool) -> Result<Self, Refusal> {
        let mut parsed = Self::default();
        for (key, value) in options {
            match key.as_str() {
                "pool" if choosing => {
                    parsed.pools = Some(value.split(',').map(str::to_owned).collect());
                }
                "v4.size" if choosing => parsed.sizes[0] = Some(size(key, value, Family::V4)?),
                "v6.size" if choosing => parsed.sizes[1] = Some(size(key, value, Family::V6)?),
                "key" if choosing => {
                    if value.is_empty() || value.len() > 255 {
                        return Err(invalid(key, value, "give a word of 1 to 255 bytes"));
                    }
                    parsed.key = Some(value.clone());
                }
                "overlap" => parsed.overlap = boolean(key, value)?,
                "RequestAddressType" => {}
                known if known.starts_with("com.docker.") || !choosing => {}
                _ => {
                    return Err(Refusal::invalid_request(format!(
                        "unknown option {key}={value}; known options are {KNOWN}"
                    )));
                }
            }
        }
        Ok(parsed)
    }

    pub const fn size(&self, family: Family) -> Option<u8> {
        self.sizes[family as usize]
    }
}

/// Whether the map contains `overlap=true`: a separate copy of a held subnet.
pub fn wants_copy(options: &BTreeMap<String, String>) -> bool {
    options.get("overlap").is_some_and(|value| boolean("overlap", value) == Ok(true))
}

fn invalid(key: &str, value: &str, why: &str) -> Refusal {
    Refusal::invalid_request(format!("option {key}={value}: {why}"))
}

fn size(key: &str, value: &str, family: Family) -> Result<u8, Refusal> {
    let digits = value.strip_prefix('/').unwrap_or(value);
    match digits.parse::<u8>() {
        Ok(size) if size <= family.bits() && !digits.starts_with('+') => Ok(size),
        _ => Err(invalid(key, value, &format!("give a prefix length from 0 to {}", family.bits()))),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" | "" => Ok(false),
        _ => Err(invalid(key, value, "give true or false")),
    }
}
