//! Cooling of subnets and addresses, and `key=WORD`, which ignores it.
//!
//! Rules R20, R28 and R45, and P17: the bridge of a released subnet still exists for a moment.

use gipam::plan::settings::PoolSettings;

use crate::desk::*;

fn tight() -> Desk {
    Desk::new(pools(&[pool("lan", "10.0.0.0/29:30", "")]))
}

#[test]
fn p17_a_released_subnet_cools_for_a_minute() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.release(&id);
    assert_eq!(desk.said(any(V4)), "10.0.1.0/24");
    desk.pass(MINUTE - 1);
    assert_eq!(desk.said(any(V4)), "10.0.2.0/24");
    desk.pass(1);
    assert_eq!(desk.said(any(V4)), "10.0.0.0/24");
}

#[test]
fn a_cooling_subnet_can_be_requested_by_number() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.release(&id);
    assert_eq!(desk.said(exact("10.0.0.0/24")), "10.0.0.0/24");
}

#[test]
fn with_only_cooling_subnets_left_the_longest_cooled_is_given_with_a_warning() {
    let mut desk = tight();
    let ids = [desk.subnet(any(V4)), desk.subnet(any(V4))];
    desk.release(&ids[1]);
    desk.pass(10_000);
    desk.release(&ids[0]);
    desk.pass(10_000);
    assert_eq!(desk.said(any(V4)), "10.0.0.4/30");
    assert!(desk.warnings[0].contains("still cooling"), "{:?}", desk.warnings);
}

#[test]
fn the_longest_cooled_is_the_longest_released_whatever_its_pool_says() {
    let long = PoolSettings { subnet_cooling: 20 * MINUTE, ..pool("long", "10.0.0.0/30:30", "") };
    let mut desk = Desk::new(pools(&[long, pool("short", "10.1.0.0/30:30", "")]));
    let ids = [desk.subnet(any(V4)), desk.subnet(any(V4))];
    desk.release(&ids[0]);
    desk.pass(10_000);
    desk.release(&ids[1]);
    assert_eq!(desk.said(any(V4)), "10.0.0.0/30");
}

#[test]
fn a_request_waits_until_a_released_subnet_is_5_seconds_old() {
    let mut desk = tight();
    let ids = [desk.subnet(any(V4)), desk.subnet(any(V4))];
    desk.release(&ids[0]);
    desk.pass(1_000);
    assert_eq!(desk.said(any(V4)), "wait 4000");
    desk.pass(4_000);
    assert_eq!(desk.said(any(V4)), "10.0.0.0/30");
}

#[test]
fn two_cooling_halves_make_room_for_a_larger_one() {
    let mut desk = tight();
    for id in [desk.subnet(any(V4)), desk.subnet(any(V4))] {
        desk.release(&id);
    }
    desk.pass(5_000);
    assert_eq!(desk.said(sized(V4, 29)), "10.0.0.0/29");
}

#[test]
fn cooling_of_0_is_off_and_a_request_waits_only_until_a_short_cooling_ends() {
    for (cooling, expected) in [(0, "10.0.0.0/30"), (2_000, "wait 2000")] {
        let mut desk = Desk::new(pools(&[PoolSettings {
            subnet_cooling: cooling,
            ..pool("lan", "10.0.0.0/30:30", "")
        }]));
        let id = desk.subnet(any(V4));
        desk.release(&id);
        assert_eq!(desk.said(any(V4)), expected);
        desk.pass(cooling);
        if cooling > 0 {
            assert_eq!(desk.said(any(V4)), "10.0.0.0/30");
            assert!(desk.warnings.is_empty());
        }
    }
}

#[test]
fn a_released_address_cools_for_ten_minutes_while_others_are_free() {
    let mut desk = Desk::new(pools(&[pool("lan", "10.0.0.0/29:29", "")]));
    let id = desk.subnet(any(V4));
    let given: Vec<String> = (0..4).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]);
    desk.free(&id, "10.0.0.2");
    desk.pass(15_000); // A restarted container would be back by now.
    assert_eq!(desk.host(address(&id)), "10.0.0.6", "an address that was never used comes first");
    assert_eq!(desk.host(address(&id)), "10.0.0.2");
    assert!(desk.warnings[0].contains("still cooling"));
    desk.free(&id, "10.0.0.5");
    desk.pass(1);
    desk.free(&id, "10.0.0.3");
    desk.pass(10 * MINUTE);
    assert_eq!(desk.host(address(&id)), "10.0.0.5", "the address that has cooled longest is given");
    assert!(desk.warnings.is_empty());
}

#[test]
fn a_key_gets_the_same_subnet_again_cooling_or_not() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4).option("key", "blog"));
    assert_eq!(desk.said(any(V4)), "10.0.1.0/24");
    desk.release(&id);
    assert_eq!(desk.said(any(V4).option("key", "shop")), "10.0.2.0/24");
    assert_eq!(desk.said(any(V4).option("key", "blog")), "10.0.0.0/24");
    assert_eq!(
        desk.said(any(V6).option("key", "blog")),
        "2001:db8::/64",
        "a key is separate for each family"
    );
}

#[test]
fn a_key_whose_subnet_is_held_gets_another_and_still_points_to_the_first() {
    let mut desk = Desk::new(lan());
    let first = desk.subnet(any(V4).option("key", "blog"));
    let second = desk.subnet(any(V4).option("key", "blog"));
    assert_eq!(second.split('#').next(), Some("local/10.0.1.0/24"));
    desk.release(&second);
    desk.release(&first);
    assert_eq!(desk.said(any(V4).option("key", "blog")), "10.0.0.0/24");
}

#[test]
fn a_key_respects_size_and_pool() {
    let mut desk = Desk::new(pools(&[pool("a", "10.0.0.0/16:24", ""), pool("b", "10.1.0.0/16:24", "")]));
    let id = desk.subnet(any(V4).option("key", "blog"));
    desk.release(&id);
    assert_eq!(desk.said(any(V4).option("key", "blog").option("v4.size", "25")), "10.0.1.0/25");
    let mut desk = Desk::new(pools(&[pool("a", "10.0.0.0/16:24", ""), pool("b", "10.1.0.0/16:24", "")]));
    let id = desk.subnet(any(V4).option("key", "blog"));
    desk.release(&id);
    assert_eq!(desk.said(any(V4).option("key", "blog").option("pool", "b")), "10.1.0.0/24");
}

#[test]
fn keys_are_bounded_and_the_newest_stay() {
    let mut desk =
        Desk::new(pools(&[PoolSettings { subnet_cooling: 0, ..pool("lan", "10.0.0.0/8:24", "") }]));
    for n in 0..1_003 {
        desk.pass(1);
        let id = desk.subnet(any(V4).option("key", &format!("word-{n}")));
        desk.gave(address(&id));
        desk.release(&id);
    }
    assert_eq!(desk.plan.keys().count(), 1_000);
    assert!(desk.plan.keys().all(|(_, _, word, ..)| !["word-0", "word-1", "word-2"].contains(&word)));
    desk.subnet(any(V4).option("key", "word-3"));
    assert!(
        desk.plan.keys().any(|(_, _, word, ..)| word == "word-3"),
        "the oldest key was used again, so it is not forgotten"
    );
}
