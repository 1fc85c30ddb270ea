//! Writes changes into the tables: the rows that each change affects, and its history row.
//!
//! Promises: a change to an address writes one history row, which `tail` folds later. Any other change
//! touches a limited number of rows, except when a subnet ends (a row for each lease) or the clock steps
//! (every row). Does not commit.

use rusqlite::params;

use super::history::shown_text;
use super::lines::{self, Happening};
use super::sqlite::{Books, CommitError};
use crate::plan::change::{Change, KeptRelease, Kind, Marks, Record, Serial, ShownHolder, SubnetState, Why};
use crate::plan::settings::Millis;
use crate::plan::{Plan, Subnet};

pub(super) type Written = Result<(), rusqlite::Error>;

/// SQLite stores signed 64-bit numbers; our times and counters fit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Books {
    /// Writes a change into the open transaction. `plan` is the plan before the change.
    pub fn write(&mut self, plan: &Plan, change: &Change) -> Result<(), CommitError> {
        self.begin()?;
        Ok(self.write_change(plan, change)?)
    }

    /// Writes the counters once per batch. If only addresses changed, their history rows are enough.
    pub fn write_counters(&mut self, plan: &Plan) -> Result<(), CommitError> {
        if !std::mem::take(&mut self.counters_due) {
            return Ok(());
        }
        self.begin()?;
        let (generation, serial) = plan.counters();
        let sql = "UPDATE counters SET next_generation = ?1, next_serial = ?2 WHERE one = 1";
        Ok(self.execute(sql, params![signed(generation), signed(serial)])?)
    }

    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Written {
        self.connection.prepare_cached(sql)?.execute(params).map(|_| ())
    }

    fn write_change(&mut self, plan: &Plan, change: &Change) -> Written {
        let now = plan.now();
        match change {
            Change::AddressGranted { serial, address, record } => self.tell(plan, *serial, |subnet| {
                Some(Happening::of(&subnet.state, record.since, "leased").holding(*address, record))
            }),
            Change::AddressReleased { serial, address, at, why } => self.tell(plan, *serial, |subnet| {
                Some(released(subnet, *address, subnet.addresses.get(*address)?, *at, why))
            }),
            Change::AddressRestored { serial, address, record } => {
                self.tell(plan, *serial, |subnet| ended(subnet, *address, now, None))?;
                self.tell(plan, *serial, |subnet| {
                    Some(Happening::of(&subnet.state, now, "restored").holding(*address, record))
                })
            }
            Change::AddressQuarantined { serial, address, record } => self.tell(plan, *serial, |subnet| {
                Some(Happening::of(&subnet.state, now, "quarantined").holding(*address, record))
            }),
            Change::QuarantineEnded { serial, address } => self.tell(plan, *serial, |subnet| {
                let line = Happening::of(&subnet.state, now, "quarantine ended");
                let line = line.holding(*address, subnet.addresses.get(*address)?);
                Some(Happening { known: None, ..line })
            }),
            Change::AddressForgotten { serial, address } => {
                self.tell(plan, *serial, |subnet| ended(subnet, *address, now, Some("forgotten")))
            }
            Change::AddressLearned { serial, address, record, evidence } => {
                self.tell(plan, *serial, |subnet| {
                    let known = subnet.addresses.is_leased(*address);
                    let event = if known { "identified" } else { "adopted" };
                    let line = Happening::of(&subnet.state, now, event).holding(*address, record);
                    Some(line.because(&Why::Repair(evidence.clone())))
                })
            }
            other => {
                self.counters_due = true;
                self.write_other(plan, other)
            }
        }
    }

    /// Writes a change that is not about a single address.
    fn write_other(&mut self, plan: &Plan, change: &Change) -> Written {
        match change {
            Change::SubnetGranted(state) => {
                self.put_subnet(state)?;
                self.history(Happening::of(state, state.granted_at, "subnet granted"))
            }
            Change::SubnetRestored(state) => {
                self.undone_subnet(plan, state.serial)?;
                self.put_subnet(state)
            }
            Change::SubnetAdopted { state, evidence } => {
                self.put_subnet(state)?;
                let why = Why::Repair(evidence.clone());
                self.history(Happening::of(state, state.granted_at, "subnet adopted").because(&why))
            }
            Change::SubnetIdLearned { serial, id, why } => {
                self.execute("UPDATE subnets SET id = ?2 WHERE serial = ?1", params![signed(*serial), id])?;
                self.execute("DELETE FROM kept_releases WHERE subnet = ?1", [signed(*serial)])?;
                self.tell(plan, *serial, |subnet| {
                    let state = SubnetState { id: id.clone(), ..subnet.state.clone() };
                    Some(Happening::of(&state, plan.now(), "subnet identified").because(why))
                })
            }
            Change::SubnetMarked { serial, marks } => self.mark(plan, *serial, marks),
            Change::SubnetReleased { serial, at, cool_until, why } => {
                self.release_subnet(plan, *serial, *at, *cool_until, why)
            }
            Change::SubnetForgotten { serial } => self.forget_subnet(plan, *serial),
            Change::SubnetListed { serial } => {
                self.execute("UPDATE subnets SET start_beyond = NULL WHERE serial = ?1", [signed(*serial)])
            }
            Change::SubnetNamed { serial, generation, network } => self.execute(
                "INSERT OR REPLACE INTO networks VALUES (?1, ?2, ?3)",
                params![signed(*serial), signed(*generation), network],
            ),
            Change::ReleaseKept { serial, address, kept } => self.keep_release(plan, *serial, *address, kept),
            Change::AddressNamed { serial, address, generation, shown } => {
                self.name_address(plan, *serial, *address, *generation, shown)
            }
            Change::AddressPinned { space, prefix, address, pin } => {
                self.put_pin(plan, (*space, *prefix), *address, Some(pin))
            }
            Change::AddressUnpinned { space, prefix, address } => {
                self.put_pin(plan, (*space, *prefix), *address, None)
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
                "INSERT OR REPLACE INTO callers (name, first, until) VALUES (?1, ?2, ?3)",
                params![name, signed(caller.first), caller.until.map(signed)],
            ),
            Change::CallerForgotten { name } => self.execute("DELETE FROM callers WHERE name = ?1", [name]),
            Change::SlicePut(slice) => self.put_slice(plan, slice),
            Change::SliceGone { prefix } => self.forget_slice(plan, *prefix),
            Change::ClockStepped(shift) => self.move_stamps(*shift),
            Change::EngineKnown(identity) => self.write_engine(identity),
            // The record of the address does not change.
            Change::AddressDoubled { serial, address, evidence } => self.tell(plan, *serial, |subnet| {
                let record = subnet.addresses.get(*address)?;
                let line = Happening::of(&subnet.state, plan.now(), "duplicate").holding(*address, record);
                Some(line.because(&Why::Repair(evidence.clone())))
            }),
            Change::AddressGranted { .. }
            | Change::AddressReleased { .. }
            | Change::AddressRestored { .. }
            | Change::AddressForgotten { .. }
            | Change::AddressLearned { .. }
            | Change::AddressQuarantined { .. }
            | Change::QuarantineEnded { .. }
            | Change::AddressesLoaded { .. }
            | Change::Counted { .. } => Ok(()),
        }
    }

    /// Writes a release that waits for the PoolID of an adopted subnet.
    fn keep_release(&self, plan: &Plan, serial: Serial, address: u128, kept: &KeptRelease) -> Written {
        let Some(subnet) = plan.subnet(serial) else { return Ok(()) };
        let address = subnet.state.prefix.address(address).to_string();
        self.execute(
            "INSERT OR REPLACE INTO kept_releases VALUES (?1, ?2, ?3, ?4, ?5)",
            params![signed(serial), address, signed(kept.generation), kept.id, signed(kept.at)],
        )
    }

    /// Deletes every row of a subnet except its history.
    fn forget_subnet(&mut self, plan: &Plan, serial: Serial) -> Written {
        self.undone_subnet(plan, serial)?;
        for sql in [
            "DELETE FROM addresses WHERE subnet = ?1",
            "DELETE FROM names WHERE subnet = ?1",
            "DELETE FROM networks WHERE subnet = ?1",
            "DELETE FROM kept_releases WHERE subnet = ?1",
            "DELETE FROM subnets WHERE serial = ?1",
        ] {
            self.execute(sql, [signed(serial)])?;
        }
        Ok(())
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
        if subnet.awaits_id() {
            self.execute("DELETE FROM kept_releases WHERE subnet = ?1", [key])?;
        }
        for (address, record) in subnet.addresses.leases() {
            let line = released(subnet, address, record, at, why);
            // Only endpoints are remembered after their release.
            let known = line.known.filter(|_| record.kind == Kind::Endpoint);
            self.history(Happening { known, ..line })?;
        }
        self.history(Happening::of(&subnet.state, at, "subnet released").because(why))
    }

    /// Adds the row for a subnet that is undone; a subnet that was only remembered gets no row.
    fn undone_subnet(&mut self, plan: &Plan, serial: Serial) -> Written {
        self.tell(plan, serial, |subnet| {
            subnet.is_held().then(|| Happening::of(&subnet.state, plan.now(), "subnet undone"))
        })
    }

    /// Writes the Engine's name for a holder. If Docker did not send a name, or sent another one before a
    /// rename, also adds a history row.
    fn name_address(
        &mut self,
        plan: &Plan,
        serial: Serial,
        address: u128,
        generation: u64,
        shown: &ShownHolder,
    ) -> Written {
        let Some(subnet) = plan.subnet(serial) else { return Ok(()) };
        let text = subnet.state.prefix.address(address).to_string();
        // While a container starts, the Engine shows its endpoint's ID in place of its own: that is not a
        // rename.
        let sql = "SELECT EXISTS (SELECT 1 FROM names WHERE subnet = ?1 AND address = ?2 AND generation = ?3 \
                   AND container = ?4 AND network = ?5)";
        let known = params![signed(serial), text, signed(generation), shown.container, shown.network];
        let is_known: bool = self.connection.prepare_cached(sql)?.query_row(known, |row| row.get(0))?;
        let ShownHolder { container, container_id, network } = shown;
        self.execute(
            "INSERT OR REPLACE INTO names VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![signed(serial), text, signed(generation), container, container_id, network],
        )?;
        let lease = |record: &&Record| record.generation == generation;
        let Some(record) = subnet.addresses.get(address).filter(lease) else { return Ok(()) };
        let renamed = record.renamed(generation, container);
        if renamed.is_none() && (is_known || record.name.is_some()) {
            return Ok(());
        }
        let before = record.name.as_ref().map_or_else(String::new, |name| format!("; it was {name}"));
        let why = format!("{}{before}", shown_text(container, network));
        let record = Record { name: renamed, ..record.clone() };
        let line = Happening::of(&subnet.state, plan.now(), "named").holding(address, &record);
        self.history(line.because(&Why::Repair(why.into())))
    }

    /// Adds the history row that `line` builds for a subnet in the plan.
    fn tell(
        &mut self,
        plan: &Plan,
        serial: Serial,
        line: impl FnOnce(&Subnet) -> Option<Happening>,
    ) -> Written {
        plan.subnet(serial).and_then(line).map_or(Ok(()), |line| self.history(line))
    }

    /// Adds a history row.
    pub(super) fn history(&mut self, line: Happening) -> Written {
        self.lines.push((self.tail.next_row(&line), line));
        if self.lines.len() >= lines::MOST {
            lines::write(&self.tables.connection, &mut self.lines)?;
        }
        Ok(())
    }
}

/// The row for a lease that is released; it is remembered from then on.
fn released(subnet: &Subnet, address: u128, record: &Record, at: Millis, why: &Why) -> Happening {
    let record = Record { withheld: record.withheld || *why != Why::Docker, ..record.clone() };
    let line = Happening::of(&subnet.state, at, "released").holding(address, &record).because(why);
    Happening { known: Some((false, at)), ..line }
}

/// The row for a lease that ends without a release because its grant could not be delivered. `quiet` is the
/// event for an address that was only remembered.
fn ended(subnet: &Subnet, address: u128, now: Millis, quiet: Option<&'static str>) -> Option<Happening> {
    let record = subnet.addresses.get(address)?;
    let event = if record.leased { "undone" } else { quiet? };
    Some(Happening { known: None, ..Happening::of(&subnet.state, now, event).holding(address, record) })
}
