//! POWER CUTS: the daemon's books are on a separate disk, which is cut off at random moments under load; the
//! page cache is lost. Afterwards the disk is mounted again, the daemon is started, and the books are
//! compared.
//!
//! Promises: only answers received before the cut began count as acknowledged. In half of the rounds the
//! daemon is killed with the power; in the others it must notice the loss and exit with an error. The control
//! runs the same program on a disk that fakes its syncs (they return success and do nothing): it must lose
//! acknowledged changes; otherwise these cuts would not prove anything. A drive's own cache is not modelled.

use crate::Counts;
use crate::books::{compare, plan};
use crate::crew::{Crew, Dice, POOLS, meeting_place};
use crate::daemon::{Daemon, House, until};
use crate::http::Wire;
use crate::journal::Journal;
use crate::trace;
use crate::volume::Volume;

const CLIENTS: usize = 8;

/// A house whose books are on a separate disk, in a default directory that does not exist yet: gipam creates
/// it.
fn house() -> (House, Volume) {
    let mut house = House::with_toml(POOLS);
    let volume = Volume::ext4(house.directory.path());
    house.unset("--file");
    house.variables.push(("STATE_DIRECTORY".to_owned(), volume.path("new/books").display().to_string()));
    (house, volume)
}

/// Puts load on the daemon, cuts off its disk, and kills it or waits until it exits.
fn cut(house: &House, volume: &Volume, mut daemon: Daemon, journal: &Journal, seed: u64, answers: u64) {
    let cutter = volume.cutter();
    let crew = Crew::start(CLIENTS, &house.socket(), journal, seed);
    crew.work(answers);
    journal.blind(true);
    cutter.cut();
    if seed.is_multiple_of(2) {
        daemon.kill();
    } else {
        let status = daemon.wait();
        assert_eq!(status.code(), Some(1), "cut off from its disk: {}", house.log());
    }
    crew.stop();
}

pub fn run(long: bool) -> Counts {
    let cuts = if long { 120 } else { 6 };
    let (house, mut volume) = house();
    let journal = Journal::default();
    let mut dice = Dice::new(cuts);
    let (mut recovered, mut uncertain) = (0, 0);
    for round in 0..cuts {
        let daemon = house.start();
        if round > 0 {
            let found = compare(&volume.path("new/books/gipam.db"), &journal);
            found.assert_clean(&format!("after cut {round}"));
            recovered += found.recovered;
            uncertain += found.uncertain;
        }
        meeting_place(&house.socket(), &journal);
        cut(&house, &volume, daemon, &journal, round, dice.below(300));
        volume.unmount();
        volume.mount();
    }
    let daemon = house.start();
    compare(&volume.path("new/books/gipam.db"), &journal).assert_clean("after the last cut");
    assert!(daemon.stop().success());
    vec![
        ("cuts survived", cuts),
        ("answers acknowledged", journal.acknowledged()),
        ("grants compared", recovered),
        ("unanswered but carried out", uncertain),
        ("!acknowledged lost", 0),
        ("!held twice", journal.book().twice.len() as u64),
    ]
}

pub fn control(long: bool) -> Counts {
    let cuts = if long { 5 } else { 1 };
    let mut lost = 0;
    for round in 0..cuts {
        let (house, mut volume) = house();
        let books = volume.path("new/books/gipam.db");
        // The books are already complete on the disk: only later changes can be lost.
        house.start().stop();
        volume.unmount();
        volume.mount();
        let journal = Journal::default();
        let lies = ["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:retval=0"];
        let daemon = trace::spawn(&house, &lies);
        until("the daemon serves", || Wire::try_unix(&daemon.socket)?.try_call("Plugin.Activate", ""));
        meeting_place(&house.socket(), &journal);
        cut(&house, &volume, daemon, &journal, round * 2, 200);
        volume.unmount();
        volume.mount();
        match plan(&books) {
            Ok(_) => lost += compare(&books, &journal).lost.len() as u64,
            Err(_) => lost += 1,
        }
    }
    vec![("cuts", cuts), ("acknowledged lost, as expected", lost)]
}
