//! CLOCK STEPS: the wall clock of the daemon is set forward and back under load and while it is stopped. A
//! held subnet or address must not be lost or given twice, and a request must not wait longer than a released
//! subnet cools.
//!
//! Promises: only the daemon's own clock is stepped (by a library that it loads); a request without an answer
//! after 20 seconds counts as hung. Pools are small and subnets cool, so that requests wait for released
//! subnets all the time.

use crate::Counts;
use crate::books::compare;
use crate::crew::{Crew, Dice, meeting_place};
use crate::daemon::House;
use crate::journal::Journal;
use crate::timeshift::{HOUR, SECOND, TimeShift, YEAR};

const CLIENTS: usize = 8;

/// Fewer subnets than the clients want, and a cooling time that matters.
const POOLS: &str = r#"
history = 2000
[[pool]]
name = "four"
v4 = { base = "198.18.0.0/25", size = 28 }
cooling = "0"
subnet_cooling = "1m"
[[pool]]
name = "six"
v6 = { base = "2001:db8:77::/61", size = 64 }
cooling = "0"
subnet_cooling = "1m"
"#;

/// Steps that real clocks make: NTP, a suspended machine, a wrong time zone, an empty battery.
const SHIFTS: [i64; 9] =
    [0, 2 * SECOND, -2 * SECOND, 2 * HOUR, -2 * HOUR, 24 * HOUR, YEAR, -YEAR, -50 * YEAR];

pub fn run(long: bool) -> Counts {
    let (rounds, steps) = if long { (60, 8) } else { (6, 4) };
    let mut house = House::with_toml(POOLS);
    let clock = TimeShift::of(&mut house);
    let journal = Journal::default();
    let mut dice = Dice::new(rounds);
    let mut step = move || clock.set(SHIFTS[dice.below(SHIFTS.len() as u64) as usize]);
    let (mut stepped, mut logged, mut compared, mut hung) = (0, 0, 0, 0);
    let mut daemon = house.start();
    meeting_place(&house.socket(), &journal);
    for round in 0..rounds {
        let dropped = journal.book().dropped;
        let crew = Crew::start(CLIENTS, &house.socket(), &journal, round);
        for _ in 0..steps {
            crew.work(25);
            step();
            stepped += 1;
        }
        crew.work(25);
        crew.stop();
        hung += journal.book().dropped - dropped;
        logged += house.log().matches("the wall clock stepped").count() as u64;
        if round % 2 == 0 {
            daemon.kill();
        } else {
            assert!(daemon.stop().success(), "{}", house.log());
        }
        step();
        stepped += 1;
        daemon = house.start();
        let found = compare(&house.path("gipam.db"), &journal);
        found.assert_clean(&format!("round {round}"));
        compared += found.recovered;
    }
    drop(daemon);
    let book = journal.book();
    vec![
        ("steps", stepped),
        ("of them logged", logged),
        ("restarts", rounds),
        ("answers acknowledged", book.acknowledged),
        ("grants compared", compared),
        ("!acknowledged lost", 0),
        ("!held twice", book.twice.len() as u64),
        ("!requests hung", hung),
    ]
}
