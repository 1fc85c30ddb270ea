//! How often each operation occurs, and with which values.

use gipam::plan::change::Kind;
use gipam::plan::prefix::Family;
use gipam::plan::request::Space;
use proptest::prelude::*;

use super::{EXACT, NAMES, Op, RANGES, hands, networks};

/// Operations; the common ones occur more often.
pub(super) fn operation() -> impl Strategy<Value = Op> {
    let space = || prop_oneof![4 => Just(Space::Local), 1 => Just(Space::Global)];
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    let option = prop_oneof![
        Just(("key", "blog")),
        Just(("key", "shop")),
        Just(("pool", "b")),
        Just(("pool", "d")),
        Just(("pool", "c,a")),
        Just(("v4.size", "31")),
        Just(("v6.size", "127")),
        Just(("overlap", "true")),
        Just(("com.docker.x", "y")),
        Just(("pool", "nowhere")),
        Just(("colour", "red"))
    ];
    let options = prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(option, 1..3)];
    let size =
        prop_oneof![5 => Just(None), 1 => (28u8..=31).prop_map(Some), 1 => (124u8..=128).prop_map(Some)];
    let pass = prop_oneof![
        Just(0),
        Just(1),
        Just(1_000),
        Just(4_999),
        Just(5_000),
        Just(55_000),
        Just(60_000),
        Just(600_000),
        Just(91 * 24 * 3_600_000)
    ];
    let dynamic = (space(), family, size, options, 0usize..8, 0usize..5).prop_map(
        |(space, family, size, options, host, driver)| Op::Any { space, family, size, options, host, driver },
    );
    let by_number = (
        space(),
        0..EXACT.len(),
        prop::option::weighted(0.4, 0..RANGES.len() + 6),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(space, pool, range, overlap)| Op::Exact { space, pool, range, overlap });
    let name = prop::option::of(0..NAMES.len());
    let address = (
        0usize..6,
        prop::option::weighted(0.4, 0u128..20),
        prop::bool::weighted(0.25),
        name,
        prop::option::weighted(0.3, 0u8..3),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(subnet, number, gateway, name, mac, serial)| Op::Address {
            subnet,
            number,
            gateway,
            name,
            mac,
            serial,
        });
    prop_oneof![
        5 => dynamic,
        3 => by_number,
        3 => (0usize..8, prop::bool::weighted(0.6)).prop_map(|(subnet, overlap)| Op::Again { subnet, overlap }),
        9 => address,
        3 => pass.prop_map(Op::Pass),
        1 => (0usize..6, 0u128..16).prop_map(|(subnet, number)| Op::ReleaseAddress { subnet, number }),
        4 => (0usize..32).prop_map(|pick| Op::ReleaseLease { pick }),
        3 => (0usize..6).prop_map(|subnet| Op::ReleaseSubnet { subnet }),
        1 => (0usize..6, any::<bool>(), prop::option::of(0u128..8))
            .prop_map(|(subnet, by_id, number)| Op::Force { subnet, by_id, number }),
        2 => (0usize..4).prop_map(|back| Op::Undo { back }),
        3 => (0usize..6, 0u128..8, 0u8..3, 0u64..4)
            .prop_map(|(subnet, number, mac, ago)| Op::Heard { subnet, number, mac, ago }),
        1 => (0usize..10).prop_map(|pick| Op::Quiet { pick }),
        1 => prop_oneof![1 => 0usize..4, 1 => Just(4)].prop_map(Op::Configure),
        2 => hands::operation().prop_map(Op::Hand),
        1 => (0..EXACT.len(), 0u128..8, any::<u16>())
            .prop_map(|(pool, beyond, leases)| Op::TakeOver { pool, beyond, leases }),
        3 => (0usize..10, 0u8..6).prop_map(|(pick, what)| Op::Slice { pick, what }),
        2 => repairs(),
    ]
}

/// What repair requests, and what it has proven.
fn repairs() -> impl Strategy<Value = Op> {
    let kind =
        || prop_oneof![Just(Kind::Gateway), Just(Kind::Auxiliary), Just(Kind::Endpoint), Just(Kind::Unknown)];
    let fresh = || prop::bool::weighted(0.8);
    prop_oneof![
        (0u64..4).prop_map(Op::Proven),
        (0usize..32, fresh()).prop_map(|(pick, fresh)| Op::FreeDead { pick, fresh }),
        (0usize..6, fresh()).prop_map(|(subnet, fresh)| Op::FreeSubnet { subnet, fresh }),
        (0usize..6, 0u128..16, kind(), prop_oneof![Just(0u64), Just(30_000), Just(90_000)])
            .prop_map(|(subnet, number, kind, ago)| Op::Adopt { subnet, number, kind, ago }),
        (0usize..32, kind()).prop_map(|(pick, kind)| Op::Identify { pick, kind }),
        (0usize..6).prop_map(|subnet| Op::Listed { subnet }),
        (0usize..32, 0..NAMES.len()).prop_map(|(pick, name)| Op::Shown { pick, name }),
        networks::operation(),
        networks::operation(),
    ]
}
