//! The tables of the books, and the migrations from older versions.
//!
//! Promises: `user_version` is the version of the schema, and `application_id` identifies the program.
//! Migrations only go forward, each in a transaction. The tables are readable in the `sqlite3` shell:
//! addresses and prefixes in the usual notation, times in milliseconds since the UNIX epoch (the views show
//! them as dates).

/// `gipm` in ASCII.
pub const APPLICATION_ID: i32 = 0x6769_706d;

/// The version that this program writes.
pub const VERSION: i32 = 10;

/// Migration N turns version N into version N+1, counted from 0; the first one creates the books.
pub const MIGRATIONS: [&str; 10] =
    [FIRST, NAMES, CALLERS, TAIL, BY_HAND, NETWORKS, FIND_NAMES, SLICES, SOURCES, LANS];

const FIRST: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE counters (one INTEGER PRIMARY KEY CHECK (one = 1), next_generation INTEGER NOT NULL,
  next_serial INTEGER NOT NULL) STRICT;
INSERT INTO counters VALUES (1, 1, 1);
CREATE TABLE pools (position INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  v4_base TEXT, v4_size INTEGER, v6_base TEXT, v6_size INTEGER, v6_addresses TEXT,
  cooling INTEGER NOT NULL, subnet_cooling INTEGER NOT NULL, closed INTEGER NOT NULL) STRICT;
CREATE TABLE reserved (position INTEGER PRIMARY KEY, first TEXT NOT NULL, last TEXT NOT NULL) STRICT;
CREATE TABLE subnets (serial INTEGER PRIMARY KEY, id TEXT NOT NULL, space TEXT NOT NULL, prefix TEXT NOT NULL,
  range TEXT, pool TEXT, options TEXT NOT NULL, dynamic INTEGER NOT NULL, granted_at INTEGER NOT NULL,
  generation INTEGER NOT NULL, start_beyond TEXT, addressed INTEGER NOT NULL, had_endpoint INTEGER NOT NULL,
  set_up_at INTEGER NOT NULL, gateway TEXT, gateway_is_auxiliary INTEGER NOT NULL, stormed INTEGER NOT NULL,
  released_at INTEGER, cool_until INTEGER NOT NULL) STRICT;
CREATE TABLE addresses (subnet INTEGER NOT NULL, address TEXT NOT NULL, leased INTEGER NOT NULL, kind TEXT,
  name TEXT, mac TEXT, pinned INTEGER NOT NULL, since INTEGER NOT NULL, generation INTEGER NOT NULL,
  PRIMARY KEY (subnet, address)) STRICT, WITHOUT ROWID;
CREATE TABLE keys (space TEXT NOT NULL, family TEXT NOT NULL, word TEXT NOT NULL, prefix TEXT NOT NULL,
  at INTEGER NOT NULL, PRIMARY KEY (space, family, word)) STRICT, WITHOUT ROWID;
CREATE TABLE history (seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, event TEXT NOT NULL,
  space TEXT NOT NULL, subnet TEXT NOT NULL, id TEXT NOT NULL, address TEXT, kind TEXT, name TEXT, mac TEXT, why TEXT)
  STRICT;
CREATE VIEW leases AS SELECT s.prefix AS subnet, a.address, a.kind, a.name AS holder, a.mac,
  datetime(a.since / 1000, 'unixepoch') AS since, s.space, s.id FROM addresses a JOIN subnets s ON s.serial = a.subnet
  WHERE a.leased AND s.released_at IS NULL;
CREATE VIEW held AS SELECT prefix, space, pool, range, gateway, datetime(granted_at / 1000, 'unixepoch') AS since, id
  FROM subnets WHERE released_at IS NULL;
";

/// The Engine's names for the holders, for views.
const NAMES: &str = "
CREATE TABLE names (subnet INTEGER NOT NULL, address TEXT NOT NULL, generation INTEGER NOT NULL,
  container TEXT NOT NULL, container_id TEXT NOT NULL, network TEXT NOT NULL,
  PRIMARY KEY (subnet, address)) STRICT, WITHOUT ROWID;
DROP VIEW leases;
CREATE VIEW leases AS SELECT s.prefix AS subnet, a.address, a.kind, coalesce(n.container, a.name) AS holder, a.mac,
  n.network, datetime(a.since / 1000, 'unixepoch') AS since, s.space, s.id FROM addresses a
  JOIN subnets s ON s.serial = a.subnet
  LEFT JOIN names n ON n.subnet = a.subnet AND n.address = a.address AND n.generation = a.generation
  WHERE a.leased AND s.released_at IS NULL;
";

/// The recorded callers; see the plan's `callers`.
const CALLERS: &str = "
CREATE TABLE callers (name TEXT PRIMARY KEY, first INTEGER NOT NULL, until INTEGER, live_restore INTEGER)
  STRICT, WITHOUT ROWID;
";

/// The history is also a log: its rows say what is known about an address from then on, and the table of
/// addresses is updated from them later (see `tail`). `leased` is 1 for a lease, 0 for a remembered one, null
/// if nothing is known. `pinned` is a sum: 1 if the address was ever requested by number, 2 if anonymous
/// requests do not get it (`Record::withheld`).
const TAIL: &str = "
ALTER TABLE counters ADD COLUMN folded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history RENAME TO old_history;
CREATE TABLE history (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL,
  space TEXT NOT NULL, subnet TEXT NOT NULL, id TEXT NOT NULL, address TEXT, kind TEXT, name TEXT, mac TEXT, why TEXT,
  serial INTEGER, leased INTEGER, pinned INTEGER, since INTEGER, generation INTEGER) STRICT;
INSERT INTO history SELECT seq, at, event, space, subnet, id, address, kind, name, mac, why, NULL, NULL, NULL, NULL, NULL
  FROM old_history;
DROP TABLE old_history;
UPDATE counters SET folded = coalesce((SELECT max(seq) FROM history), 0);
CREATE VIEW tail AS SELECT serial AS subnet, address, leased, kind, name, mac, pinned, since, generation, max(seq) AS seq
  FROM history WHERE seq > (SELECT folded FROM counters) AND address IS NOT NULL GROUP BY serial, address;
CREATE VIEW known AS
  SELECT a.* FROM addresses a LEFT JOIN tail t ON t.subnet = a.subnet AND t.address = a.address WHERE t.seq IS NULL
  UNION ALL
  SELECT subnet, address, leased, kind, name, mac, pinned, since, generation FROM tail WHERE leased IS NOT NULL;
DROP VIEW leases;
CREATE VIEW leases AS SELECT s.prefix AS subnet, a.address, a.kind, coalesce(n.container, a.name) AS holder, a.mac,
  n.network, datetime(a.since / 1000, 'unixepoch') AS since, s.space, s.id FROM known a
  JOIN subnets s ON s.serial = a.subnet
  LEFT JOIN names n ON n.subnet = a.subnet AND n.address = a.address AND n.generation = a.generation
  WHERE a.leased AND s.released_at IS NULL;
";

/// Reservations and pins that people make in the running daemon.
const BY_HAND: &str = "
CREATE TABLE reserved_by_hand (position INTEGER PRIMARY KEY, first TEXT NOT NULL, last TEXT NOT NULL) STRICT;
CREATE TABLE pins (space TEXT NOT NULL, prefix TEXT NOT NULL, address TEXT NOT NULL, name TEXT, mac TEXT,
  since INTEGER NOT NULL, PRIMARY KEY (space, prefix, address)) STRICT, WITHOUT ROWID;
";

/// The Engine's names for the networks, for views, and releases that wait until the PoolID of an adopted
/// subnet is known.
const NETWORKS: &str = "
CREATE TABLE networks (subnet INTEGER PRIMARY KEY, generation INTEGER NOT NULL, network TEXT NOT NULL) STRICT;
CREATE TABLE kept_releases (subnet INTEGER NOT NULL, address TEXT NOT NULL, generation INTEGER NOT NULL,
  id TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (subnet, address)) STRICT, WITHOUT ROWID;
DROP VIEW held;
CREATE VIEW held AS SELECT s.prefix, n.network, s.space, s.pool, s.range, s.gateway,
  datetime(s.granted_at / 1000, 'unixepoch') AS since, s.id FROM subnets s
  LEFT JOIN networks n ON n.subnet = s.serial AND n.generation = s.generation WHERE s.released_at IS NULL;
";

/// Indexes to find a container by its name, by its id or the beginning of it, or by its network.
const FIND_NAMES: &str = "
CREATE INDEX IF NOT EXISTS names_by_container ON names (container);
CREATE INDEX IF NOT EXISTS names_by_id ON names (container_id);
CREATE INDEX IF NOT EXISTS names_by_network ON names (network);
";

/// The slices of pools that are shared with other hosts: their length for each pool, and those that belong to
/// this host.
const SLICES: &str = "
ALTER TABLE pools ADD COLUMN v4_slice INTEGER;
ALTER TABLE pools ADD COLUMN v6_slice INTEGER;
ALTER TABLE pools ADD COLUMN v4_shared TEXT;
ALTER TABLE pools ADD COLUMN v6_shared TEXT;
CREATE TABLE slices (prefix TEXT PRIMARY KEY, state TEXT NOT NULL, claim TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// Where the bases of pools come from if they can change without the configuration, and the earlier bases of pools, the
/// latest first.
const SOURCES: &str = "
CREATE TABLE sources (pool TEXT NOT NULL, family TEXT NOT NULL, source TEXT NOT NULL, size INTEGER NOT NULL,
  addresses TEXT NOT NULL, PRIMARY KEY (pool, family)) STRICT, WITHOUT ROWID;
CREATE TABLE former_bases (pool TEXT NOT NULL, position INTEGER NOT NULL, base TEXT NOT NULL,
  PRIMARY KEY (pool, position)) STRICT, WITHOUT ROWID;
";

/// The gateways of pools, which only shared bases had before, in the same text as the part that is given by number; and
/// whether their addresses are probed.
const LANS: &str = "
ALTER TABLE pools ADD COLUMN v4_gateway TEXT;
ALTER TABLE pools ADD COLUMN v6_gateway TEXT;
ALTER TABLE pools ADD COLUMN v4_probe INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pools ADD COLUMN v6_probe INTEGER NOT NULL DEFAULT 0;
UPDATE pools SET v4_gateway = nullif(substr(v4_shared, 1, instr(v4_shared, ' ') - 1), '-'),
  v4_shared = substr(v4_shared, instr(v4_shared, ' ') + 1) WHERE v4_shared IS NOT NULL;
UPDATE pools SET v6_gateway = nullif(substr(v6_shared, 1, instr(v6_shared, ' ') - 1), '-'),
  v6_shared = substr(v6_shared, instr(v6_shared, ' ') + 1) WHERE v6_shared IS NOT NULL;
";
