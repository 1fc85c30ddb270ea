//! Checks what docs/operations.md says about Docker's commands while gipam is down without socket activation:
//! how long they take, whether they succeed, and which leases stay in the books.

use crate::books::Leak;
use crate::scenario::{Scenario, scenario};
use crate::world::World;
use std::time::{Duration, Instant};

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("down_is_as_operations_says", "P3 P20.1 P20.7", down).waits()]
}

/// How long Docker waits for a plugin, and a margin for a busy machine.
fn waits(times: u32, took: Duration) -> bool {
    let least = Duration::from_secs(15) * times;
    took >= least && took < least + Duration::from_secs(10)
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (run(), start.elapsed())
}

fn down(w: &mut World) {
    w.network("--ipv6 both");
    w.network("single");
    w.run("--name c1 --network both");
    w.run("--name c2 --network single");
    let left = w.prefixes("single").remove(0);
    let (v4, v6) = w.addresses("c1", "both");
    w.stop();
    let (_, create) = timed(|| w.refused("network create --ipam-driver gipam further"));
    let (_, run) = timed(|| w.refused("run -d --name c3 --network both bb sleep 60"));
    let (_, stop) = timed(|| w.docker("stop -t 0 c1"));
    let (_, remove) = timed(|| w.docker("rm -f c2"));
    let (_, network) = timed(|| w.docker("network rm single"));
    println!("        Engine {}: {create:?} {run:?} {stop:?} {remove:?} {network:?}", w.engine.title());
    w.start();
    w.docker("start c1");
    w.docker("rm -f c1 c3");
    assert!(waits(1, create) && waits(1, run) && waits(2, stop) && waits(1, remove) && waits(2, network));
    for (prefix, address) in w.prefixes("both").into_iter().zip([v4, v6]) {
        w.expect_leak(Leak::Address(prefix, address.unwrap().to_string()));
    }
    w.expect_leak(Leak::Subnet(left));
}
