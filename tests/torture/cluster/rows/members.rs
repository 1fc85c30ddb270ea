//! FAILING MEMBERS: killed, paused, the majority killed, a full disk, and compaction with defragmentation under load.

use crate::Counts;
use crate::cluster::Scene;

pub fn run(long: bool) -> Counts {
    let mut scene = Scene::new();
    let rounds = if long { 10 } else { 1 };
    let (mut killed, mut paused, mut majorities, mut full, mut compacted) = (0, 0, 0, 0, 0);
    for round in 0..rounds {
        let (before, member) = (scene.noticed(), scene.used_member());
        scene.store.members[member].kill();
        bites(&mut scene, before, &format!("a killed member in round {round}"));
        killed += 1;

        let (before, member) = (scene.noticed(), scene.used_member());
        scene.store.members[member].pause();
        scene.wait("a paused member is noticed", |scene| scene.noticed() > before);
        scene.go_on();
        scene.store.members[member].resume();
        bites(&mut scene, before, &format!("a paused member in round {round}"));
        paused += 1;

        // The leader, and one more: what is left is no majority.
        let (before, leader) = (scene.refused(), scene.store.leader(&scene.lan));
        let other = (leader + 1 + round) % scene.store.members.len();
        let other = if other == leader { (leader + 1) % scene.store.members.len() } else { other };
        scene.store.members[leader].kill();
        scene.store.members[other].kill();
        scene.wait("every host refuses requests for want of the store", |scene| {
            scene.hosts.iter().zip(&before).all(|(host, before)| host.journal.book().storeless > *before)
        });
        let before = scene.noticed() - 1;
        bites(&mut scene, before, &format!("two killed members in round {round}"));
        majorities += 1;

        let (before, member) = (scene.noticed(), scene.used_member());
        scene.store.members[member].fill_until_it_ends();
        bites(&mut scene, before, &format!("a full disk of a member in round {round}"));
        full += 1;

        scene.store.compact(&scene.lan);
        scene.go_on();
        scene.settle(&format!("after compaction in round {round}"));
        compacted += 1;
        scene.work();
    }
    scene.finish(vec![
        ("members killed", killed),
        ("members paused", paused),
        ("majorities killed", majorities),
        ("disks of members full", full),
        ("compactions", compacted),
    ])
}

/// The fault is noticed, the hosts go on, and everything is as it should be after it.
fn bites(scene: &mut Scene, before: u64, what: &str) {
    scene.wait(&format!("a host notices {what}"), |scene| scene.noticed() > before);
    scene.go_on();
    scene.settle(&format!("after {what}"));
    scene.work();
}
