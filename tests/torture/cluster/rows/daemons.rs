//! FAILING DAEMONS: killed under load, paused, and with a full disk of the books.

use std::fs;

use rustix::process::Signal;

use crate::Counts;
use crate::cluster::{HOSTS, Scene};
use crate::crew::Dice;
use crate::journal::State;

pub fn run(long: bool) -> Counts {
    let mut scene = Scene::new();
    let (rounds, kills) = if long { (12, 10) } else { (1, 3) };
    let mut dice = Dice::new(7);
    let (mut killed, mut dropped, mut paused, mut full, mut refused) = (0, 0, 0, 0, 0);
    for round in 0..rounds {
        for _ in 0..kills {
            let host = dice.below(HOSTS as u64) as usize;
            let before = scene.hosts[host].journal.book().dropped;
            let answers = scene.answers() + dice.below(80);
            scene.wait("the clients are answered", |scene| scene.answers() >= answers);
            scene.hosts[host].kill();
            scene.wait("requests have no answer", |scene| scene.hosts[host].journal.book().dropped > before);
            scene.hosts[host].start();
            dropped += scene.hosts[host].journal.book().dropped - before;
            killed += 1;
        }
        scene.settle(&format!("after kills in round {round}"));
        scene.work();

        let host = round % HOSTS;
        scene.hosts[host].pause();
        let answers = scene.hosts[host].journal.acknowledged();
        scene.go_on();
        let meanwhile = scene.hosts[host].journal.acknowledged() - answers;
        assert!(meanwhile < 10, "a paused daemon gave {meanwhile} answers");
        scene.hosts[host].signal(Signal::CONT);
        scene.settle(&format!("after a pause in round {round}"));
        paused += 1;
        scene.work();

        // A WAL that has grown already would need no more space for a while.
        let host = (round + 1) % HOSTS;
        scene.hosts[host].stop();
        scene.hosts[host].start();
        scene.settle(&format!("after a restart in round {round}"));
        scene.work();
        let (before, ballast) = (scene.hosts[host].journal.book().unavailable, scene.hosts[host].ballast());
        scene.wait("requests are refused because the disk is full", |scene| {
            // Space freed by the WAL is filled at once.
            crate::disks::fill(&ballast);
            scene.hosts[host].journal.book().unavailable >= before + 60
        });
        refused += scene.hosts[host].journal.book().unavailable - before;
        scene.rest();
        fs::remove_file(&ballast).unwrap();
        scene.wait("kept releases are carried out", |scene| scene.hosts[host].has_released());
        scene.settle(&format!("after a full disk in round {round}"));
        full += 1;
        scene.work();
    }
    scene.finish(vec![
        ("daemons killed", killed),
        ("requests without an answer", dropped),
        ("daemons paused", paused),
        ("disks of books full", full),
        ("requests refused meanwhile", refused),
    ])
}

impl crate::cluster::host::Host {
    /// Whether everything whose release was sent is gone.
    fn has_released(&self) -> bool {
        let plan = self.plan();
        let book = self.journal.book();
        let leaving = |word: &str| book.leases.get(word).is_some_and(|lease| lease.state == State::Leaving);
        !plan.subnets().filter(|subnet| subnet.is_held()).any(|subnet| {
            let word = subnet.state.options.get(crate::crew::WORD);
            word.is_some_and(|word| {
                book.subnets.get(word).is_some_and(|subnet| subnet.state == State::Leaving)
            }) || subnet
                .addresses
                .records()
                .any(|(_, it)| it.leased && it.name.as_deref().is_some_and(leaving))
        })
    }
}
