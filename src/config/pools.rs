//! Pools: those in the configuration file, or the single pool `default` that `-v4` and `-v6` define.
//!
//! Promises: pools in the file override those of flags and variables; settings that the plan cannot support are refused
//! with their position; a base with host bits is refused in the file, but masked with a warning in flags and variables, as
//! in the old gipam. Does not know lease files and books, whose precedence is between the two.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::WarnAt;
use super::error::{ConfigError, Problem, problem};
use super::keys::{BaseTable, PoolTable, Top};
use super::options::{Spelling, V4, V4AB, V6, V6AB};
use super::origin::{At, DEFAULT, Origin};
use super::probe_on::ProbeOn;
use super::resolve::Resolver;
use super::sources::is_source;
use super::value::{self, PoolName};
use crate::plan::prefix::{AddressRange, Family, Prefix, number};
use crate::plan::renumbering::{BaseSource, Provenance};
use crate::plan::settings::{AddressOrder, Base, PoolSettings, Settings, Shared, default_size};
use crate::plan::written;

/// Where the pools of a configuration come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolsOrigin {
    /// Not from the configuration: a lease file or the books must contain them.
    Nowhere,
    /// From this configuration file, which overrides lease files and books.
    Document(PathBuf),
    /// From flags or variables, which lease files and books override.
    Options {
        /// Where the IPv4 base was set, if it was.
        v4: Option<Origin>,
        /// Where the IPv6 base was set, if it was.
        v6: Option<Origin>,
    },
}

/// The name of the pool that `-v4` and `-v6` define.
pub(super) const DEFAULT_POOL: &str = "default";

impl Resolver<'_> {
    /// The plan's settings, where its pools come from, and the thresholds for warnings about pools that fill up.
    pub(super) fn settings(&mut self, top: &Top) -> Result<(Settings, PoolsOrigin, WarnAt), ConfigError> {
        let of_options = self.pool_of_options()?;
        let wanted = of_options.as_ref().map(|table| self.pool(table, top)).transpose()?;
        let mut pools = Vec::new();
        for table in &top.pool {
            pools.push(self.pool(table, top)?);
        }
        let (mut tables, mut origin) = (&top.pool[..], PoolsOrigin::Nowhere);
        if let Some(path) = self.document.path.clone().filter(|_| !tables.is_empty()) {
            if wanted.is_some_and(|pool| !pools.contains(&pool)) {
                let path = path.display();
                let text =
                    format!("the pools of {path} are used; -v4, -v6, GIPAM_V4 and GIPAM_V6 are ignored");
                self.warnings.push(text);
            }
            origin = PoolsOrigin::Document(path);
        } else if let Some(table) = &of_options {
            let set = |base: &Option<BaseTable>| Some(self.document.origin(&base.as_ref()?.base.place));
            origin = PoolsOrigin::Options { v4: set(&table.v4), v6: set(&table.v6) };
            tables = std::slice::from_ref(table);
            pools.extend(wanted);
        }
        let written = || top.reserved.iter().chain(tables.iter().flat_map(|table| &table.reserved));
        let settings = Settings {
            reserved: written().map(|range| **range).collect(),
            pools,
            cooling: **top.cooling,
            subnet_cooling: **top.subnet_cooling,
            restart_window: **top.restart_window,
            storm_limit: *top.storm_limit,
            ..Settings::default()
        };
        settings.check().map_err(|error| {
            let table = tables.iter().rev().find(|table| **table.name == error.pool);
            let of_base = |base: Prefix| base_of(table?, base.family()).map(|base| &base.base.place);
            let place = error.base.and_then(of_base).or(table.map(|table| &table.name.place));
            self.document.refuse(place.unwrap_or(&DEFAULT), problem!("{error}"))
        })?;
        self.warnings.extend(remarks(&settings));
        for (pool, table) in settings.pools.iter().zip(tables) {
            for (family, source) in Family::BOTH.into_iter().zip(&pool.provenance.sources) {
                if let Some((source, table)) = source.as_ref().zip(base_of(table, family)) {
                    let value = format!("{} cut into /{}", source.text, source.size);
                    self.show(format!("pool.{}.{}", pool.name, family.name()), value, &table.base.place);
                }
                let Some((base, table)) = pool.base(family).zip(base_of(table, family)) else { continue };
                let slices = base.slice.map_or_else(String::new, |slice| format!(", in slices of /{slice}"));
                let value = format!("{} cut into /{}{slices}", base.base, base.size);
                self.show(format!("pool.{}.{}", pool.name, family.name()), value, &table.base.place);
            }
        }
        if let Some(first) = written().next() {
            let reserved: Vec<String> = settings.reserved.iter().map(ToString::to_string).collect();
            self.show("reserved", reserved.join(", "), &first.place);
        }
        let own = |table: &PoolTable| Some((table.name.to_string(), ***table.warn_at.as_ref()?));
        let warn_at = WarnAt { others: **top.warn_at, pools: tables.iter().filter_map(own).collect() };
        Ok((settings, origin, warn_at))
    }

    fn pool(&mut self, table: &PoolTable, top: &Top) -> Result<PoolSettings, ConfigError> {
        let probe = probed(table).is_some();
        let probed = |base: Option<Base>| base.map(|base| Base { probe, ..base });
        let mut provenance = Provenance::default();
        let mut bases = [None, None];
        for (family, written) in Family::BOTH.into_iter().zip([&table.v4, &table.v6]) {
            let at = family as usize;
            match written {
                Some(written) if is_source(&written.base) && self.document.has(&written.base.place) => {
                    provenance.sources[at] = Some(BaseSource { probe, ..self.source(written, family)? });
                }
                written => bases[at] = probed(self.base(written.as_ref(), family, top)?),
            }
        }
        let [v4, v6] = bases;
        let pool = PoolSettings {
            name: table.name.to_string(),
            v4,
            v6,
            cooling: ***table.cooling.as_ref().unwrap_or(&top.cooling),
            subnet_cooling: ***table.subnet_cooling.as_ref().unwrap_or(&top.subnet_cooling),
            closed: false,
            provenance,
        };
        for written in &table.reserved {
            self.document.value(written, |range| reserved_in(&pool, range))?;
        }
        self.edge(table, &pool)?;
        Ok(pool)
    }

    fn base(
        &mut self,
        table: Option<&BaseTable>,
        family: Family,
        top: &Top,
    ) -> Result<Option<Base>, ConfigError> {
        let Some(table) = table else { return Ok(None) };
        let (written, in_file) = (&table.base, self.document.has(&table.base.place));
        let (base, masked) = self.document.value(written, |text| match value::base(text, family)? {
            (prefix, true) if in_file => Err(problem!("{text} has host bits set; write {prefix}")),
            read => Ok(read),
        })?;
        let is_shared = table.shared.as_ref().is_some_and(|shared| **shared);
        let usual = if is_shared { base.length() } else { default_size(family) };
        let size = table.size.as_ref().map_or(usual, |size| **size);
        if size < base.length() || size > family.bits() {
            let (least, most) = (base.length(), family.bits());
            let place = table.size.as_ref().map_or(&written.place, |size| &size.place);
            let problem = problem!("size /{size} does not fit {base}; give a length from {least} to {most}");
            return Err(self.document.refuse(place, problem));
        }
        if masked {
            let origin = self.document.origin(&written.place);
            let text = format!("{origin}: {} has host bits set; {base} is used", **written);
            self.warnings.push(text);
        }
        let addresses = self.order(&table.addresses, family, size)?;
        let longest = if is_shared { family.bits() } else { size };
        let slice = self.slice(table, base, longest, top)?;
        let base = Base { slice, ..Base::new(base, size, addresses) };
        let gateway = table.gateway.as_ref().map(|written| self.gateway(written, &base)).transpose()?;
        let base = Base { gateway, ..base };
        Ok(Some(Base { shared: self.shared(table, &base)?, ..base }))
    }

    /// The gateway of the subnets that contain it.
    fn gateway(&self, written: &At<String>, base: &Base) -> Result<u128, ConfigError> {
        self.document.value(written, |text| {
            let address = text.parse().map_err(|_| problem!("{text:?} is not an IP address"))?;
            let lies_outside = || problem!("{address} lies outside {}", base.base);
            let inside =
                base.base.contains_address(address).then(|| number(address)).ok_or_else(lies_outside)?;
            let wrong = Base { gateway: Some(inside), ..*base }.wrong_gateway();
            wrong.map_or(Ok(inside), |why| Err(problem!("{why}")))
        })
    }

    /// How the base is shared with other hosts as one subnet, if it is.
    fn shared(&self, table: &BaseTable, base: &Base) -> Result<Option<Shared>, ConfigError> {
        let BaseTable { shared, by_number, .. } = table;
        let Some(written) = shared.as_ref().filter(|shared| ***shared) else {
            if let Some(written) = by_number {
                self.document.value(written, |_| Err::<(), _>(problem!("this also needs shared = true")))?;
            }
            return Ok(None);
        };
        let inside = |part: Prefix| match base.base.contains(part) {
            true => Ok(part),
            false => Err(problem!("{part} lies outside {}", base.base)),
        };
        let part = |text: &String| match value::base(text, base.base.family())? {
            (part, true) => Err(problem!("{text} has host bits set; write {part}")),
            (part, false) => inside(part),
        };
        let read = Shared {
            by_number: by_number.as_ref().map(|written| self.document.value(written, part)).transpose()?,
        };
        self.document.value(written, |_| read.wrong(base).map_or(Ok(()), |why| Err(problem!("{why}"))))?;
        Ok(Some(read))
    }

    /// The length of the slices of a base: it lies between the base's and `longest`, and needs a plan.
    fn slice(
        &self,
        table: &BaseTable,
        base: Prefix,
        longest: u8,
        top: &Top,
    ) -> Result<Option<u8>, ConfigError> {
        let read = |slice: &u8| match *slice {
            slice if !(base.length()..=longest).contains(&slice) => {
                let least = base.length();
                Err(problem!("slice /{slice} does not fit {base}; give a length from {least} to {longest}"))
            }
            slice if top.plan.is_none() => Err(problem!(
                "slice /{slice} needs a plan that says which slices belong to this host; add [plan] with file or etcd"
            )),
            slice => Ok(slice),
        };
        table.slice.as_ref().map(|slice| self.document.value(slice, read)).transpose()
    }

    /// The pool `default` that flags and variables define, if they give a base, in the form of a table of the file.
    fn pool_of_options(&mut self) -> Result<Option<PoolTable>, ConfigError> {
        let v4 = self.base_of_options(Family::V4, V4, V4AB)?;
        let v6 = self.base_of_options(Family::V6, V6, V6AB)?;
        let name = At::new(PoolName(DEFAULT_POOL.to_owned()), DEFAULT);
        let (reserved, cooling, subnet_cooling, warn_at, probe) = (Vec::new(), None, None, None, None);
        let any = v4.is_some() || v6.is_some();
        let (ndp_proxy, arp_proxy, discard) = (None, None, None);
        Ok(any.then_some(PoolTable {
            name,
            v4,
            v6,
            reserved,
            cooling,
            subnet_cooling,
            warn_at,
            translate: None,
            outer: None,
            ndp_proxy,
            arp_proxy,
            discard,
            probe,
        }))
    }

    fn base_of_options(
        &mut self,
        family: Family,
        base: Spelling,
        size: Spelling,
    ) -> Result<Option<BaseTable>, ConfigError> {
        let written = self.document.option(size);
        let read = |size: &At<String>| {
            let value = self.document.value(size, |text| value::size(text, family))?;
            Ok(At::new(value, size.place.clone()))
        };
        let size = written.as_ref().map(read).transpose()?;
        let Some(base) = self.document.option(base) else {
            if let Some(size) = size {
                let origin = self.document.origin(&size.place);
                let text =
                    format!("{origin} {} also needs {} PREFIX; gipam ignores {origin}", *size, base.flag);
                self.warnings.push(text);
            }
            return Ok(None);
        };
        Ok(Some(BaseTable {
            base,
            size,
            slice: None,
            shared: None,
            gateway: None,
            by_number: None,
            addresses: At::new(AddressOrder::default(), DEFAULT),
        }))
    }
}

/// The interface on which the addresses of a pool are probed; `None` if they are not.
pub(super) fn probed(table: &PoolTable) -> Option<Option<String>> {
    match &**table.probe.as_ref()? {
        ProbeOn::Nowhere => None,
        ProbeOn::Suitable => Some(None),
        ProbeOn::Interface(name) => Some(Some(name.clone())),
    }
}

const fn base_of(table: &PoolTable, family: Family) -> Option<&BaseTable> {
    match family {
        Family::V4 => table.v4.as_ref(),
        Family::V6 => table.v6.as_ref(),
    }
}

/// Refuses a reservation that does not overlap its pool, because that must be a mistake.
fn reserved_in(pool: &PoolSettings, range: &AddressRange) -> Result<(), Problem> {
    let touches = pool
        .base(range.family)
        .is_some_and(|base| range.first <= base.base.last() && base.base.first() <= range.last);
    touches.then_some(()).ok_or_else(|| {
        problem!(
            "{range} lies outside pool {}; write it in the pool that contains it, or in the top-level key reserved",
            pool.name
        )
    })
}

/// Remarks about settings that are valid but may not be intended.
pub(super) fn remarks(settings: &Settings) -> Vec<String> {
    let bases = || settings.pools.iter().flat_map(|pool| [(pool, pool.v4), (pool, pool.v6)]);
    let mut remarks: Vec<String> = bases()
        .filter_map(|(pool, base)| Some(format!("pool {}: {}", pool.name, written::remark(&base?)?)))
        .collect();
    // Bases do not overlap, so only the last one that begins before a range ends can overlap the range.
    let known: BTreeMap<(Family, u128), u128> = bases()
        .filter_map(|(_, base)| base.map(|base| base.base))
        .map(|base| ((base.family(), base.first()), base.last()))
        .collect();
    let meets = |range: &AddressRange| {
        let before = known.range((range.family, 0)..=(range.family, range.last)).next_back();
        before.is_some_and(|(_, last)| *last >= range.first)
    };
    let outside = |range: &&AddressRange| !meets(range);
    let outside = settings.reserved.iter().filter(outside);
    remarks.extend(outside.filter(|_| !settings.pools.is_empty()).map(|range| {
        format!("reserved {range} lies outside all pools; it affects only networks with a --subnet there")
    }));
    remarks
}
