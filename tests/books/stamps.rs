//! The time of day steps: the stamps of plan and books are shifted by the same amount, and every age is kept.

use gipam::plan::change::Change;
use gipam::plan::stamps::Shift;
use proptest::prelude::*;

use super::support::operations::{Op, operations};
use super::{Trial, load};

/// Steps that real clocks make; the last one would go before 1970, where the clock stops at 0.
const STEPS: [i64; 7] =
    [2_000, -2_000, 7_200_000, -7_200_000, 31_536_000_000, -31_536_000_000, -3_000_000_000_000];

impl Trial {
    fn clock_steps(&mut self, by: i64) {
        let before = self.now;
        self.now = before.saturating_add_signed(by);
        let by = i64::try_from(self.now).unwrap() - i64::try_from(before).unwrap();
        let change = Change::ClockStepped(Shift { by, now: self.now });
        self.books.write(&self.plan, &change).unwrap();
        self.plan.apply(&change);
    }
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn faithful_over_clock_steps(
        operations in operations(60), steps in prop::collection::vec(0usize..14, 60), batch in 1usize..8, tail in 1usize..40
    ) {
        let mut trial = Trial::new();
        trial.books.fold_after(tail);
        for (number, (operation, step)) in operations.0.iter().zip(steps).enumerate() {
            trial.step(operation);
            if let Some(by) = STEPS.get(step) {
                trial.clock_steps(*by);
            }
            if number % batch == 0 {
                trial.commit();
            }
        }
        trial.commit();
        prop_assert_eq!(&load(&trial.books, trial.now), &trial.plan);
        let trial = trial.reopen();
        prop_assert_eq!(&load(&trial.books, trial.now), &trial.plan);
    }

    #[test]
    fn a_step_and_its_opposite_change_nothing(operations in operations(60), step in 0usize..6) {
        let mut trial = Trial::new();
        for operation in operations.0.iter().filter(|operation| !matches!(operation, Op::TakeOver { .. })) {
            trial.step(operation);
        }
        let before = trial.plan.clone();
        trial.clock_steps(STEPS[step]);
        prop_assert!(trial.plan != before || before.subnets().next().is_none());
        trial.clock_steps(-STEPS[step]);
        prop_assert_eq!(&trial.plan, &before);
    }
}
