//! `gipam map`: the maps of pools, subnets and parts of them, drawn from the plan.
//!
//! Promises: maps are drawn in bites (short steps) between batches; names are added afterwards. Changes nothing.

use std::sync::Arc;

use super::map::{Drawing, MapRow, Whose};
use super::meant;
use super::query::Query;
use super::source::Budget;
use super::views::View;
use super::{ErrorKind, Refusal, Size};
use crate::plan::Plan;
use crate::plan::prefix::{Prefix, number};

/// The maximum number of places per line, and of lines, in a requested map.
const MOST_PLACES: u16 = 256;

impl View {
    /// The map of all pools, or of the named pool, subnet or prefix; folded to `columns` and `lines` if both are given.
    pub(super) fn map(&self, query: Query<'_>) -> Result<Vec<MapRow>, Refusal> {
        let of = query.text("of")?;
        of.as_deref().map_or(Ok(()), meant::check_prefix)?;
        let number = |name: &str| query.parsed::<u16>(name, "number");
        let size = number("columns")?.zip(number("lines")?);
        let size = size.map(|(columns, lines)| Size {
            columns: columns.clamp(1, MOST_PLACES),
            lines: lines.clamp(1, MOST_PLACES),
        });
        let (named, in_use) = (of.clone(), Arc::new(self.in_use()?));
        let hosts = self.known_hosts();
        let find = move |plan: &Plan| Drawing::find(plan, named.as_deref(), size, &in_use);
        let drawings: Vec<Drawing> =
            self.source.look(find)?.into_iter().map(|drawing| drawing.among(hosts.clone())).collect();
        if let Some(of) = of.filter(|_| drawings.is_empty()) {
            let what = match Prefix::parse(&of) {
                Some(prefix) => format!("{prefix} is neither in a pool nor in a subnet"),
                None => format!("{of} is neither a pool nor a held subnet"),
            };
            let text = format!("{what}; see: gipam pools, gipam subnets");
            return Err(Refusal::new(ErrorKind::Missing, text));
        }
        drawings.into_iter().map(|drawing| self.drawn(drawing)).collect()
    }

    /// Completes a drawing.
    fn drawn(&self, mut drawing: Drawing) -> Result<MapRow, Refusal> {
        loop {
            let is_drawn;
            (drawing, is_drawn) = self.source.look(move |plan| {
                let budget = Budget::now();
                let is_drawn = drawing.bite(plan, || budget.is_spent());
                (drawing, is_drawn)
            })?;
            if is_drawn {
                return Ok(drawing.finish(&|whose| self.name_of(whose).unwrap_or_default()));
            }
        }
    }

    /// The Engine's name for a network or a holder.
    fn name_of(&self, (serial, generation, address): Whose) -> Result<Option<String>, Refusal> {
        let Some(address) = address else { return Ok(self.reader()?.network_of(serial, generation)?) };
        let mut names = self.reader()?.names_of(serial, Some(&address.to_string()))?;
        let shown = names.remove(&number(address)).filter(|(named, _)| *named == generation);
        Ok(shown.map(|(_, shown)| shown.container.to_string()))
    }
}
