//! EVERYTHING AT ONCE: one host is cut off, another one's daemon is killed again and again, the disk of the third one's books is
//! full, and a member of the store is killed, all in one history.
//!
//! Promises: each of the four faults is seen to bite while the others last. In every second round the host with the full disk is
//! killed, too, so that the releases which it kept are gone.

use std::fs;

use crate::Counts;
use crate::cluster::lan::Loss;
use crate::cluster::{HOSTS, Scene};

/// What each fault must be seen to do before everything is repaired.
const REFUSED: u64 = 2;
const FULL: u64 = 20;
const KILLS: u64 = 3;

pub fn run(long: bool) -> Counts {
    let mut scene = Scene::new();
    let rounds = if long { 10 } else { 1 };
    let (mut cut_off, mut killed, mut full, mut members) = (0, 0, 0, 0);
    for round in 0..rounds {
        let [cut, dying, narrow] = [0, 1, 2].map(|number| (round + number) % HOSTS);
        // A WAL that has grown already would need no more space for a while.
        scene.hosts[narrow].stop();
        scene.hosts[narrow].start();
        scene.settle(&format!("after a restart in round {round}"));
        scene.work();

        let (refused, ballast) = (scene.refused()[cut], scene.hosts[narrow].ballast());
        let unavailable = scene.hosts[narrow].journal.book().unavailable;
        let member = scene.used_member();
        scene.store.members[member].kill();
        members += 1;
        scene.hosts[cut].machine.lose(Loss::All);
        cut_off += 1;
        for _ in 0..KILLS {
            let dropped = scene.hosts[dying].journal.book().dropped;
            scene.wait("the disk refuses requests", |scene| {
                // Space freed by the WAL is filled at once.
                crate::disks::fill(&ballast);
                scene.hosts[narrow].journal.book().unavailable >= unavailable + FULL
            });
            scene.hosts[dying].kill();
            scene.wait("requests have no answer", |scene| {
                crate::disks::fill(&ballast);
                scene.hosts[dying].journal.book().dropped > dropped
            });
            scene.hosts[dying].start();
            killed += 1;
        }
        scene.wait("the host that is cut off refuses what needs the store", |scene| {
            scene.refused()[cut] >= refused + REFUSED
        });
        full += 1;
        if round % 2 == 1 {
            scene.hosts[narrow].kill();
            killed += 1;
        }
        scene.rest();
        fs::remove_file(&ballast).unwrap();
        scene.settle(&format!("after everything in round {round}"));
        scene.work();
    }
    let packets = scene.packets;
    scene.finish(vec![
        ("hosts cut off", cut_off),
        ("daemons killed", killed),
        ("disks of books full", full),
        ("members killed", members),
        ("packets lost", packets),
    ])
}
