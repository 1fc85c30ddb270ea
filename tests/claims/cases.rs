//! One host and one store, case by case: what a want is answered, and what the machine does about others.

use std::collections::BTreeSet;

use gipam::claims::machine::Machine;
use gipam::claims::machine::calls::{Compare, Effect, Pairs, StoreCall, StoreReply};
use gipam::claims::machine::candidate::candidate;
use gipam::claims::machine::event::{ClaimAction, ClaimEvent, Geometry, HostIdentity, Need, Started};
use gipam::claims::machine::own_books::{BookEntry, ClaimBooks};
use gipam::claims::machine::records::{
    HostRecord, PLAN, PlanRecord, SliceRecord, host_key, read, slice_key, slice_of, written,
};
use gipam::plan::prefix::Prefix;
use gipam::plan::slices::SliceState;

use crate::pools::{private, shared};

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

/// A want of any slice of a pool.
const fn room(pool: Geometry) -> Need {
    Need::Room { part: pool.base }
}

/// The slice that a call puts.
fn put_slice(call: &StoreCall) -> Option<Prefix> {
    match call {
        StoreCall::Transact { effect: Effect::Put { key, .. }, .. } => slice_of(key),
        _ => None,
    }
}

/// A host whose calls are answered at once, unless it is cut off, and whose books take everything.
struct Desk {
    machine: Machine,
    books: ClaimBooks,
    store: Pairs,
    cut: bool,
    now: u64,
    /// Another host takes the next slice just before this one would.
    rival: bool,
    /// The write of a slice is committed later; this is its number.
    hold: bool,
    held: Option<u64>,
    said: Vec<ClaimAction>,
    calls: Vec<StoreCall>,
}

impl Desk {
    fn new(id: &str, books: ClaimBooks, store: Pairs) -> Self {
        let host = HostIdentity {
            id: id.to_owned(),
            name: format!("name-of-{id}"),
            via: Vec::new(),
            machine: "machine".to_owned(),
        };
        let started = Started { host, books: books.clone(), run: format!("{id}-{}", store.len()), now: 0 };
        let machine = Machine::new(started);
        let (said, calls) = Default::default();
        Self { machine, books, store, cut: false, now: 0, rival: false, hold: false, held: None, said, calls }
    }

    /// A host of a new plan, after its start.
    fn first() -> Self {
        let mut store = Pairs::new();
        store.insert(PLAN.to_owned(), written(&PlanRecord::first("plan-1", "m")));
        let mut desk = Self::new("a", ClaimBooks::default(), store);
        desk.tick(0);
        desk
    }

    fn step(&mut self, event: ClaimEvent) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.machine.step(event) {
                match action {
                    ClaimAction::Call { call, what } => {
                        self.calls.push(what.clone());
                        let slice = put_slice(&what).filter(|_| self.rival);
                        if let Some(slice) = slice {
                            self.rival = false;
                            self.others(&slice.to_string(), "b");
                        }
                        let why = "2 endpoints tried".to_owned();
                        events.push(if self.cut {
                            ClaimEvent::Unknown { call, why }
                        } else {
                            ClaimEvent::Replied { call, reply: what.apply(&mut self.store) }
                        });
                    }
                    ClaimAction::Write { write, entries } => {
                        let slice = entries.iter().any(|it| matches!(it, BookEntry::Slice { .. }));
                        entries.into_iter().for_each(|entry| self.books.apply(entry));
                        match self.hold && slice {
                            true => self.held = Some(write),
                            false => events.push(ClaimEvent::Committed { write }),
                        }
                    }
                    other => self.said.push(other),
                }
            }
        }
    }

    fn tick(&mut self, passed: u64) {
        self.now += passed;
        self.step(ClaimEvent::Tick { now: self.now });
        if !self.cut {
            crate::host::wakes_later(&self.machine, self.now);
        }
    }

    /// An hour passes, in which the machine is woken whenever it wants to be.
    fn hour(&mut self) {
        for _ in 0..60 {
            self.tick(60_000);
        }
    }

    fn want(&mut self, pool: Geometry, need: Need) -> Option<ClaimAction> {
        self.said.clear();
        self.step(ClaimEvent::Want { want: 1, pool, need });
        self.said
            .iter()
            .find(|it| matches!(it, ClaimAction::Owned { .. } | ClaimAction::Cannot { .. }))
            .cloned()
    }

    /// Why a want cannot be had.
    fn refusal(&mut self, pool: Geometry, need: Need) -> String {
        match self.want(pool, need) {
            Some(ClaimAction::Cannot { text, .. }) => text,
            other => panic!("{other:?}"),
        }
    }

    /// The slice that another host has from now on.
    fn others(&mut self, slice: &str, host: &str) {
        let record = SliceRecord { host: host.to_owned(), seq: 1, epoch: 1, run: "r".to_owned() };
        self.store.insert(slice_key(prefix(slice)), written(&record));
        let other = HostRecord { beat: 1, epoch: 1, mark: "m".to_owned(), ..HostRecord::missing("b", None) };
        self.store.insert(host_key(host), written(&other));
    }
}

#[test]
fn a_claim_is_one_transaction_with_three_conditions() {
    let mut desk = Desk::first();
    desk.calls.clear();
    let Some(ClaimAction::Owned { slice, .. }) = desk.want(private(), room(private())) else { panic!() };
    assert!(desk.books.holds(slice) && private().base.contains(slice));
    let Some(StoreCall::Transact { compares, effect: Effect::Put { key, value } }) = desk.calls.last() else {
        panic!("{:?}", desk.calls)
    };
    let keys: Vec<&str> = compares.iter().map(|compare| compare.key.as_str()).collect();
    assert_eq!(keys, [slice_key(slice).as_str(), PLAN, "host/a"]);
    assert_eq!(*key, slice_key(slice));
    assert_eq!(desk.books.slices[&slice], (SliceState::Held, value.clone()));
}

#[test]
fn a_want_by_number_gets_its_slices_or_the_name_of_the_host_that_has_them() {
    let mut desk = Desk::first();
    desk.others("203.0.113.32/27", "b");
    let text = desk.refusal(private(), Need::These(prefix("203.0.113.40/30")));
    assert_eq!(text, "slice 203.0.113.32/27 belongs to host b; use a prefix of this host, see gipam slices");
    // Two slices that adjoin, and an address of the part that is claimed by number.
    assert!(matches!(
        desk.want(private(), Need::These(prefix("203.0.113.64/26"))),
        Some(ClaimAction::Owned { .. })
    ));
    assert!(desk.books.holds(prefix("203.0.113.64/27")) && desk.books.holds(prefix("203.0.113.96/27")));
    desk.want(shared(), Need::These(prefix("198.51.100.50/32")));
    assert!(desk.books.holds(prefix("198.51.100.50/32")));
    // Slices never reach into that part.
    for _ in 0..4 {
        desk.want(shared(), room(shared()));
    }
    let held: Vec<_> = desk.books.with(SliceState::Held).filter(|it| shared().base.contains(*it)).collect();
    assert_eq!(held.len(), 4, "{held:?}");
    let text = desk.refusal(shared(), room(shared()));
    assert!(text.starts_with("pool 198.51.100.0/26 has no free slice (/28; taken: name-of-a 4)"), "{text}");
}

#[test]
fn a_pool_that_is_cut_differently_is_refused_with_both_values() {
    let mut desk = Desk::first();
    desk.want(private(), room(private()));
    let text = desk.refusal(Geometry { slice: 26, ..private() }, room(private()));
    assert!(text.contains("\"slice\":26") && text.contains("\"slice\":27"), "{text}");
}

/// Slices of two pools that overlap would have different keys, and so two owners.
#[test]
fn a_pool_that_overlaps_another_one_of_the_plan_is_refused_and_not_recorded() {
    let mut desk = Desk::first();
    desk.want(private(), room(private()));
    let wide = Geometry { base: prefix("203.0.113.0/24"), slice: 26, ..private() };
    let text = desk.refusal(wide, room(wide));
    assert!(text.contains("pool 203.0.113.0/24 overlaps 203.0.113.0/25, which the plan divides"), "{text}");
    assert_eq!(desk.store.keys().filter(|key| key.starts_with("pool/")).count(), 1);
}

#[test]
fn a_lost_slice_is_claimed_again_once_nobody_has_it() {
    let mut desk = Desk::first();
    let slice = prefix("203.0.113.32/27");
    desk.others("203.0.113.32/27", "b");
    let text = desk.refusal(private(), Need::Around(slice));
    assert!(text.contains("belongs to host b"), "{text}");
    let value = desk.store[&slice_key(slice)].clone();
    assert_eq!(desk.books.slices[&slice], (SliceState::Lost, value), "the books say that it is contested");
    assert!(desk.refusal(private(), Need::These(slice)).contains("belongs to host b"));
    assert!(matches!(desk.want(private(), room(private())), Some(ClaimAction::Owned { .. })));
    assert_eq!(desk.books.state(slice), Some(SliceState::Lost), "room is elsewhere");
    desk.store.remove(&slice_key(slice));
    assert!(matches!(desk.want(private(), Need::These(slice)), Some(ClaimAction::Owned { .. })));
    assert!(desk.books.holds(slice));
}

#[test]
fn a_want_has_an_answer_within_two_seconds_when_the_store_does_not_answer() {
    let mut desk = Desk::first();
    desk.cut = true;
    assert_eq!(desk.want(private(), room(private())), None);
    for _ in 0..2 {
        desk.tick(900);
        assert!(desk.said.is_empty());
    }
    desk.tick(300);
    let texts: Vec<_> = desk.said.iter().collect();
    assert!(
        matches!(texts[..], [ClaimAction::Cannot { want: 1, text }]
            if text == "the plan's store did not answer within 2 s (2 endpoints tried); networks in this host's slices go on; \
                        check etcd, then try again"),
        "{texts:?}"
    );
}

#[test]
fn a_call_without_an_answer_is_repeated_with_the_same_bytes() {
    let mut desk = Desk::first();
    desk.want(private(), room(private()));
    desk.cut = true;
    desk.want(private(), room(private()));
    desk.calls.clear();
    (0..3).for_each(|_| desk.tick(100));
    assert_eq!(desk.calls.len(), 3);
    assert!(desk.calls.windows(2).all(|calls| calls[0] == calls[1]));
}

#[test]
fn a_slice_of_a_forgotten_host_is_taken_and_the_forgotten_host_owns_nothing() {
    let mut desk = Desk::first();
    let Some(ClaimAction::Owned { slice, .. }) = desk.want(private(), room(private())) else { panic!() };
    let mut other = Desk::new("b", ClaimBooks::default(), desk.store.clone());
    other.tick(0);
    assert!(other.refusal(private(), Need::These(slice)).contains("belongs to host name-of-a"));
    other.step(ClaimEvent::Forget { host: "a".to_owned() });
    assert!(other.said.contains(&ClaimAction::Forgotten { host: "a".to_owned(), result: Ok(()) }));
    assert!(matches!(other.want(private(), Need::These(slice)), Some(ClaimAction::Owned { .. })));
    desk.store = other.store;
    desk.tick(61_000);
    assert_eq!(desk.books.state(slice), Some(SliceState::Lost));
    assert!(desk.refusal(private(), room(private())).ends_with("join again: gipam join"));
}

#[test]
fn a_person_who_forgets_a_host_waits_as_long_as_a_want_and_the_host_is_not_forgotten_later() {
    let mut desk = Desk::first();
    let mut other = Desk::new("b", ClaimBooks::default(), desk.store.clone());
    other.tick(0);
    desk.store = other.store;
    desk.cut = true;
    desk.step(ClaimEvent::Forget { host: "b".to_owned() });
    let told = |desk: &Desk| {
        let told = |action: &ClaimAction| match action {
            ClaimAction::Forgotten { result, .. } => Some(result.clone()),
            _ => None,
        };
        desk.said.iter().filter_map(told).collect::<Vec<_>>()
    };
    desk.tick(1_900);
    assert_eq!(told(&desk), []);
    desk.tick(100);
    let [Err(text)] = &told(&desk)[..] else { panic!("{:?}", desk.said) };
    assert!(text.starts_with("the plan's store did not answer within 2 s"), "{text}");
    desk.cut = false;
    desk.tick(61_000);
    let record: HostRecord = read(&desk.store[&host_key("b")]).unwrap();
    assert_eq!(record.fenced, None);
}

#[test]
fn the_second_copy_of_a_host_stops() {
    let mut desk = Desk::first();
    let mut copy = Desk::new("a", desk.books.clone(), desk.store.clone());
    copy.tick(0);
    assert!(matches!(copy.want(private(), room(private())), Some(ClaimAction::Owned { .. })));
    desk.store = copy.store.clone();
    let text = desk.refusal(private(), room(private()));
    assert!(text.starts_with("another copy of the books of host name-of-a is running"), "{text}");
    assert_eq!(desk.books.slices.len(), 0);
    desk.hour();
}

#[test]
fn another_plan_and_a_missing_plan_are_refused() {
    let mut desk = Desk::first();
    desk.store.insert(PLAN.to_owned(), written(&PlanRecord::first("plan-2", "m")));
    desk.tick(61_000);
    assert!(desk.refusal(private(), room(private())).starts_with("the store has plan plan-2"));
    let mut desk = Desk::new("a", ClaimBooks::default(), Pairs::new());
    desk.tick(0);
    assert_eq!(
        desk.refusal(private(), room(private())),
        "the plan's store has no plan; create it: gipam join --new"
    );
    desk.hour();
}

#[test]
fn a_slice_is_put_back_into_a_restored_store_before_anybody_claims() {
    let mut desk = Desk::first();
    let backup = desk.store.clone();
    let Some(ClaimAction::Owned { slice, .. }) = desk.want(private(), room(private())) else { panic!() };
    // Given back later, so that the host's own record is newer than that of the backup.
    let Some(ClaimAction::Owned { slice: second, .. }) = desk.want(private(), room(private())) else {
        panic!()
    };
    desk.step(ClaimEvent::GiveBack { prefix: second });
    assert_eq!(desk.books.state(second), None);
    desk.store = backup;
    desk.tick(61_000);
    desk.tick(6_000);
    let plan: PlanRecord = read(&desk.store[PLAN]).unwrap();
    assert!(plan.is_settled() && plan.epoch == 2, "{plan:?}");
    let record: SliceRecord = read(&desk.store[&slice_key(slice)]).unwrap();
    assert_eq!((record.host.as_str(), record.epoch), ("a", 2));
    assert!(desk.books.holds(slice) && desk.machine.agrees());
    assert!(!desk.store.contains_key(&slice_key(second)));
}

/// A doubled copy of the refused claim could still land when the slice has become free; after the beat it cannot.
#[test]
fn after_a_refused_claim_comes_a_beat_and_then_the_list() {
    let mut desk = Desk::first();
    desk.want(private(), room(private()));
    desk.rival = true;
    desk.calls.clear();
    let Some(ClaimAction::Owned { slice, .. }) = desk.want(private(), room(private())) else { panic!() };
    let first = |wanted: &dyn Fn(&StoreCall) -> bool, from: usize| {
        desk.calls.iter().skip(from).position(wanted).map(|place| place + from).unwrap()
    };
    let refused = first(&|call| put_slice(call).is_some(), 0);
    assert_ne!(put_slice(&desk.calls[refused]), Some(slice));
    let is_beat = |call: &StoreCall| matches!(call, StoreCall::Transact { effect: Effect::Put { key, .. }, .. } if key == "host/a");
    let beat = first(&is_beat, refused);
    let list = first(&|call| matches!(call, StoreCall::List), refused);
    let claim = first(&|call| put_slice(call) == Some(slice), refused);
    assert!(refused < beat && beat < list && list < claim, "{:?}", desk.calls);
}

#[test]
fn every_free_slice_is_found_and_hosts_begin_at_different_places() {
    let base = prefix("2001:db8::/48");
    let nothing = BTreeSet::new();
    let firsts: BTreeSet<_> =
        (0..50).map(|host| candidate(base, 60, &nothing, &format!("host-{host}")).unwrap()).collect();
    assert!(firsts.len() > 40, "{}", firsts.len());
    for host in ["a", "b", "c"] {
        let base = prefix("198.51.100.0/24");
        let mut taken = BTreeSet::from([prefix("198.51.100.64/26"), prefix("198.51.100.7/32")]);
        let mut found = BTreeSet::new();
        while let Some(slice) = candidate(base, 28, &taken, host) {
            assert!(base.contains(slice) && !taken.iter().any(|it| it.overlaps(slice)), "{slice}");
            taken.insert(slice);
            found.insert(slice);
        }
        assert_eq!(found.len(), 11, "{found:?}");
    }
    let all = prefix("::/0");
    assert_eq!(candidate(all, 0, &nothing, "a"), Some(all));
    assert_eq!(candidate(all, 0, &BTreeSet::from([prefix("2001:db8::/32")]), "a"), None);
    assert!(candidate(all, 128, &nothing, "a").is_some());
}

#[test]
fn a_key_names_its_slice() {
    for text in ["203.0.113.32/27", "0.0.0.0/0", "2001:db8:0:10::/60", "::/0", "198.51.100.50/32"] {
        assert_eq!(slice_of(&slice_key(prefix(text))), Some(prefix(text)));
    }
    assert_eq!(slice_key(prefix("203.0.113.32/27")), "slice/v4/cb007120-27");
    for key in [
        "slice/v4/cb007121-27",
        "slice/v4/CB007120-27",
        "slice/v4/20-27",
        "slice/v5/0-0",
        "slice/v4/1cb007120-27",
        "host/a",
        PLAN,
    ] {
        assert_eq!(slice_of(key), None, "{key}");
    }
}

#[test]
fn a_transaction_happens_completely_or_not_at_all() {
    let mut store = Pairs::from([("a".to_owned(), "1".to_owned())]);
    let compare =
        |key: &str, value: Option<&str>| Compare { key: key.to_owned(), value: value.map(str::to_owned) };
    let put = |key: &str| Effect::Put { key: key.to_owned(), value: "2".to_owned() };
    let wrong = StoreCall::Transact {
        compares: vec![compare("a", Some("1")), compare("b", Some("1"))],
        effect: put("b"),
    };
    assert_eq!(wrong.apply(&mut store), StoreReply::Differs(store.clone()));
    let right =
        StoreCall::Transact { compares: vec![compare("a", Some("1")), compare("b", None)], effect: put("b") };
    assert_eq!(right.apply(&mut store), StoreReply::Done);
    assert_eq!(store["b"], "2");
}

/// A network with an `--ip-range` in a shared pool needs addresses there, and not anywhere in the pool.
#[test]
fn room_in_a_part_of_a_pool_is_claimed_there() {
    let mut desk = Desk::first();
    let part = prefix("198.51.100.16/28");
    desk.want(shared(), Need::Room { part });
    assert_eq!(desk.books.with(SliceState::Held).collect::<Vec<_>>(), [part]);
    // Nothing else is in this part.
    let text = desk.refusal(shared(), Need::Room { part });
    assert!(text.starts_with("pool 198.51.100.0/26 has no free slice in 198.51.100.16/28"), "{text}");
}

/// The books decide waiting requests at once when they have a slice; a want that comes then says that it was not enough.
#[test]
fn a_want_that_comes_after_the_books_were_written_gets_another_slice() {
    let mut desk = Desk::first();
    desk.hold = true;
    desk.step(ClaimEvent::Want { want: 1, pool: private(), need: room(private()) });
    let write = desk.held.expect("a write of the slice");
    desk.step(ClaimEvent::Want { want: 2, pool: private(), need: room(private()) });
    desk.hold = false;
    desk.said.clear();
    desk.step(ClaimEvent::Committed { write });
    let slices: Vec<Prefix> = desk
        .said
        .iter()
        .filter_map(|it| match it {
            ClaimAction::Owned { slice, .. } => Some(*slice),
            _ => None,
        })
        .collect();
    assert!(slices.len() == 2 && slices[0] != slices[1], "{:?}", desk.said);
}
