//! Releases for an adopted subnet that Docker sends before the subnet's PoolID is known.
//!
//! Promises: such a release changes nothing at first, since it may be a late release of an earlier grant (P19). It is kept, one
//! for each leased address, and carried out in the same decision that learns its PoolID, before that decision
//! chooses an address: `docker restart` releases first and requests afterwards, and a /30 has no second address to give.

use std::net::IpAddr;

use super::change::{Change, KeptRelease, Record, Serial, Why};
use super::{Plan, Subnet};

impl Plan {
    /// The held subnet to which this PoolID refers, or would refer once it is known.
    pub fn asked_under(&self, id: &str) -> Option<&Subnet> {
        self.called(id).map(|(subnet, _)| subnet)
    }

    /// The leases of this subnet that Docker released under this PoolID.
    fn kept_under<'a>(
        &'a self,
        subnet: &'a Subnet,
        id: &'a str,
    ) -> impl Iterator<Item = (u128, &'a Record, &'a KeptRelease)> {
        self.kept_in(subnet.state.serial).filter(move |(_, kept)| *kept.id == *id).filter_map(
            |((_, address), kept)| {
                let lease = subnet.addresses.lease(*address);
                let record = lease.filter(|record| record.generation == kept.generation)?;
                Some((*address, record, kept))
            },
        )
    }

    /// Whether Docker released a lease of this subnet under this PoolID.
    pub(super) fn has_kept(&self, subnet: &Subnet, id: &str) -> bool {
        self.kept_under(subnet, id).next().is_some()
    }

    /// Keeps a release under a PoolID that is not known yet.
    pub(super) fn keep_release(&self, id: &str, address: IpAddr, generation: Option<u64>) -> Option<Change> {
        // If several subnets are possible: the one that has the lease.
        let has = |subnet: &&Subnet| {
            subnet.number_of(address).is_some_and(|number| subnet.addresses.is_leased(number))
        };
        let mut there = self.waiting(id).into_iter().filter(has);
        let subnet = there.next().filter(|_| there.next().is_none())?;
        let (serial, address) = (subnet.state.serial, subnet.number_of(address)?);
        let record = subnet.addresses.lease(address)?;
        let kept = KeptRelease { generation: record.generation, id: id.into(), at: self.now };
        // The first release sets the time; a repeat adds nothing.
        let repeat = self
            .kept
            .get(&(serial, address))
            .is_some_and(|known| (known.generation, &known.id) == (kept.generation, &kept.id));
        let meant = !repeat && generation.is_none_or(|it| it == record.generation);
        meant.then_some(Change::ReleaseKept { serial, address, kept })
    }

    /// The subnet after its PoolID becomes known: applies the releases kept under that PoolID and adds their changes.
    pub(super) fn with_kept(&self, subnet: &Subnet, id: &str, changes: &mut Vec<Change>) -> Subnet {
        let (serial, mut after) = (subnet.state.serial, subnet.clone());
        for (address, record, kept) in self.kept_under(subnet, id) {
            after.addresses.put(address, Record { leased: false, since: kept.at, ..record.clone() });
            changes.push(Change::AddressReleased { serial, address, at: kept.at, why: Why::Docker });
        }
        after
    }

    fn kept_in(&self, serial: Serial) -> impl Iterator<Item = (&(Serial, u128), &KeptRelease)> {
        self.kept.range((serial, 0)..=(serial, u128::MAX))
    }

    /// Drops the kept releases, because the PoolID is known or the subnet is gone.
    pub(super) fn drop_kept(&mut self, serial: Serial) {
        let gone: Vec<u128> = self.kept_in(serial).map(|((_, address), _)| *address).collect();
        for address in gone {
            self.kept.remove(&(serial, address));
        }
    }
}
