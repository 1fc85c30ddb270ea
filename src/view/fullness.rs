//! How full something is: one measure, based on space, and one way to round it.
//!
//! Promises: something that is not empty never shows 0 %, and only something full shows 100 %. In JSON, a
//! number from 0 to 1.

use serde::{Deserialize, Serialize};

use crate::plan::counts::{AddressCounts, SubnetCounts};
use crate::plan::settings::Base;

/// A subnet with more addresses than this never fills up, so its fullness is not shown.
pub const COUNTABLE: u128 = 1 << 24;

/// The fraction that is taken, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fullness(pub f64);

impl Fullness {
    /// The fullness of a subnet: leased and cooling addresses as a fraction of all that could be given.
    pub fn of_subnet(counts: &AddressCounts) -> Self {
        let taken = counts.leased + counts.cooling;
        // The conversion to a float may round a count, here and below.
        Self(taken as f64 / (taken + counts.free).max(1) as f64)
    }

    /// The fullness of one family of a pool: the fraction of its space that subnets have, or that is too
    /// small for a subnet of the pool's size. Space that reservations keep free does not count; if several
    /// hosts divide the pool, only the slices of this host count. A host without slices has filled nothing.
    pub fn of_pool(base: &Base, counts: &SubnetCounts) -> Self {
        let subnets = |length: u8| 2f64.powi(i32::from(base.size) - i32::from(length));
        let whole = match base.slice {
            Some(_) if counts.slices == 0 => return Self(0.0),
            Some(slice) => subnets(slice) * counts.slices as f64,
            None => subnets(base.base.length()),
        };
        let open = whole - counts.reserved as f64;
        Self(if open < 1.0 { 1.0 } else { (1.0 - counts.free as f64 / open).clamp(0.0, 1.0) })
    }

    /// Whole percent, rounded down.
    pub fn percent(self) -> u8 {
        // The addition of 1e-9 compensates for the rounding error of the division.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
        let whole = (self.0 * 100.0 + 1e-9).clamp(0.0, 100.0) as u8;
        whole
    }
}

impl std::fmt::Display for Fullness {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.percent() {
            0 if self.0 > 0.0 => formatter.write_str("<1%"),
            percent => write!(formatter, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::prefix::Prefix;
    use crate::plan::settings::AddressOrder;

    fn pool(size: u8, free: u128, reserved: u128) -> Fullness {
        let base = Prefix::parse("10.0.0.0/16").unwrap();
        let base = Base::new(base, size, AddressOrder::Sequential);
        Fullness::of_pool(&base, &SubnetCounts { held: 1, free, reserved, ..SubnetCounts::default() })
    }

    #[test]
    fn the_fullness_of_a_pool_depends_on_its_space_only() {
        assert_eq!(pool(24, 128, 0).to_string(), "50%", "one /17 of a /16 that is cut into /24");
        assert_eq!(pool(24, 255, 0).to_string(), "<1%");
        assert_eq!(pool(24, 256, 0).to_string(), "0%");
        assert_eq!(pool(24, 0, 0).to_string(), "100%");
        assert_eq!(pool(24, 64, 128).to_string(), "50%", "reserved space does not count");
        assert_eq!(pool(24, 0, 256).to_string(), "100%");
    }

    #[test]
    fn a_subnet_is_full_only_when_no_address_is_free() {
        let subnet = |leased, cooling, free| {
            Fullness::of_subnet(&AddressCounts { leased, cooling, free, ..AddressCounts::default() })
                .to_string()
        };
        assert_eq!(subnet(0, 0, 253), "0%");
        assert_eq!(subnet(1, 0, 252), "<1%");
        assert_eq!(subnet(200, 52, 1), "99%");
        assert_eq!(subnet(200, 53, 0), "100%");
        assert_eq!(subnet(29, 0, 71), "29%", "0.29 * 100 is a little less than 29");
        assert_eq!(subnet(1, 0, u128::MAX >> 1), "<1%");
        assert_eq!(subnet(0, 0, 0), "0%");
    }
}
