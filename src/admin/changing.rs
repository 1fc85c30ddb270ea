//! Changes that a person makes to the running plan: reservations and pins by hand.
//!
//! Promises: the ledger decides, commits and answers each change like any other; an impossible change is refused with advice;
//! repeating a change succeeds and has no effect; a dry run reports the same and has no effect. Existing leases stay. Does not
//! know HTTP.

use std::path::Path;
use std::sync::Arc;

use super::asked::{PinArgs, ReservationArgs, UnpinArgs};
use crate::docker::wire::tidy_name;
use crate::ledger::{Altered, Ledger};
use crate::plan::change::Record;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::pins::{Holder, PinRequest, Pinned};
use crate::plan::prefix::AddressRange;
use crate::plan::request::{Dead, Mac};
use crate::plan::settings::Settings;
use crate::plan::written;
use crate::plan::{Plan, ReservedBy, Subnet};
use crate::settle::difference;
use crate::text::counted;
use crate::view::meant;
use crate::view::rows::{ChangedRow, HeldRow};

/// The maximum number of leases that an answer lists.
const LISTED: usize = 1_000;
/// The maximum number of subnets that an answer names.
const MET: usize = 3;

/// The decision: what to report, and what to commit.
pub(super) struct DecidedChange {
    pub(super) row: ChangedRow,
    pub(super) altered: Altered,
}

impl DecidedChange {
    /// No change; the note gives the reason.
    pub(super) fn nothing(note: String) -> Self {
        Self { row: ChangedRow { notes: vec![note], ..ChangedRow::default() }, altered: Altered::default() }
    }

    /// New settings; the row lists the differences from the current ones.
    pub(super) fn settings(plan: &Plan, settings: Settings) -> Self {
        let changes = difference(plan.settings(), &settings);
        let altered = Altered { settings: Some(settings), ..Altered::default() };
        Self { row: ChangedRow { changed: true, changes, ..ChangedRow::default() }, altered }
    }
}

/// Lets the ledger decide and, unless this is a dry run, commit. Returns when the change is durable.
pub(super) async fn change(
    ledger: &Ledger,
    rehearsal: bool,
    decide: impl FnOnce(&Plan) -> Result<DecidedChange, Refusal> + Send + 'static,
) -> Result<ChangedRow, Refusal> {
    let alter = move |plan: &Plan| {
        let DecidedChange { row, altered } = decide(plan)?;
        Ok((if rehearsal { Altered::default() } else { altered }, row))
    };
    let mut row = ledger.alter(alter).await?;
    row.dry_run = rehearsal;
    if !rehearsal {
        row.changes.iter().for_each(|line| tracing::info!("by hand: {line}"));
    }
    Ok(row)
}

/// `gipam reserve RANGE`.
pub(super) async fn reserve(ledger: &Ledger, asked: ReservationArgs) -> Result<ChangedRow, Refusal> {
    let range = parsed(asked.range.as_deref())?;
    change(ledger, asked.dry_run, move |plan| {
        let Some(settings) = plan.reserve(range, asked.pool.as_deref())? else {
            return Ok(DecidedChange::nothing(format!("{range} is already reserved by hand")));
        };
        let whole = plan.wholly_reserved(&settings, range);
        let mut decided = DecidedChange::settings(plan, settings);
        let row = &mut decided.row;
        row.notes = reserve_notes(plan, range);
        row.notes.extend(whole.iter().take(MET).map(|subnet| {
            let prefix = subnet.state.prefix;
            format!(
                "this reserves all of {prefix}; inside a fully reserved subnet, reservations have no effect"
            )
        }));
        if whole.len() > MET {
            row.notes
                .push(format!("this also reserves all of {}", counted(whole.len() - MET, "other subnet")));
        }
        let leases = plan.leases_in(range);
        if !leases.is_empty() {
            row.notes.push(format!(
                "{}; they stay leased until they are released",
                are_now(leases.len(), "address", "leased")
            ));
        }
        row.leases = leases.into_iter().take(LISTED).map(held).collect();
        Ok(decided)
    })
    .await
}

/// Notes about a new reservation.
fn reserve_notes(plan: &Plan, range: AddressRange) -> Vec<String> {
    let mut notes = Vec::new();
    let around = plan.reserved_by().find(|(reserved, _)| reserved.covers(&range));
    notes.extend(around.map(|(reserved, by)| match by {
        ReservedBy::Configuration => format!("the configuration also reserves this range ({reserved})"),
        ReservedBy::Hand => format!("this range is part of {reserved}, which is already reserved by hand"),
    }));
    let whole = plan.settings().pools.iter().flat_map(|pool| [(pool, pool.v4), (pool, pool.v6)]);
    for (pool, base) in whole.filter_map(|(pool, base)| Some((pool, base?.base))) {
        if range.covers(&AddressRange::of(base)) {
            notes.push(format!(
                "this reserves all of {base}, so pool {} gives no further subnets; to close it: gipam pool close {}",
                pool.name, pool.name
            ));
        }
    }
    if plan.pools_touching(range).next().is_none() && plan.subnets_touching(range).is_empty() {
        let text = "this range is outside all pools and subnets; the reservation takes effect once one of them overlaps it";
        notes.push(text.to_owned());
    }
    notes
}

/// `gipam unreserve RANGE`; `file` is the path of the configuration file.
pub(super) async fn unreserve(
    ledger: &Ledger,
    asked: ReservationArgs,
    file: Option<&Path>,
) -> Result<ChangedRow, Refusal> {
    let range = parsed(asked.range.as_deref())?;
    let file = file.map_or_else(|| "the configuration file".to_owned(), |file| file.display().to_string());
    change(ledger, asked.dry_run, move |plan| {
        let Some(settings) = plan.unreserve(range, asked.pool.as_deref(), &file)? else {
            return Ok(DecidedChange::nothing(format!("{range} is not reserved")));
        };
        let still =
            settings.reserved.iter().chain(&settings.reserved_by_hand).find(|other| other.meets(&range));
        let note = still.map(|other| {
            let by = if settings.reserved.contains(other) { &*file } else { "hand" };
            format!("{other} stays reserved by {by}")
        });
        let mut decided = DecidedChange::settings(plan, settings);
        decided.row.notes.extend(note);
        Ok(decided)
    })
    .await
}

fn parsed(text: Option<&str>) -> Result<AddressRange, Refusal> {
    written::range(text.unwrap_or_default())
        .map_err(|error| Refusal::new(ErrorKind::Invalid, error.to_string()))
}

/// `1 subnet is held now`, `3 addresses are leased now`.
pub(super) fn are_now(count: usize, noun: &str, what: &str) -> String {
    format!("{} {} {what} now", counted(count, noun), if count == 1 { "is" } else { "are" })
}

/// A lease as a row in the answer to a change.
pub(super) fn held((subnet, address, record): (&Subnet, u128, &Record)) -> HeldRow {
    HeldRow {
        subnet: subnet.state.prefix.to_string(),
        address: subnet.state.prefix.address(address).to_string(),
        kind: record.kind.name().map(str::to_owned),
        holder: record.name.as_deref().map(str::to_owned),
        mac: record.mac.map(|mac| mac.to_string()),
    }
}

/// `gipam pin NAME ADDRESS`.
pub(super) async fn pin(ledger: &Ledger, asked: PinArgs, known: Arc<Dead>) -> Result<ChangedRow, Refusal> {
    let PinArgs { holder, at: UnpinArgs { address, subnet, dry_run } } = asked;
    let address = meant::address(&address)?;
    let holder = match Mac::parse(&holder) {
        Some(mac) => Holder::Mac(mac),
        None => Holder::Name(tidy_name(&holder).ok_or_else(|| {
            let text = "gipam pin needs the name of a container, or a MAC".to_owned();
            Refusal::new(ErrorKind::Invalid, text)
        })?),
    };
    let wanted = PinRequest { holder, address, subnet };
    change(ledger, dry_run, move |plan| Ok(DecidedChange::pinned(plan.pin(&wanted, &known)?))).await
}

/// `gipam unpin ADDRESS`.
pub(super) async fn unpin(ledger: &Ledger, asked: UnpinArgs) -> Result<ChangedRow, Refusal> {
    let address = meant::address(&asked.address)?;
    let unpin = move |plan: &Plan| Ok(DecidedChange::pinned(plan.unpin(address, asked.subnet.as_deref())?));
    change(ledger, asked.dry_run, unpin).await
}

impl DecidedChange {
    fn pinned(pinned: Pinned) -> Self {
        let Pinned { changes, told, notes } = pinned;
        let changed = !changes.is_empty();
        let row = ChangedRow { changed, changes: told, notes, ..ChangedRow::default() };
        Self { row, altered: Altered { changes, ..Altered::default() } }
    }
}
