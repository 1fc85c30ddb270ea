//! Files as the old program wrote them (`fixtures/` is its own output), and as people and crashes leave them
//! behind.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::plan::settings::AddressOrder;

const SECOND: &[u8] = include_bytes!("fixtures/second.json");
const FIRST: &[u8] = include_bytes!("fixtures/first.json");
const V4_ONLY: &[u8] = include_bytes!("fixtures/second-v4-only.json");

fn books(text: &str) -> OldBooks {
    parse(text.as_bytes()).unwrap().books
}

fn base(prefix: &str, size: u8) -> Base {
    Base::new(Prefix::parse(prefix).unwrap(), size, AddressOrder::Sequential)
}

fn refused(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

fn oddities(text: &str) -> Vec<String> {
    parse(text.as_bytes()).unwrap().oddities.iter().map(ToString::to_string).collect()
}

/// A file with one IPv4 subnet, 10.9.0.0/24, whose id is `a`, plus these keys.
fn with_subnet(keys: &str) -> String {
    format!(
        r#"{{"v4":"10.9.0.0/16","v4ab":24,"allocated":[{{"id":"a","v":4,"pool":"10.9.0.0/24","idx":9{keys}}}]}}"#
    )
}

#[test]
fn second_generation_file_is_read_whole() {
    let Parsed { books, oddities } = parse(SECOND).unwrap();
    assert!(oddities.is_empty(), "{oddities:?}");
    assert_eq!(books.v4, Some(base("198.51.100.0/24", 28)));
    assert_eq!(books.v6, Some(base("2001:db8::/56", 64)));
    assert_eq!((books.v4_next_index, books.v6_next_index), (3, 2));
    let ids: Vec<_> = books.allocated.iter().map(|subnet| subnet.id.as_str()).collect();
    assert_eq!(ids, ["78Tnh7puU4QdVPG4", "gM3RjwBWzIhb2M3c", "d6KqMpuhH6jbJwQg", "CuSeY5LeUOftq5wF"]);
    let six = &books.allocated[1];
    assert_eq!(six.addresses, ["2001:db8::1".parse::<IpAddr>().unwrap(), "2001:db8::3".parse().unwrap()]);
    assert_eq!(six.free, ["2001:db8::2".parse::<IpAddr>().unwrap()]);
    assert_eq!(books.allocated[3].addresses, [] as [IpAddr; 0], "null is an empty list");
    assert_eq!(books.free.len(), 1);
    assert_eq!((books.free[0].id.as_str(), books.free[0].next_index), ("h8FEvpwoqnKWj0AS", 1));
}

#[test]
fn v4_broadcast_address_that_was_handed_out_is_kept() {
    let first = &parse(SECOND).unwrap().books.allocated[0];
    assert_eq!(first.addresses.len(), 14);
    assert!(first.addresses.contains(&"198.51.100.15".parse().unwrap()));
    assert_eq!(first.next_index, 16, "the counter goes beyond the broadcast address");
}

#[test]
fn first_generation_file_is_read_whole() {
    let Parsed { books, oddities } = parse(FIRST).unwrap();
    assert!(oddities.is_empty(), "{oddities:?}");
    assert_eq!(books.v4, Some(base("192.168.0.0/16", 24)));
    assert_eq!(books.v6, Some(base("fe80::/56", 64)));
    assert_eq!((books.allocated.len(), books.free.len()), (2, 1));
    assert_eq!(books.allocated[0].addresses, ["192.168.0.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn first_generation_file_in_its_own_misspelling_is_read() {
    let text = r#"{"V4Pool":"10.0.0.0/16","V4AllocatedBlock":28,
        "Allocate":[{"ID":"x","V":4,"Pool":"10.0.0.0/28","Idx":2,"Allocated":["10.0.0.1"]}]}"#;
    let books = books(text);
    assert_eq!((books.v4.unwrap().size, books.allocated.len()), (28, 1));
}

#[test]
fn empty_v6_and_absent_counters_mean_no_pool_and_zero() {
    let Parsed { books, oddities } = parse(V4_ONLY).unwrap();
    assert_eq!((books.v6, books.v4_next_index, oddities.len()), (None, 0, 0));
    assert!(books.v4.is_some() && books.allocated.is_empty() && books.free.is_empty());
}

#[test]
fn keys_match_in_any_case_and_order_and_unknown_ones_are_ignored() {
    let text = r#"{"FREE":null,"note":{"a":[1,{}]},"aLLocated":[{"POOL":"10.9.0.0/24","extra":-1.5,"Idx":3,
        "ALLOCATED":["10.9.0.1"],"Id":"AbC","V":4}],"V4AB":24,"V4":"10.9.0.0/16","V6":""}"#;
    let read = books(text);
    let plain = r#"{"v6":"","v4":"10.9.0.0/16","v4ab":24,
        "allocated":[{"id":"AbC","v":4,"pool":"10.9.0.0/24","idx":3,"allocated":["10.9.0.1"]}]}"#;
    assert_eq!(read, books(plain));
}

#[test]
fn addresses_are_read_with_and_without_prefix_length() {
    let read = books(&with_subnet(r#","allocated":["10.9.0.1/24"," 10.9.0.2 "],"free":["10.9.0.3/24"]"#));
    let subnet = &read.allocated[0];
    assert_eq!(subnet.addresses, ["10.9.0.1".parse::<IpAddr>().unwrap(), "10.9.0.2".parse().unwrap()]);
    assert_eq!(subnet.free, ["10.9.0.3".parse::<IpAddr>().unwrap()]);
}

#[test]
fn duplicate_addresses_are_imported_once_and_reported() {
    let text =
        with_subnet(r#","allocated":["10.9.0.1","10.9.0.1/24"],"free":["10.9.0.1","10.9.0.2","10.9.0.2"]"#);
    assert_eq!(
        oddities(&text),
        [
            "subnet a lists 10.9.0.1 twice: imported once",
            "subnet a lists 10.9.0.1 as held and as free: imported as held"
        ]
    );
    let subnet = &books(&text).allocated[0];
    assert_eq!((subnet.addresses.len(), subnet.free.len()), (1, 1));
}

#[test]
fn an_address_outside_its_subnet_is_kept_apart_and_reported() {
    let text = with_subnet(r#","allocated":["10.9.1.7","2001:db8::1","10.9.0.1"]"#);
    assert_eq!(oddities(&text)[0], "subnet a holds 10.9.1.7, which lies outside 10.9.0.0/24: kept apart");
    let subnet = &books(&text).allocated[0];
    assert_eq!((subnet.addresses.len(), subnet.outside.len()), (1, 2));
}

#[test]
fn host_bits_are_masked_and_reported_and_dotted_masks_are_read() {
    let text = r#"{"v4":"10.9.7.7/255.255.0.0","v4ab":24,"free":[{"id":"x","v":4,"pool":"10.9.1.5/24"}]}"#;
    assert_eq!(
        oddities(text),
        [
            "v4 is 10.9.7.7/255.255.0.0: read as 10.9.0.0/16",
            "free[0].pool is 10.9.1.5/24: read as 10.9.1.0/24"
        ]
    );
    assert_eq!(
        books(r#"{"v4":"10.9.0.0 255.255.0.0","v4ab":24}"#).v4.unwrap().base.to_string(),
        "10.9.0.0/16"
    );
}

#[test]
fn overlapping_subnets_are_both_kept_and_reported() {
    let text = r#"{"v4":"10.0.0.0/8","v4ab":24,"allocated":[{"id":"a","v":4,"pool":"10.9.1.0/24"},
        {"id":"b","v":4,"pool":"10.9.0.0/16"},{"id":"c","v":4,"pool":"10.9.1.128/25"},{"id":"d","v":4,"pool":"10.10.0.0/16"}],
        "free":[{"id":"a","v":4,"pool":"10.11.0.0/24"},{"id":"e","v":4,"pool":"10.9.2.0/24"},
        {"id":"f","v":4,"pool":"10.12.0.0/24","allocated":["10.12.0.1"]}]}"#;
    assert_eq!(
        oddities(text),
        [
            "subnet b (10.9.0.0/16) overlaps subnet a (10.9.1.0/24): both are kept",
            "subnet c (10.9.1.128/25) overlaps subnet a (10.9.1.0/24): both are kept",
            "free subnet a (10.11.0.0/24) is, or overlaps, subnet a (10.9.1.0/24): not imported",
            "free subnet e (10.9.2.0/24) is, or overlaps, subnet b (10.9.0.0/16): not imported",
            "free subnet f (10.12.0.0/24) still holds addresses (1): they are imported as free",
        ]
    );
    let books = books(text);
    assert_eq!((books.allocated.len(), books.free.len()), (4, 1));
}

#[test]
fn a_wrong_v_and_a_missing_size_are_reported() {
    let text = r#"{"v6":"2001:db8::/56","allocated":[{"id":"a","v":4,"pool":"2001:db8::/64"}]}"#;
    assert_eq!(
        oddities(text),
        [
            "v6ab is not set: subnets are assumed to be /64",
            "subnet a has v 4, but its pool is 2001:db8::/64: the pool decides"
        ]
    );
}

#[test]
fn keys_of_both_generations_that_differ_are_reported() {
    let text = r#"{"v4":"10.1.0.0/16","V4Pool":"10.2.0.0/16","v4ab":24,"V4AllocateBlock":24}"#;
    assert_eq!(oddities(text), ["V4Pool and v4 differ: v4 is used, as in later versions of the old gipam"]);
    assert_eq!(books(text).v4.unwrap().base.to_string(), "10.1.0.0/16");
}

#[test]
fn a_file_truncated_anywhere_is_refused() {
    for whole in [SECOND, FIRST] {
        let end = whole.iter().rposition(|byte| *byte == b'}').unwrap();
        for length in 0..end {
            let error = parse(&whole[..length]).unwrap_err();
            assert!(
                error.to_string().starts_with("the lease file is truncated at line"),
                "{length}: {error}"
            );
        }
    }
    let text = parse(&SECOND[..300]).unwrap_err().to_string();
    assert!(text.starts_with("the lease file is truncated at line 17"), "{text}");
}

#[test]
fn values_that_cannot_be_understood_are_refused_with_their_place() {
    let subnet = |keys: &str| refused(&with_subnet(keys));
    let at_key = |text: String, place: &str| assert!(text.contains(place), "{place}: {text}");
    at_key(refused("[1]"), "a list at the top level");
    at_key(refused("{}"), "none of the keys v4, v6");
    at_key(refused(r#"{"v4":"10.0.0.0/16",}"#), "is not JSON: trailing comma at line 1 column 21");
    at_key(refused(r#"{"v4":"bla"}"#), r#""bla" at v4: not a prefix like"#);
    at_key(refused(r#"{"v4":"2001:db8::/56"}"#), "at v4: a prefix of the other family");
    at_key(refused(r#"{"v4":"10.0.0.0/16","v4ab":33}"#), r#""33" at v4ab: subnets of 10.0.0.0/16 have"#);
    at_key(refused(r#"{"v4":"10.0.0.0/16","v4ab":8}"#), r#""8" at v4ab"#);
    at_key(refused(r#"{"v4":"10.0.0.0/16","v4ab":300}"#), r#""300" at v4ab"#);
    at_key(refused(r#"{"v4":"10.0.0.0/16","v4idx":-1}"#), r#""-1" at v4idx: not a whole number"#);
    at_key(refused(r#"{"v4":"10.0.0.0/16","v4ab":"24"}"#), "a string at v4ab where a number is needed");
    at_key(refused(r#"{"v4":"","allocated":{}}"#), "an object at allocated where a list is needed");
    at_key(refused(r#"{"v4":"","allocated":[{"pool":"10.0.0.0/24"}]}"#), "at allocated[0].id");
    at_key(refused(r#"{"v4":"","allocated":[{"id":"a"}]}"#), r#""" at allocated[0].pool"#);
    at_key(refused(r#"{"v4":"","allocated":[7]}"#), "a number at allocated[0] where an object is needed");
    at_key(refused(r#"{"v4":"","allocated":[],"Allocated":[]}"#), "the key allocated twice");
    at_key(subnet(r#","idx":8"#), "the key allocated[0].idx twice");
    at_key(
        subnet(r#","allocated":["10.9.0.256"]"#),
        r#""10.9.0.256" at allocated[0].allocated[0]: not an address"#,
    );
    at_key(subnet(r#","allocated":["10.9.0.1/33"]"#), "allocated[0].allocated[0]");
    at_key(subnet(r#","allocated":[""]"#), r#""" at allocated[0].allocated[0]"#);
    let twice = r#"{"v4":"","allocated":[{"id":"a","v":4,"pool":"10.0.0.0/24"},{"id":"a","v":4,"pool":"10.0.1.0/24"}]}"#;
    at_key(refused(twice), "two subnets with the id a, 10.0.0.0/24 and 10.0.1.0/24");
}

#[test]
fn the_kind_of_a_file_follows_from_its_content() {
    assert_eq!(detect(SECOND), FileKind::Json);
    assert_eq!(detect(b"\xef\xbb\xbf\n {"), FileKind::Json);
    assert_eq!(detect(b"SQLite format 3\0\x10\x00"), FileKind::Sqlite);
    assert_eq!(detect(b" \n\t"), FileKind::Empty);
    assert_eq!(detect(b""), FileKind::Empty);
    for other in [&b"[]"[..], b"\0\0\0", b"hello", b"SQLite format 4\0", b"\"{"] {
        assert_eq!(detect(other), FileKind::Other);
    }
    assert!(parse(&[&b"\xef\xbb\xbf"[..], SECOND].concat()).is_ok(), "a byte order mark is accepted");
}

#[test]
fn digest_is_sha_256() {
    assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn settled_books_list_only_unheld_subnets_and_addresses_as_free() {
    let mut books = books(
        r#"{"v6":"2001:db8::/48","v6ab":64,"v4":"10.9.0.0/16","v4ab":24,"allocated":[
        {"id":"local/10.9.2.0/24#00","v":4,"pool":"10.9.2.0/24","allocated":["10.9.2.1","10.9.2.4","10.9.2.255"]},
        {"id":"b","v":4,"pool":"10.9.4.0/23","allocated":[]},{"id":"far","v":4,"pool":"172.20.0.0/24"},
        {"id":"c","v":6,"pool":"2001:db8:0:1::/64","allocated":["2001:db8:0:1::3","2001:db8:0:1:42:acff:fe11:2"]}]}"#,
    );
    settle(&mut books);
    assert_eq!((books.v4_next_index, books.v6_next_index), (6, 2));
    let free: Vec<_> = books.free.iter().map(|subnet| subnet.prefix.to_string()).collect();
    assert_eq!(free, ["10.9.0.0/24", "10.9.1.0/24", "10.9.3.0/24", "2001:db8::/64"]);
    assert!(books.free.iter().all(|s| s.id.len() == 16 && s.id.bytes().all(|b| b.is_ascii_alphanumeric())));
    let [first, second, _, six] = &books.allocated[..] else { panic!() };
    assert_eq!((first.next_index, first.free.len()), (256, 252), "no network, no broadcast address");
    assert_eq!(first.free.last().unwrap().to_string(), "10.9.2.2", "reused last in, first out");
    assert_eq!((second.next_index, second.free.len()), (1, 0));
    assert_eq!((six.next_index, six.free.len()), (4, 2), "an address outside its range changes nothing");
    assert_eq!(
        obstacles(&books),
        ["subnet 10.9.4.0/23: the old gipam would return new addresses in it with the length /24"]
    );
    books.v6 = None;
    books.v4 = None;
    assert_eq!(obstacles(&books).len(), 2 + 4);
}

fn a_subnet(index: u8, four: bool) -> impl Strategy<Value = OldSubnet> {
    let (text, bits) =
        if four { (format!("10.{index}.0.0/24"), 256u32) } else { (format!("fd00:{index:x}::/64"), 9000) };
    let prefix = Prefix::parse(&text).unwrap();
    let at = move |number: u32| prefix.address(prefix.first() + u128::from(number));
    let numbers =
        btree_set(0..bits, 0..40).prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle();
    (numbers, 0..40usize, any::<u64>(), "[a-zA-Z0-9]{15}", vec(any::<[u8; 4]>(), 0..2)).prop_map(
        move |(numbers, split, next_index, id, strangers)| {
            let (held, free) = numbers.split_at(split.min(numbers.len()));
            let mut outside: Vec<IpAddr> = strangers.into_iter().map(IpAddr::from).collect();
            outside.retain(|address| !prefix.contains_address(*address));
            outside.sort_unstable();
            outside.dedup();
            OldSubnet {
                id: format!("{id}{index}"),
                prefix,
                next_index,
                addresses: held.iter().map(|n| at(*n)).collect(),
                free: free.iter().map(|n| at(*n)).collect(),
                outside,
            }
        },
    )
}

fn some_books() -> impl Strategy<Value = OldBooks> {
    let pool = |text: &'static str, sizes: std::ops::RangeInclusive<u8>| {
        proptest::option::of(sizes.prop_map(move |size| base(text, size)))
    };
    let subnets = vec(any::<bool>(), 0..12).prop_flat_map(|families| {
        families.into_iter().zip(0..).map(|(four, index)| a_subnet(index, four)).collect::<Vec<_>>()
    });
    let next = (any::<u64>(), any::<u64>());
    (pool("10.0.0.0/8", 8..=32), pool("fd00::/16", 16..=128), next, subnets, 0..12usize).prop_map(
        |(v4, v6, (v4_next_index, v6_next_index), mut allocated, split)| {
            let free = allocated.split_off(split.min(allocated.len()));
            OldBooks { v4, v6, v4_next_index, v6_next_index, allocated, free }
        },
    )
}

proptest! {
    #[test]
    fn written_books_are_read_back_unchanged(books in some_books()) {
        let bytes = write(&books);
        prop_assert_eq!(detect(&bytes), FileKind::Json);
        prop_assert_eq!(parse(&bytes).unwrap().books, books);
    }

    #[test]
    fn parse_never_panics(bytes in vec(any::<u8>(), 0..300), at in 0..2000usize, byte in any::<u8>()) {
        let _ = parse(&bytes);
        let mut changed = SECOND.to_vec();
        let at = at % changed.len();
        changed[at] = byte;
        let _ = parse(&changed);
    }
}

// Each case has thousands of gaps, so run fewer cases.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn settled_books_are_disjoint_and_read_back(books in some_books()) {
        let mut settled = books;
        settle(&mut settled);
        let read = parse(&write(&settled)).unwrap();
        prop_assert_eq!(&read.books, &settled);
        for subnet in &settled.allocated {
            prop_assert!(subnet.free.iter().all(|address| !subnet.addresses.contains(address)));
        }
    }
}
