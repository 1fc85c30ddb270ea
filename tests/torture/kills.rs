//! KILL -9: the daemon under concurrent load is killed at random moments and started again, and its books are
//! compared.
//!
//! Promises: 8 clients; each kill comes a random number of microseconds after a random number of answers. The
//! page cache survives; `cuts` tests power failures.

use std::time::{Duration, Instant};

use crate::Counts;
use crate::books::compare;
use crate::crew::{Crew, Dice, POOLS, meeting_place};
use crate::daemon::House;
use crate::journal::Journal;

const CLIENTS: usize = 8;

pub fn run(long: bool) -> Counts {
    let (rounds, most) = if long { (220, 400) } else { (20, 150) };
    let house = House::with_toml(POOLS);
    let journal = Journal::default();
    let mut dice = Dice::new(rounds);
    let (mut recovered, mut uncertain) = (0, 0);
    let mut daemon = house.start();
    meeting_place(&house.socket(), &journal);
    for round in 0..rounds {
        let crew = Crew::start(CLIENTS, &house.socket(), &journal, round);
        crew.work(dice.below(most));
        let later = Instant::now() + Duration::from_micros(dice.below(2_000));
        while Instant::now() < later {
            std::hint::spin_loop();
        }
        daemon.kill();
        crew.stop();
        daemon = house.start();
        let found = compare(&house.path("gipam.db"), &journal);
        found.assert_clean(&format!("round {round}"));
        recovered += found.recovered;
        uncertain += found.uncertain;
    }
    assert!(daemon.stop().success());
    compare(&house.path("gipam.db"), &journal).assert_clean("after an orderly stop");
    let book = journal.book();
    vec![
        ("kills survived", rounds),
        ("answers acknowledged", book.acknowledged),
        ("grants compared", recovered),
        ("unanswered but carried out", uncertain),
        ("!acknowledged lost", 0),
        ("!held twice", book.twice.len() as u64),
    ]
}
