//! IPv6 addresses derived from the holder: modified EUI-64 (RFC 4291) and stable opaque identifiers (RFC 7217).
//!
//! Promises: pure functions of their arguments. Does not know whether the address is free.

use sha2::{Digest, Sha256};

use super::prefix::Prefix;
use super::request::Mac;

/// Maximum number of collisions before another order is used (RFC 7217 section 6: `IDGEN_RETRIES` is 3).
pub const STABLE_TRIES: u8 = 8;

/// The address with the modified EUI-64 of this MAC; requires at least 64 host bits (RFC 4291, appendix A).
pub fn eui64(prefix: Prefix, mac: Mac) -> Option<u128> {
    if prefix.length() > 64 {
        return None;
    }
    let Mac([a, b, c, d, e, f]) = mac;
    let identifier = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Some(prefix.first() | u128::from(identifier))
}

/// A stable opaque address of a holder: SHA-256 over prefix, holder, counter (`tries`) and secret, with as many bits as the
/// range has host bits. Returns `None` for identifiers that RFC 5453 reserves.
pub fn stable(range: Prefix, subnet: Prefix, holder: &str, tries: u8, secret: &[u8; 32]) -> Option<u128> {
    let mut hash = Sha256::new();
    hash.update(subnet.first().to_be_bytes());
    hash.update([subnet.length()]);
    hash.update((holder.len() as u64).to_be_bytes());
    hash.update(holder.as_bytes());
    hash.update([tries]);
    hash.update(secret);
    let digest: [u8; 32] = hash.finalize().into();
    let low: [u8; 16] = digest[..16].try_into().ok()?;
    let host = u128::from_be_bytes(low) & (range.last() ^ range.first());
    let address = range.first() | host;
    (!is_reserved_identifier(subnet, address)).then_some(address)
}

/// Reserved subnet anycast identifiers (RFC 2526, listed by RFC 5453), for subnets of 64 host bits.
fn is_reserved_identifier(subnet: Prefix, address: u128) -> bool {
    let identifier = address & u128::from(u64::MAX);
    subnet.length() <= 64 && (0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff).contains(&identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eui64_flips_the_universal_bit_as_in_rfc_4291() {
        let prefix = Prefix::parse("2001:db8::/64").unwrap();
        let address = eui64(prefix, Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde])).unwrap();
        assert_eq!(prefix.address(address).to_string(), "2001:db8::3656:78ff:fe9a:bcde");
        assert_eq!(eui64(Prefix::parse("2001:db8::/65").unwrap(), Mac([0; 6])), None);
    }

    #[test]
    fn stable_depends_on_holder_subnet_counter_and_secret() {
        let prefix = Prefix::parse("2001:db8::/64").unwrap();
        let other = Prefix::parse("2001:db8:0:1::/64").unwrap();
        let secret = [7; 32];
        let address = stable(prefix, prefix, "web", 0, &secret).unwrap();
        assert!(prefix.contains_number(address));
        assert_eq!(stable(prefix, prefix, "web", 0, &secret), Some(address));
        let low = |number: Option<u128>| number.map(|number| number & u128::from(u64::MAX));
        let differing = [
            stable(prefix, prefix, "db", 0, &secret),
            stable(prefix, prefix, "web", 1, &secret),
            stable(prefix, prefix, "web", 0, &[8; 32]),
            stable(other, other, "web", 0, &secret),
        ];
        for different in differing {
            assert_ne!(low(different), low(Some(address)));
        }
    }
}
