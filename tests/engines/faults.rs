//! Broken connections, and a driver that is down, killed, or stopped between steps.

use crate::books::Leak;
use crate::proxy::Proxy;
use crate::scenario::{Scenario, scenario};
use crate::wait::until;
use crate::world::{SOCKET, World};
use std::time::{Duration, Instant};

pub fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("fault_gipam_stopped_between_every_step", "P1 P3 P18 D2 D3", between_steps),
        scenario("fault_gipam_killed_under_running_containers", "P18 P21 D3", killed),
        scenario("fault_gipam_killed_under_load", "P8 P20.1 P20.3 D2 D3 D8", killed_under_load),
        scenario("fault_answer_lost_after_the_work", "P8 P20.3 D1 D2", lost_answers),
        scenario("fault_command_waits_for_gipam_to_come_back", "P3 D14 D15", waits),
        scenario("fault_gipam_away_leaks_as_docker_does", "P3 P20.1 P20.7 D7 D8", away),
        scenario("fault_dockerd_boots_while_gipam_is_away", "P2 P3 D15", boots_alone),
    ]
}

fn between_steps(w: &mut World) {
    let steps = [
        "network create --ipam-driver gipam --ipv6 n1",
        "run -d --init --name c1 --network n1 bb sleep 3600",
        "network create --ipam-driver gipam --subnet 10.88.9.0/24 --aux-address a=10.88.9.9 n2",
        "network connect n2 c1",
        "run -d --init --name c2 --network n2 --ip 10.88.9.20 bb sleep 3600",
        "restart -t 1 c1",
        "stop -t 1 c2",
        "start c2",
        "network disconnect n1 c1",
        "rm -f c2",
        "network connect n1 c1",
        "rm -f c1",
        "network rm n2",
        "network rm n1",
    ];
    for (i, step) in steps.iter().enumerate() {
        let ids = ids(w);
        if i % 2 == 0 {
            w.stop()
        } else {
            w.kill()
        }
        w.start();
        assert_eq!(self::ids(w), ids, "a restart keeps the subnets");
        w.docker(step);
        w.agree();
    }
    w.until_empty();
}

fn ids(w: &World) -> Vec<String> {
    w.subnets().into_iter().map(|subnet| subnet.id).collect()
}

fn killed(w: &mut World) {
    w.network("--ipv6 n1");
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n1");
    let before = (w.addresses("c1", "n1"), w.addresses("c2", "n1"));
    w.kill();
    // containers can communicate without the driver
    w.ping("c1", &w.v4("c2", "n1"));
    w.start();
    w.agree();
    assert_eq!((w.addresses("c1", "n1"), w.addresses("c2", "n1")), before);
    w.run("--name c3 --network n1");
    w.ping("c3", &w.v6("c1", "n1"));
    w.docker("rm -f c1");
    w.agree();
}

/// Twenty starts while gipam is killed and restarted: some may fail, but the books must contain each
/// container's address, and no address may be given twice.
fn killed_under_load(w: &mut World) {
    w.network("--ipv6 n1");
    let engine = w.engine;
    std::thread::scope(|scope| {
        for i in 0..20 {
            let name = format!("c{i}");
            scope.spawn(move || {
                engine.docker(&[
                    "run",
                    "-d",
                    "--init",
                    "--name",
                    &name,
                    "--network",
                    "n1",
                    "bb",
                    "sleep",
                    "3600",
                ])
            });
        }
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(700)); // not a wait for a condition: the load continues
            w.kill();
            w.start();
        }
    });
    let (leaked, missing) = w.compare();
    assert!(missing.is_empty(), "containers have addresses that the books lack: {missing:#?}");
    for lease in leaked {
        assert_eq!(lease.kind, "endpoint", "only addresses of interrupted starts are left: {lease:?}");
    }
    w.inside("docker ps -aq | xargs -r docker rm -f -v >/dev/null");
    let said = engine.docker(&["network", "rm", "n1"]);
    if !said.ok {
        // If a start was interrupted, an Engine may keep the endpoint (seen on 20.10) until it is restarted.
        assert!(said.err.contains("has active endpoints"), "{}", said.err);
        w.dockerd("TERM", &[]);
        w.docker("network rm n1");
    }
    w.until_empty();
}

fn lost_answers(w: &mut World) {
    const BEHIND: &str = "/run/gipam/real.sock";
    w.restart_at(BEHIND);
    let path = |name: &str| w.engine.run.join(name.trim_start_matches("/run/"));
    let proxy = Proxy::start(path(SOCKET), path(BEHIND));

    proxy.lose("RequestPool");
    let said = w.refused("network create --ipam-driver gipam --subnet 10.88.9.0/24 n1");
    assert!(said.contains("empty"), "the user sees the reason: {said}");
    assert_eq!(proxy.take_lost(), (1, 1), "one answer was lost, and one repetition had no body");
    let said = w.refused("network create --ipam-driver gipam --subnet 10.88.9.0/24 n1");
    let command = "gipam release 10.88.9.0/24 --force";
    assert!(said.contains(command), "the message names the command that frees the orphan: {said}");
    let young = w.engine.inside(&["sh", "-c", command]).err;
    assert!(young.contains("granted less than a minute ago"), "{young}");
    w.inside(&format!("{command} --without-engine"));
    w.network("--subnet 10.88.9.0/24 n1");

    proxy.lose("RequestPool");
    w.refused("network create --ipam-driver gipam n2");
    proxy.take_lost();
    w.expect_leak(Leak::Subnet("10.77.0.0/24".into()));

    let before = w.leases().len();
    proxy.lose("RequestAddress");
    w.refused("run -d --name c1 --network n1 bb sleep 60");
    assert_eq!(proxy.take_lost(), (1, 1));
    assert_eq!(
        w.leases().len(),
        before + 1,
        "only the address of the lost answer was added: {:?}",
        w.leases()
    );
    let orphan = w.leases().into_iter().find(|l| l.kind.as_deref() == Some("endpoint")).unwrap();
    w.expect_leak(Leak::Address("10.88.9.0/24".into(), orphan.address.to_string()));

    w.run("--name c2 --network n1");
    assert_ne!(w.v4("c2", "n1"), orphan.address.to_string());
    proxy.lose("ReleaseAddress");
    w.docker("rm -f c2");
    assert_eq!(
        proxy.take_lost(),
        (1, 1),
        "the release was done; its repetition without a body changed nothing"
    );

    w.network("n3");
    proxy.lose("ReleasePool");
    w.docker("network rm n3");
    assert_eq!(proxy.take_lost(), (1, 1));
    w.finish(); // while the proxy still runs
}

fn waits(w: &mut World) {
    w.network("n1");
    w.stop();
    let engine = w.engine;
    std::thread::scope(|scope| {
        let create = scope.spawn(|| engine.docker(&["network", "create", "--ipam-driver", "gipam", "n2"]));
        let run = scope.spawn(|| {
            engine.docker(&["run", "-d", "--init", "--name", "c1", "--network", "n1", "bb", "sleep", "99"])
        });
        // both calls find no listener at the socket, so dockerd retries
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!create.is_finished() && !run.is_finished(), "docker waits for its driver");
        w.start();
        for said in [create.join().unwrap(), run.join().unwrap()] {
            assert!(said.ok, "{}", said.err);
        }
    });
    w.agree();
}

/// Docker forgets the releases that it could not send while the driver was down; nothing else is lost.
fn away(w: &mut World) {
    w.network("--ipv6 n1");
    w.network("n2");
    w.run("--name c1 --network n1");
    w.run("--name c2 --network n1");
    let (v4, v6) = (w.v4("c1", "n1"), w.v6("c1", "n1"));
    let [n1_v4, n1_v6] = <[String; 2]>::try_from(w.prefixes("n1")).unwrap();
    let n2 = w.prefixes("n2").remove(0);
    w.stop();
    // both at once, because each call waits 15 s for the driver
    w.at_once(["rm -f c1", "network rm n2"].into_iter().map(str::to_owned));
    w.start();
    w.expect_leak(Leak::Address(n1_v4, v4));
    w.expect_leak(Leak::Address(n1_v6, v6));
    w.expect_leak(Leak::Subnet(n2));
}

fn boots_alone(w: &mut World) {
    w.network("--ipv6 n1");
    w.run("--name c1 --network n1");
    let before = w.prefixes("n1");
    w.engine.dockerd_down("TERM"); // releases the address
    w.stop();
    let start = Instant::now();
    w.engine.dockerd_up(&[]);
    assert!(
        start.elapsed() > Duration::from_secs(10),
        "dockerd looked for the driver: {:?}",
        start.elapsed()
    );
    assert_eq!(w.prefixes("n1"), before, "the network still exists");
    w.start();
    let mut last = None;
    until("the container starts once gipam is back", Duration::from_secs(60), || {
        last = Some(w.engine.docker(&["start", "c1"]));
        last.as_ref().unwrap().ok
    });
    w.agree();
}
