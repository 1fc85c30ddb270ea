//! WHAT FUZZING CHECKS: for each kind of foreign bytes, what must be true of any input. The fuzz targets call
//! these functions endlessly; `tests/corpus.rs` calls them with the seeds and with all inputs that once
//! failed.
//!
//! Promises: a panic means a bug was found. No socket; files only in its own directory in memory. Independent
//! of the fuzzer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;

use gipam::claims::division::Division;
use gipam::claims::machine::Machine;
use gipam::claims::machine::calls::Pairs;
use gipam::claims::machine::event::{ClaimAction, ClaimEvent, Geometry, HostIdentity, Need, Started};
use gipam::claims::machine::own_books::ClaimBooks;
use gipam::config::{Surroundings, check_file};
use gipam::docker::wire;
use gipam::plan::Plan;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{Reply, Request};
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings};
use gipam::plan::slices::SliceState;
use gipam::store::{Books, Reader, old_gipam, takeover};

use super::invariants::{conserved, disjoint};

const NOW: u64 = 1_800_000_000_000;

/// The pools of the recorded conversations.
fn settings() -> Settings {
    let base = |text: &str, size| Prefix::parse(text).map(|base| Base::new(base, size, AddressOrder::Stable));
    let pool = |name: &str, v4, v6| PoolSettings {
        name: name.to_owned(),
        v4,
        v6,
        cooling: 1_000,
        subnet_cooling: 1_000,
        closed: false,
        provenance: Default::default(),
    };
    Settings {
        pools: vec![
            pool("default", base("10.123.0.0/16", 24), base("fd12:3400::/48", 64)),
            pool("small", base("192.0.2.0/28", 30), None),
        ],
        ..Settings::default()
    }
}

/// A directory in memory that lives as long as the program.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let memory = std::path::Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        DIRECTORY.get_or_init(|| made.unwrap()).path().to_owned()
    })
}

/// Lines `METHOD BODY`: each body is parsed as dockerd's; if that succeeds, the request is sent to a plan. A
/// PoolID that is the prefix of a held subnet stands for its id. No request may break an invariant, and every
/// text must fit into a log.
pub fn wire(bytes: &[u8]) {
    let mut plan = Plan::new(settings());
    let mut ids: BTreeMap<String, String> = BTreeMap::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').take(64).enumerate() {
        let at = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (method, body) = (&line[..at], line.get(at + 1..).unwrap_or_default());
        let mut body = body.to_vec();
        if let Ok(text) = std::str::from_utf8(&body) {
            let mut text = text.to_owned();
            for (prefix, id) in &ids {
                text = text.replace(&format!("\"PoolID\":\"{prefix}\""), &format!("\"PoolID\":\"{id}\""));
            }
            body = text.into_bytes();
        }
        wire::is_blank(&body);
        let asked = wire::Body::parse(&body).and_then(|body| match method {
            b"RequestPool" => body.subnet_request(None, Arc::default()).map(Request::Subnet),
            b"ReleasePool" => body.release_subnet(),
            b"RequestAddress" => body.address_request(Arc::default()),
            _ => body.release_address(),
        });
        let request = match asked {
            Ok(request) => request,
            Err(error) => {
                says(&error.to_string());
                continue;
            }
        };
        let now = NOW + number as u64 * 700;
        plan.advance(now);
        let decision = plan.decide(&request, number as u64);
        for change in &decision.changes {
            plan.apply(change);
        }
        match &decision.reply {
            Ok(reply) => {
                let text = wire::reply(reply);
                assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap().is_object());
                if let Reply::Subnet { id, prefix, .. } = reply {
                    ids.insert(prefix.to_string(), id.clone());
                }
            }
            Err(error) => says(&error.to_string()),
        }
        disjoint(&plan).and_then(|()| conserved(&plan)).unwrap();
    }
}

/// A refusal is a JSON object that contains a text, on one line, of limited length.
fn says(text: &str) {
    let tidy = wire::tidy_message(text);
    assert!(
        !tidy.is_empty() && !tidy.chars().any(char::is_control) && tidy.chars().count() < 4_200,
        "{tidy:?}"
    );
    let body: serde_json::Value = serde_json::from_str(&wire::refusal(&tidy)).unwrap();
    assert_eq!(body["Err"], body["Error"]);
}

/// A configuration file: it is accepted, or refused with a text that names the file.
pub fn configuration(bytes: &[u8]) {
    let path = directory().join("gipam.toml");
    std::fs::write(&path, bytes).unwrap();
    let path = path.display().to_string();
    match check_file(&path, &Surroundings::default()) {
        Ok(config) => {
            // The settings make a plan that answers requests.
            let plan = Plan::new(config.settings);
            conserved(&plan).unwrap();
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A lease file of the old gipam: if it is accepted, all of its records are taken over, and the file that
/// gipam writes from them can be read again.
pub fn lease_file(bytes: &[u8]) {
    let _ = old_gipam::detect(bytes);
    let Ok(parsed) = old_gipam::parse(bytes) else { return };
    for oddity in &parsed.oddities {
        assert!(!oddity.to_string().is_empty());
    }
    let books = parsed.books;
    let mut settings = Settings::default();
    settings.pools.extend(takeover::pools(&books, &settings));
    let mut plan = Plan::new(settings.clone());
    for change in takeover::changes(&books, &plan, &settings, NOW) {
        plan.apply(&change);
    }
    plan.advance(NOW);
    conserved(&plan).unwrap();
    let leases: usize = books.allocated.iter().map(|subnet| subnet.addresses.len()).sum();
    let held: usize = plan.subnets().map(|subnet| subnet.addresses.leased()).sum();
    assert_eq!((plan.subnets().count(), held), (books.allocated.len(), leases));
    let again = old_gipam::parse(&old_gipam::write(&books)).unwrap().books;
    let addresses = |books: &old_gipam::OldBooks| -> Vec<_> {
        let mut all: Vec<_> = books.allocated.iter().map(|it| (it.id.clone(), it.prefix)).collect();
        all.sort();
        all
    };
    assert_eq!(addresses(&again), addresses(&books));
}

/// The columns of the books in which a foreign value may be.
const COLUMNS: [(&str, &str); 48] = [
    ("subnets", "serial"),
    ("subnets", "id"),
    ("subnets", "space"),
    ("subnets", "prefix"),
    ("subnets", "range"),
    ("subnets", "pool"),
    ("subnets", "options"),
    ("subnets", "dynamic"),
    ("subnets", "granted_at"),
    ("subnets", "generation"),
    ("subnets", "start_beyond"),
    ("subnets", "had_endpoint"),
    ("subnets", "set_up_at"),
    ("subnets", "gateway"),
    ("subnets", "released_at"),
    ("subnets", "cool_until"),
    ("addresses", "subnet"),
    ("addresses", "address"),
    ("addresses", "leased"),
    ("addresses", "kind"),
    ("addresses", "name"),
    ("addresses", "mac"),
    ("addresses", "pinned"),
    ("addresses", "since"),
    ("addresses", "generation"),
    ("keys", "space"),
    ("keys", "family"),
    ("keys", "word"),
    ("keys", "prefix"),
    ("keys", "at"),
    ("counters", "next_generation"),
    ("counters", "next_serial"),
    ("pools", "name"),
    ("pools", "v4_base"),
    ("pools", "v4_size"),
    ("pools", "v6_base"),
    ("pools", "cooling"),
    ("reserved", "first"),
    ("reserved", "last"),
    ("reserved_by_hand", "first"),
    ("reserved_by_hand", "last"),
    ("pins", "space"),
    ("pins", "prefix"),
    ("pins", "address"),
    ("pins", "name"),
    ("pins", "mac"),
    ("pins", "since"),
    ("meta", "value"),
];

/// Books with a row in every table.
fn template() -> &'static Vec<u8> {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let path = directory().join("template.db");
        let mut books = Books::open(&path).unwrap();
        books.put_settings(&settings()).unwrap();
        books.commit().unwrap();
        books.close().unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode=DELETE;
                 INSERT INTO subnets VALUES (1, 'local/10.123.0.0/24#00000000000000aa', 'local', '10.123.0.0/24',
                   '10.123.0.128/25', 'default', '{\"key\":\"a\"}', 1, 5, 1, NULL, 1, 1, 5, '10.123.0.1', 0, 0, NULL, 0);
                 INSERT INTO subnets VALUES (2, 'b', 'global', 'fd12:3400::/64', NULL, NULL, '{}', 0, 5, 2,
                   'fd12:3400::7', 1, 1, 5, NULL, 0, 0, 9, 10);
                 INSERT INTO addresses VALUES (1, '10.123.0.1', 1, 'gateway', NULL, NULL, 0, 5, 3);
                 INSERT INTO addresses VALUES (1, '10.123.0.130', 1, 'endpoint', 'web', '02:00:00:00:00:01', 1, 5, 4);
                 INSERT INTO addresses VALUES (2, 'fd12:3400::5', 0, 'endpoint', 'db', NULL, 0, 5, 5);
                 INSERT INTO keys VALUES ('local', 'v4', 'a', '10.123.0.0/24', 5);
                 INSERT INTO reserved VALUES (99, '10.123.9.1', '10.123.9.3');
                 INSERT INTO reserved_by_hand VALUES (0, 'fd12:3400::20', 'fd12:3400::2f');
                 INSERT INTO pins VALUES ('local', '10.123.0.0/24', '10.123.0.140', 'web', NULL, 5);",
            )
            .unwrap();
        connection.close().unwrap();
        std::fs::read(&path).unwrap()
    })
}

/// Rows: the first byte of a line selects a column, the second a type, the rest is the value. The books
/// are then accepted, or refused with a text that names the value.
pub fn rows(bytes: &[u8]) {
    let path = directory().join("rows.db");
    std::fs::write(&path, template()).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY").unwrap();
    for line in bytes.split(|byte| *byte == b'\n').take(8) {
        let [column, how, value @ ..] = line else { continue };
        let (table, column) = COLUMNS[usize::from(*column) % COLUMNS.len()];
        let text = String::from_utf8_lossy(value).into_owned();
        let value = match how % 4 {
            0 => rusqlite::types::Value::Null,
            1 => rusqlite::types::Value::Integer(text.parse().unwrap_or(value.len() as i64 - 4)),
            _ => rusqlite::types::Value::Text(text),
        };
        // SQLite checks types and keys: a value that it refuses is not in the books.
        let _ = connection.execute(&format!("UPDATE OR IGNORE {table} SET {column} = ?1"), [value]);
    }
    connection.close().unwrap();
    let reader = Reader::open(&path).unwrap();
    let outcome = reader.settings().and_then(|settings| {
        let mut plan = Plan::new(settings);
        reader.load(|change| plan.apply(&change))?;
        plan.advance(NOW);
        // Accepted books can also be counted and exported.
        for subnet in plan.subnets() {
            plan.count_addresses(subnet);
        }
        let subnets = plan.subnets().filter_map(takeover::exported).collect();
        takeover::export(&plan.settings().pools, subnets);
        Ok(())
    });
    if let Err(error) = outcome {
        assert!(error.to_string().contains("rows.db"), "{error}");
    }
}

/// A plan file: accepted and sound, or refused with lines that name it.
pub fn plan_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let division = match Division::parse(&text, Path::new("plan.toml")) {
        Ok(division) => division,
        Err(error) => {
            let lines = error.lines();
            assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("plan.toml")), "{lines:?}");
            return;
        }
    };
    let slices: Vec<Prefix> = division.hosts.iter().flat_map(|host| host.slices.iter().copied()).collect();
    for (number, slice) in slices.iter().enumerate() {
        assert!(division.pool_around(*slice).is_some(), "{slice} lies in no pool");
        let other = slices[number + 1..].iter().find(|other| other.overlaps(*slice));
        assert!(other.is_none(), "{slice} overlaps {other:?}");
    }
    for pool in &division.pools {
        let size = |prefixes: &mut dyn Iterator<Item = Prefix>| {
            prefixes.fold(0_u128, |sum, prefix| sum.wrapping_add(prefix.size()))
        };
        let free = size(&mut division.holes(pool).into_iter());
        let owned = size(&mut slices.iter().copied().filter(|slice| pool.base.contains(*slice)));
        assert_eq!(free.wrapping_add(owned), pool.base.size(), "{}", pool.base);
    }
}

/// What the machine of a host does with the records of a store: it never calls it without end.
struct Played {
    machine: Machine,
    store: Pairs,
    calls: usize,
}

impl Played {
    fn step(&mut self, event: ClaimEvent) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.machine.step(event) {
                match action {
                    ClaimAction::Call { call, what } => {
                        self.calls += 1;
                        assert!(self.calls < 2_000, "{what:?}");
                        // Every fifth call is not answered.
                        events.push(match self.calls % 5 {
                            4 => ClaimEvent::Unknown { call, why: "cut".to_owned() },
                            _ => ClaimEvent::Replied { call, reply: what.apply(&mut self.store) },
                        });
                    }
                    ClaimAction::Write { write, .. } => events.push(ClaimEvent::Committed { write }),
                    _ => {}
                }
            }
        }
    }
}

/// Lines `KEY VALUE`: the records that a host finds in the plan's store, whoever wrote them. The host looks, claims, gives back
/// and forgets; nothing of it may panic, or go on without end.
pub fn store_records(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let records = text.lines().take(64).filter_map(|line| line.split_once(' '));
    let store: Pairs = records.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let host = HostIdentity {
        id: "a".to_owned(),
        name: "host-a".to_owned(),
        via: Vec::new(),
        machine: String::new(),
    };
    let base = Prefix::new(Family::V4, 0x0a00_0000, 16);
    let pool = Geometry { base, slice: 20, shared: false, by_number: None };
    let held = Prefix::new(Family::V4, 0x0a00_1000, 20);
    let slices = [(held, (SliceState::Held, "claim".to_owned()))].into();
    let known = ClaimBooks {
        plan: "p".to_owned(),
        acknowledged: 3,
        intended: 3,
        seq: 2,
        slices,
        ..ClaimBooks::default()
    };
    for books in [ClaimBooks::default(), known] {
        let started = Started { host: host.clone(), books, run: "r".to_owned(), now: 0 };
        let mut played = Played { machine: Machine::new(started), store: store.clone(), calls: 0 };
        for second in 0..8 {
            played.step(ClaimEvent::Tick { now: second * 61_000 });
            played.step(ClaimEvent::Want { want: 2 * second, pool, need: Need::Room { part: base } });
            let need = Need::These(Prefix::new(Family::V4, 0x0a00_2000, 24));
            played.step(ClaimEvent::Want { want: 2 * second + 1, pool, need });
            played.step(ClaimEvent::GiveBack { prefix: held });
            played.step(ClaimEvent::Forget { host: "b".to_owned() });
        }
    }
}
