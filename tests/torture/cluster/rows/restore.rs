//! A RESTORED STORE: all members are set back to a snapshot, while hosts have claimed and given back slices since, and a person
//! says so with `gipam join --restored` before the other hosts reach the store.
//!
//! Promises: the restored store is seen to lack slices that hosts hold; nobody else gets these slices.

use crate::Counts;
use crate::cluster::lan::Loss;
use crate::cluster::load::Crew;
use crate::cluster::{HOSTS, PREFIX, Scene};

/// Claims after the snapshot, which the restored store has forgotten.
const FORGOTTEN: usize = 5;

pub fn run(long: bool) -> Counts {
    let mut scene = Scene::new();
    let rounds = if long { 10 } else { 1 };
    let (mut restores, mut wrong) = (0, 0);
    let snapshot = scene.directory.path().join("snapshot");
    for round in 0..rounds {
        let _ = std::fs::remove_file(&snapshot);
        scene.store.save(&scene.lan, &snapshot);
        let before = scene.store.pairs(&scene.lan, PREFIX);
        scene.wait("slices are claimed after the snapshot", |scene| {
            let now = scene.store.pairs(&scene.lan, PREFIX);
            now.iter()
                .filter(|(key, value)| key.starts_with("slice/") && before.get(*key) != Some(*value))
                .count()
                >= FORGOTTEN
        });
        // The person's host is quiet; the others work and cannot reach the store.
        scene.settle(&format!("before restore {round}"));
        let person = round % HOSTS;
        scene.hosts.iter().for_each(|host| host.machine.lose(Loss::All));
        let others = scene.hosts.iter().filter(|host| host.observer.host != person);
        scene.crew = Some(Crew::start(others, 500 + round as u64));
        let noticed = scene.noticed();
        scene.store.set_back(&scene.lan, &snapshot);
        scene.store.revive(&scene.lan);
        let differences = scene.differences();
        assert!(!differences.is_empty(), "the restored store lacks nothing");
        wrong += differences.len() as u64;
        scene.wait("the others notice that they are cut off", |scene| scene.noticed() > noticed);
        scene.packets += scene.hosts[person].machine.heal();
        let said = scene.hosts[person].told(&["join", "--restored"]);
        assert!(said.contains("begins"), "{said}");
        scene.heal();
        scene.rest();
        scene.work();
        scene.settle(&format!("after restore {round}"));
        restores += 1;
        scene.work();
    }
    scene.finish(vec![("restores", restores), ("slices that the store had wrong", wrong)])
}
