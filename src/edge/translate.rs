//! The rules that translate prefixes (RFC 6296): between the inner prefix of a pool and the prefix by which the provider reaches it now.
//!
//! Promises: pure. The rules keep no state: they rewrite the first bits of the destination before connection tracking sees a packet, and
//! those of the source after it, so that connections are known by their inner addresses only and none is bound to the outer prefix.
//! The addresses in ICMPv6 errors are translated, too. Addresses of this host itself are not. Unlike RFC 6296, the rest of the address
//! stays as it is, and the checksums of TCP, UDP and ICMPv6 are corrected instead: nftables cannot add.

use std::collections::BTreeSet;

use super::nft::{AddressField, NftChain, NftCmp, NftMeta, NftRule};
use crate::plan::prefix::Prefix;

/// Two prefixes of the same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Translation {
    /// Where the containers are.
    pub inner: Prefix,
    /// How the rest of the world reaches them.
    pub outer: Prefix,
}

impl Translation {
    /// The inner prefix and the first part of the outer one that has its length; `None` if the outer prefix is too small.
    pub fn new(inner: Prefix, outer: Prefix) -> Option<Self> {
        let is_possible = outer.length() <= inner.length() && outer.family() == inner.family();
        is_possible.then(|| Self { inner, outer: Prefix::new(outer.family(), outer.first(), inner.length()) })
    }
}

/// Marks packets from an inner address to an outer one between the two chains: both of their addresses are translated.
const BOTH: u32 = 1 << 27;
/// `NF_IP6_PRI_RAW`: before connection tracking.
const BEFORE: i32 = -300;
/// After connection tracking, and after source NAT (100).
const AFTER: i32 = 150;
/// `RTN_LOCAL`: the type of an address of this host.
const LOCAL: u32 = 2;
/// `IPPROTO_ICMPV6`.
const ICMP6: u8 = 58;
/// The smallest and the largest type of an ICMPv6 error that contains the packet to which it refers.
const ERRORS: [u8; 2] = [1, 4];

/// The chains of gipam's table.
pub fn chains(translations: &BTreeSet<Translation>) -> Vec<NftChain> {
    let of_inbound = translations.iter().flat_map(|to| inbound(to, translations)).collect();
    let of_outbound = translations.iter().flat_map(outbound).collect();
    vec![
        NftChain { name: "inbound", hook: 0, priority: BEFORE, rules: of_inbound },
        NftChain { name: "outbound", hook: 4, priority: AFTER, rules: of_outbound },
    ]
}

/// Packets to an outer address; `all` are the translations, from whose inner addresses they may come.
fn inbound(Translation { inner, outer }: &Translation, all: &BTreeSet<Translation>) -> Vec<NftRule> {
    let inbound = || lies_in(NftRule::default(), AddressField::Destination, outer);
    let is_own = inbound().load_type_of_destination().compare(NftCmp::Equal, &LOCAL.to_ne_bytes());
    let from_inside = |from: &Translation| {
        let mark = lies_in(inbound(), AddressField::Source, &from.inner).load_meta(NftMeta::Mark);
        mark.bitwise(&(!BOTH).to_ne_bytes(), &BOTH.to_ne_bytes()).store_meta(NftMeta::Mark)
    };
    let error = lies_in(is_error(inbound()), AddressField::QuotedSource, outer);
    let mut rules = vec![is_own.leave()];
    rules.extend(all.iter().map(from_inside));
    rules.push(moved(error, AddressField::QuotedSource, inner));
    rules.push(moved(inbound(), AddressField::Destination, inner));
    rules
}

/// Packets from an inner address to the rest of the world, or to an outer address of this host's containers.
fn outbound(Translation { inner, outer }: &Translation) -> Vec<NftRule> {
    let is_marked = || {
        let mark = NftRule::default().load_meta(NftMeta::Mark);
        mark.bitwise(&BOTH.to_ne_bytes(), &[0; 4]).compare(NftCmp::Equal, &BOTH.to_ne_bytes())
    };
    let is_leaving = || {
        let global = masked(NftRule::default(), AddressField::Destination, 3);
        let global = global.compare(NftCmp::Equal, &GLOBAL.to_be_bytes());
        masked(global, AddressField::Destination, inner.length())
            .compare(NftCmp::Different, &inner.first().to_be_bytes())
    };
    let error = |rule: NftRule| {
        let error = lies_in(is_error(rule), AddressField::QuotedDestination, inner);
        moved(error, AddressField::QuotedDestination, outer)
    };
    let source = |rule: NftRule| {
        let from_inside = lies_in(rule, AddressField::Source, inner);
        moved(from_inside, AddressField::Source, outer)
    };
    let unmarked = |rule: NftRule| {
        let mark = rule.load_meta(NftMeta::Mark);
        mark.bitwise(&(!BOTH).to_ne_bytes(), &[0; 4]).store_meta(NftMeta::Mark)
    };
    vec![error(is_marked()), unmarked(source(is_marked())), error(is_leaving()), source(is_leaving())]
}

/// 2000::/3, the global unicast addresses. Others, like those of a VPN with ULAs, see the inner addresses.
const GLOBAL: u128 = 1 << 125;

/// The bits of an address after the first `length` ones.
const fn host_bits(length: u8) -> u128 {
    match u128::MAX.checked_shr(length as u32) {
        Some(bits) => bits,
        None => 0,
    }
}

/// Reads the first bits of an address.
fn masked(rule: NftRule, field: AddressField, length: u8) -> NftRule {
    rule.load(field).bitwise(&(!host_bits(length)).to_be_bytes(), &[0; 16])
}

fn lies_in(rule: NftRule, field: AddressField, prefix: &Prefix) -> NftRule {
    masked(rule, field, prefix.length()).compare(NftCmp::Equal, &prefix.first().to_be_bytes())
}

fn is_error(rule: NftRule) -> NftRule {
    let [first, last] = ERRORS;
    let rule = rule.load_meta(NftMeta::Protocol).compare(NftCmp::Equal, &[ICMP6]).load_type();
    rule.compare(NftCmp::AtLeast, &[first]).compare(NftCmp::AtMost, &[last])
}

/// Puts this prefix in the place of an address's first bits.
fn moved(rule: NftRule, field: AddressField, to: &Prefix) -> NftRule {
    let mask = host_bits(to.length()).to_be_bytes();
    rule.load(field).bitwise(&mask, &to.first().to_be_bytes()).store(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    #[test]
    fn the_first_part_of_a_larger_outer_prefix_is_used_and_a_smaller_one_is_refused() {
        let inner = prefix("fd00:1::/56");
        let translation = Translation::new(inner, prefix("2001:db8::/48")).unwrap();
        assert_eq!(translation, Translation { inner, outer: prefix("2001:db8::/56") });
        assert!(Translation::new(inner, prefix("2001:db8::/56")).is_some());
        assert_eq!(Translation::new(inner, prefix("2001:db8::/60")), None);
        assert_eq!(Translation::new(inner, prefix("10.8.0.0/16")), None);
    }

    #[test]
    fn each_pool_has_its_rules_in_both_chains() {
        let one = Translation::new(prefix("fd00:1::/56"), prefix("2001:db8:1::/56")).unwrap();
        let two = Translation::new(prefix("fd00:2::/64"), prefix("2001:db8:2::/64")).unwrap();
        let counts = |translations: &[Translation]| -> Vec<usize> {
            let chains = chains(&translations.iter().copied().collect());
            chains.iter().map(|chain| chain.rules.len()).collect()
        };
        assert_eq!(counts(&[one]), [4, 4]);
        assert_eq!(counts(&[one, two]), [10, 8], "packets may come from both");
    }
}
