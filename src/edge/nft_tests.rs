//! Tests of the encoding: rules as nft itself sends them, and tables that somebody changed.

use super::*;

/// What nft 1.0.6 sends for `fib daddr type local return`.
const LOCAL: &str = "2800018008000100666962001c0002800800030000000002080002000000000308000100000000012c00018008000100636d7000200002800800010000\
    00000108000200000000000c0003800800010002000000300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c00028008000100\
    fffffffb";
/// For `meta mark set meta mark | 0x08000000`.
const MARK: &str = "24000180090001006d6574610000000014000280080002000000000308000100000000014c0001800c00010062697477697365003c00028008000100000000\
    010800020000000001080006000000000008000300000000040c00048008000100fffffff70c000580080001000000000824000180090001006d6574610000000014000\
    28008000200000000030800030000000001";
/// For `icmpv6 type 1-4`.
const ERROR: &str = "24000180090001006d6574610000000014000280080002000000001008000100000000012c00018008000100636d700020000280080001000000000108000\
    200000000000c000380050001003a000000340001800c0001007061796c6f6164002400028008000100000000010800020000000002080003000000000008000400000\
    000012c00018008000100636d700020000280080001000000000108000200000000050c00038005000100010000002c00018008000100636d70002000028008000100\
    0000000108000200000000030c0003800500010004000000";

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn rule() -> NftRule {
    NftRule::default()
}

fn marks() -> NftRule {
    let mark: u32 = 1 << 27;
    let load = rule().load_meta(NftMeta::Mark);
    load.bitwise(&(!mark).to_ne_bytes(), &mark.to_ne_bytes()).store_meta(NftMeta::Mark)
}

#[test]
fn rules_are_those_that_nft_sends() {
    let local = rule().load_type_of_destination().compare(NftCmp::Equal, &2_u32.to_ne_bytes()).leave();
    let error = rule().load_meta(NftMeta::Protocol).compare(NftCmp::Equal, &[58]).load_type();
    let error = error.compare(NftCmp::AtLeast, &[1]).compare(NftCmp::AtMost, &[4]);
    let rules = [local, marks(), error];
    for (number, rule) in rules.iter().enumerate() {
        for (other, sent) in [LOCAL, MARK, ERROR].map(unhex).iter().enumerate() {
            assert_eq!(rule.is(sent), number == other, "{number} {other}");
        }
        assert!(rule.is(&rule.encode()));
    }
    assert!(!rules[0].is(&rules[0].clone().leave().encode()), "one expression more");
    assert!(!rules[0].clone().leave().is(&rules[0].encode()), "one less");
}

fn chain(rules: Vec<NftRule>) -> NftChain {
    NftChain { name: "inbound", hook: 0, priority: -300, rules }
}

/// The table that the kernel has after these messages; `uses` is its own count.
fn kernel(messages: &[NftMessage], uses: u32) -> TableInKernel {
    let mut found = TableInKernel::default();
    for (kind, body) in messages.iter().skip(2) {
        let mut body = body.clone();
        if *kind == NEWTABLE {
            put(&mut body, TABLE_USE, &uses.to_be_bytes());
        }
        found.take(*kind, &body);
    }
    found
}

#[test]
fn a_table_that_gipam_sends_is_read_as_the_same_and_a_changed_one_is_not() {
    let wanted = [chain(vec![marks(), rule().leave()])];
    let sent = replace(&wanted);
    assert!(kernel(&sent, 1).is(&wanted));
    assert!(!kernel(&sent, 2).is(&wanted), "there is a set or another chain");
    assert!(!kernel(&sent[..5], 1).is(&wanted), "a rule is gone");
    assert!(!TableInKernel::default().is(&wanted) && !TableInKernel::default().exists());
    for other in [
        chain(vec![rule().leave(), marks()]),
        chain(vec![marks(), marks()]),
        NftChain { priority: 7, ..wanted[0].clone() },
        NftChain { hook: 4, ..wanted[0].clone() },
    ] {
        assert!(!kernel(&replace(std::slice::from_ref(&other)), 1).is(&wanted), "{other:?}");
    }
}

#[test]
fn a_table_without_the_comment_or_of_another_name_is_not_gipams() {
    let mut found = TableInKernel::default();
    found.take(NEWTABLE, &of_table());
    assert!(found.exists() && !found.is_own() && !found.is(&[]));
    let mut other = header(IP6, 0).to_vec();
    put(&mut other, NAME, &text("gipam2"));
    assert!(!is_of_table(&other) && is_of_table(&of_table()));
    let mut inet = of_table();
    inet[0] = 1;
    assert!(!is_of_table(&inet), "a table of family inet");
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(kind in 0_u16..3, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..120)) {
        let mut found = TableInKernel::default();
        let mut body = of_table();
        body.extend(&bytes);
        found.take([NEWTABLE, NEWCHAIN, NEWRULE][usize::from(kind)], &body);
        let _ = (found.is(&[chain(vec![marks()])]), marks().is(&bytes), generation(&bytes), is_of_table(&bytes));
    }
}
