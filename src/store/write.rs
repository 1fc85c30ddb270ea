//! Changes into tables: what each change writes, and its line of history.
//!
//! Promises: a change touches a bounded number of rows, but for the release of a subnet (a few statements over its
//! leases) and the trimming of history. Does not commit.

use rusqlite::params;
use rusqlite::types::Null;

use super::sqlite::{Books, CommitError, Error, sqlite};
use crate::plan::change::{Change, Kind, Marks, Record, Serial, Shown, SubnetState, Why};
use crate::plan::prefix::Prefix;
use crate::plan::settings::Millis;
use crate::plan::{Plan, mac_text};

/// Rows of history between two trims.
pub(super) const TRIM_EVERY: usize = 1_000;

type Written = Result<(), rusqlite::Error>;

/// SQLite keeps 64-bit signed numbers; times and counters of ours fit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// One line of history.
struct Line<'a> {
    at: Millis,
    event: &'static str,
    address: Option<u128>,
    record: Option<&'a Record>,
    why: Option<&'a Why>,
}

impl Books {
    /// Writes a change into the open transaction. `plan` is the plan before the change.
    pub fn write(&mut self, plan: &Plan, change: &Change) -> Result<(), CommitError> {
        self.begin()?;
        self.write_change(plan, change).map_err(|error| CommitError::of(&error))
    }

    /// Writes the counters, once a batch.
    pub fn write_counters(&mut self, plan: &Plan) -> Result<(), CommitError> {
        self.begin()?;
        let (generation, serial) = plan.counters();
        let sql = "UPDATE counters SET next_generation = ?1, next_serial = ?2 WHERE one = 1";
        self.execute(sql, params![signed(generation), signed(serial)])
            .map_err(|error| CommitError::of(&error))
    }

    /// Forgets who asked for what is held (see the plan's `callers`): whoever comes next may have.
    pub(super) fn forget_callers(&mut self) -> Result<(), Error> {
        self.execute("DELETE FROM callers", []).map_err(sqlite(&self.path, "forgetting who asked"))
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Written {
        self.connection.prepare_cached(sql)?.execute(params).map(|_| ())
    }

    fn write_change(&mut self, plan: &Plan, change: &Change) -> Written {
        match change {
            Change::SubnetGranted(state) => {
                self.put_subnet(state)?;
                self.subnet_line(state, "subnet granted", state.granted_at, None)
            }
            Change::SubnetRestored(state) => {
                self.undone_subnet(plan, state.serial)?;
                self.put_subnet(state)
            }
            Change::SubnetMarked { serial, marks } => self.mark(plan, *serial, marks),
            Change::SubnetReleased { serial, at, cool_until, why } => {
                self.release_subnet(plan, *serial, *at, *cool_until, why)
            }
            Change::SubnetForgotten { serial } => {
                self.undone_subnet(plan, *serial)?;
                self.execute("DELETE FROM addresses WHERE subnet = ?1", [signed(*serial)])?;
                self.execute("DELETE FROM names WHERE subnet = ?1", [signed(*serial)])?;
                self.execute("DELETE FROM subnets WHERE serial = ?1", [signed(*serial)])
            }
            Change::AddressGranted { serial, address, record } => {
                self.put_address(plan, *serial, *address, record)?;
                let line = Line {
                    at: record.since,
                    event: "leased",
                    address: Some(*address),
                    record: Some(record),
                    why: None,
                };
                self.line(plan, *serial, &line)
            }
            Change::AddressRestored { serial, address, record } => {
                self.undone_address(plan, *serial, *address)?;
                self.put_address(plan, *serial, *address, record)
            }
            Change::AddressLearned { serial, address, record, evidence } => {
                self.learned_address(plan, *serial, *address, record, evidence)
            }
            Change::SubnetListed { serial } => {
                self.execute("UPDATE subnets SET start_beyond = NULL WHERE serial = ?1", [signed(*serial)])
            }
            Change::AddressNamed { serial, address, generation, shown } => {
                self.name_address(plan, *serial, *address, *generation, shown)
            }
            Change::AddressReleased { serial, address, at, why } => {
                self.release_address(plan, *serial, *address, *at, why)
            }
            Change::AddressForgotten { serial, address } => {
                self.undone_address(plan, *serial, *address)?;
                let Some(subnet) = plan.subnet(*serial) else { return Ok(()) };
                let text = subnet.state.prefix.address(*address).to_string();
                for sql in [
                    "DELETE FROM addresses WHERE subnet = ?1 AND address = ?2",
                    "DELETE FROM names WHERE subnet = ?1 AND address = ?2",
                ] {
                    self.execute(sql, params![signed(*serial), text])?;
                }
                Ok(())
            }
            Change::KeyRemembered { space, family, word, prefix: Some((prefix, at)) } => self.execute(
                "INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4, ?5)",
                params![space.name(), family.name(), word, prefix.to_string(), signed(*at)],
            ),
            Change::KeyRemembered { space, family, word, prefix: None } => self.execute(
                "DELETE FROM keys WHERE space = ?1 AND family = ?2 AND word = ?3",
                params![space.name(), family.name(), word],
            ),
            Change::CallerSeen { name, caller } => self.execute(
                "INSERT OR REPLACE INTO callers VALUES (?1, ?2, ?3, ?4)",
                params![name, signed(caller.first), caller.until.map(signed), caller.live_restore],
            ),
            Change::CallerForgotten { name } => self.execute("DELETE FROM callers WHERE name = ?1", [name]),
            Change::Counted { .. } => Ok(()),
        }
    }

    fn put_subnet(&self, state: &SubnetState) -> Written {
        let options = serde_json::to_string(&state.options).unwrap_or_else(|_| "{}".to_owned());
        let address = |number: Option<u128>| number.map(|number| state.prefix.address(number).to_string());
        let marks = &state.marks;
        self.execute(
            "INSERT OR REPLACE INTO subnets VALUES \
             (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
            params![
                signed(state.serial),
                state.id,
                state.space.name(),
                state.prefix.to_string(),
                state.range.map(|range| range.to_string()),
                state.pool,
                options,
                state.dynamic,
                signed(state.granted_at),
                signed(state.generation),
                address(state.start_beyond),
                marks.addressed,
                marks.had_endpoint,
                signed(marks.set_up_at),
                address(marks.gateway),
                marks.gateway_is_auxiliary,
                marks.stormed,
                state.released_at.map(signed),
                signed(state.cool_until),
            ],
        )
    }

    fn mark(&self, plan: &Plan, serial: Serial, marks: &Marks) -> Written {
        let Some(subnet) = plan.subnet(serial) else { return Ok(()) };
        let gateway = marks.gateway.map(|number| subnet.state.prefix.address(number).to_string());
        self.execute(
            "UPDATE subnets SET addressed = ?2, had_endpoint = ?3, set_up_at = ?4, gateway = ?5, gateway_is_auxiliary = ?6, \
             stormed = ?7 WHERE serial = ?1",
            params![
                signed(serial),
                marks.addressed,
                marks.had_endpoint,
                signed(marks.set_up_at),
                gateway,
                marks.gateway_is_auxiliary,
                marks.stormed
            ],
        )
    }

    fn release_subnet(
        &mut self,
        plan: &Plan,
        serial: Serial,
        at: Millis,
        cool_until: Millis,
        why: &Why,
    ) -> Written {
        let Some(subnet) = plan.subnet(serial) else { return Ok(()) };
        let key = signed(serial);
        self.execute(
            "UPDATE subnets SET released_at = ?2, cool_until = ?3 WHERE serial = ?1",
            params![key, signed(at), signed(cool_until)],
        )?;
        let ended = self.connection.prepare_cached(
            "INSERT INTO history SELECT NULL, ?2, 'released', s.space, s.prefix, s.id, a.address, a.kind, a.name, a.mac, ?3 \
             FROM addresses a JOIN subnets s ON s.serial = a.subnet WHERE a.subnet = ?1 AND a.leased",
        )?.execute(params![key, signed(at), why.text()])?;
        self.history_since_trim += ended;
        self.execute("DELETE FROM addresses WHERE subnet = ?1 AND leased AND kind IS NOT 'endpoint'", [key])?;
        self.execute(
            "UPDATE addresses SET leased = 0, since = ?2 WHERE subnet = ?1 AND leased",
            params![key, signed(at)],
        )?;
        self.subnet_line(&subnet.state, "subnet released", at, Some(why))
    }

    fn put_address(&self, plan: &Plan, serial: Serial, address: u128, record: &Record) -> Written {
        let Some(subnet) = plan.subnet(serial) else { return Ok(()) };
        self.execute(
            "INSERT OR REPLACE INTO addresses VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                signed(serial),
                subnet.state.prefix.address(address).to_string(),
                record.leased,
                record.kind.name(),
                record.name.as_deref(),
                record.mac.map(mac_text),
                record.pinned,
                signed(record.since),
                signed(record.generation)
            ],
        )
    }

    fn release_address(
        &mut self,
        plan: &Plan,
        serial: Serial,
        address: u128,
        at: Millis,
        why: &Why,
    ) -> Written {
        let Some(subnet) = plan.subnet(serial) else { return Ok(()) };
        let text = subnet.state.prefix.address(address).to_string();
        self.execute(
            "UPDATE addresses SET leased = 0, since = ?3 WHERE subnet = ?1 AND address = ?2",
            params![signed(serial), text, signed(at)],
        )?;
        let record = subnet.addresses.get(address);
        self.line(
            plan,
            serial,
            &Line { at, event: "released", address: Some(address), record, why: Some(why) },
        )
    }

    fn line(&mut self, plan: &Plan, serial: Serial, line: &Line<'_>) -> Written {
        match plan.subnet(serial) {
            Some(subnet) => self.history(&subnet.state, line),
            None => Ok(()),
        }
    }

    /// An address that is leased and not any more, without a release: its grant never reached anybody.
    fn undone_address(&mut self, plan: &Plan, serial: Serial, address: u128) -> Written {
        let record = plan.subnet(serial).and_then(|subnet| subnet.addresses.get(address));
        let Some(record) = record.filter(|record| record.leased) else { return Ok(()) };
        let line =
            Line { at: plan.now(), event: "undone", address: Some(address), record: Some(record), why: None };
        self.line(plan, serial, &line)
    }

    /// The same of a subnet; one that is only remembered leaves without a line.
    fn undone_subnet(&mut self, plan: &Plan, serial: Serial) -> Written {
        match plan.subnet(serial).filter(|subnet| subnet.is_held()) {
            Some(subnet) => self.subnet_line(&subnet.state, "subnet undone", plan.now(), None),
            None => Ok(()),
        }
    }

    fn learned_address(
        &mut self,
        plan: &Plan,
        serial: Serial,
        address: u128,
        record: &Record,
        evidence: &str,
    ) -> Written {
        let known = plan.subnet(serial).is_some_and(|subnet| subnet.addresses.is_leased(address));
        let event = if known { "identified" } else { "adopted" };
        self.put_address(plan, serial, address, record)?;
        let why = Why::Repair(evidence.into());
        let line =
            Line { at: plan.now(), event, address: Some(address), record: Some(record), why: Some(&why) };
        self.line(plan, serial, &line)
    }

    fn name_address(
        &self,
        plan: &Plan,
        serial: Serial,
        address: u128,
        generation: u64,
        shown: &Shown,
    ) -> Written {
        let Some(subnet) = plan.subnet(serial) else { return Ok(()) };
        self.execute(
            "INSERT OR REPLACE INTO names VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                signed(serial),
                subnet.state.prefix.address(address).to_string(),
                signed(generation),
                shown.container,
                shown.container_id,
                shown.network
            ],
        )
    }

    fn subnet_line(
        &mut self,
        state: &SubnetState,
        event: &'static str,
        at: Millis,
        why: Option<&Why>,
    ) -> Written {
        self.history(state, &Line { at, event, address: None, record: None, why })
    }

    fn history(&mut self, state: &SubnetState, line: &Line<'_>) -> Written {
        let prefix: Prefix = state.prefix;
        let kind = line.record.map_or(Kind::Unknown, |record| record.kind);
        self.execute(
            "INSERT INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                Null,
                signed(line.at),
                line.event,
                state.space.name(),
                prefix.to_string(),
                state.id,
                line.address.map(|address| prefix.address(address).to_string()),
                kind.name(),
                line.record.and_then(|record| record.name.as_deref()),
                line.record.and_then(|record| record.mac).map(mac_text),
                line.why.map(Why::text)
            ],
        )?;
        self.history_since_trim += 1;
        if self.history_since_trim >= TRIM_EVERY {
            self.history_since_trim = 0;
            let sql = "DELETE FROM history WHERE seq <= (SELECT max(seq) FROM history) - ?1";
            self.execute(sql, [signed(self.history_limit)])?;
        }
        Ok(())
    }
}
