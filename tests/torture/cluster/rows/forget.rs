//! A HOST THAT IS GONE: it is killed under load, a person forgets it, and the others take its slices. Its old books come back and get
//! nothing; then it joins with new ones.

use std::collections::BTreeSet;

use gipam::claims::machine::records::{HostRecord, SliceRecord, host_of, read};
use gipam::plan::slices::SliceState;

use crate::Counts;
use crate::cluster::{HOSTS, PREFIX, Scene, load};

/// Slices that the others take before the host comes back.
const TAKEN: usize = 4;

pub fn run(long: bool) -> Counts {
    let mut scene = Scene::new();
    let rounds = if long { 8 } else { 1 };
    let (mut forgotten, mut taken) = (0, 0);
    for round in 0..rounds {
        let gone = (round + 2) % HOSTS;
        let person = (gone + 1) % HOSTS;
        scene.hosts[gone].kill();
        let name = scene.hosts[gone].name.clone();
        let had = slices_of(&scene, &name);
        assert!(had.len() >= TAKEN, "host {name} had {had:?}");
        scene.hosts[gone].observer.forgotten();
        scene.hosts[person].told(&["hosts", "forget", &name, "--yes"]);
        forgotten += 1;
        scene.wait("the others take its slices", |scene| {
            had.difference(&slices_of(scene, &name)).count() >= TAKEN
        });
        taken += had.difference(&slices_of(&scene, &name)).count() as u64;
        // Its old books come back: they give nothing that needs a slice.
        scene.hosts[gone].start();
        scene.wait("the host notices that it was forgotten", |scene| {
            scene.hosts[gone].store()["stopped"].as_str().is_some_and(|text| text.contains("forgotten"))
        });
        let held = scene.hosts[gone].plan().slices().iter().filter(|it| it.state == SliceState::Held).count();
        assert_eq!(held, 0, "a forgotten host holds slices");
        scene.hosts[gone].kill();
        scene.rest();
        scene.hosts[gone].begin_life();
        scene.hosts[gone].start();
        scene.hosts[gone].told(&["join"]);
        load::meet(&scene.hosts[gone]);
        scene.work();
        scene.settle(&format!("after host {name} was replaced in round {round}"));
        scene.work();
    }
    scene.finish(vec![("hosts forgotten", forgotten), ("of their slices taken by others", taken)])
}

/// The keys of the slices that a host of this name has, in any of its lives.
fn slices_of(scene: &Scene, name: &str) -> BTreeSet<String> {
    let pairs = scene.store.pairs(&scene.lan, PREFIX);
    let is_named = |id: &str| {
        pairs.iter().any(|(key, value)| {
            host_of(key) == Some(id) && read::<HostRecord>(value).is_some_and(|host| host.name == name)
        })
    };
    let slices = pairs.iter().filter(|(key, _)| key.starts_with("slice/"));
    slices
        .filter(|(_, value)| read::<SliceRecord>(value).is_some_and(|record| is_named(&record.host)))
        .map(|(key, _)| key.clone())
        .collect()
}
