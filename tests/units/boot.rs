//! gipam starts before Docker at boot and stops after it at shutdown: no address is lost.

use crate::machine::{Machine, SOON, endpoints, offline};
use crate::page;
use crate::wait::until;

const CONTAINERS: &str = "docker network create --ipv6 --ipam-driver gipam web
    docker run -d --init --name any --network web bb sleep 3600
    docker run -d --init --name always --restart always --network web bb sleep 3600";

/// Checks that gipam was ready before dockerd was started.
fn before_docker(m: &Machine) {
    let at = |unit: &str, property: &str| -> u64 { m.show(unit, property).parse().unwrap() };
    let ready = at("gipam.service", "ActiveEnterTimestampMonotonic");
    let started = at("docker.service", "ExecMainStartTimestampMonotonic");
    assert!(0 < ready && ready <= started, "gipam was ready at {ready} us, dockerd started at {started} us");
}

/// The position of systemd's last journal line that starts with `text`.
fn last(m: &Machine, text: &str) -> usize {
    let lines = m.sh("journalctl --sync; journalctl -q --no-pager -o cat -t systemd");
    let found = lines.lines().enumerate().filter(|(_, line)| line.starts_with(text)).last();
    found.unwrap_or_else(|| panic!("the journal does not contain {text:?}: {lines}")).0
}

fn running(m: &Machine, container: &str) {
    until(&format!("{container} runs"), SOON, || {
        m.sh(&format!("docker inspect --format '{{{{.State.Running}}}}' {container}")) == "true"
    });
}

pub fn shutdown(m: &mut Machine) {
    page::install(m);
    m.sh(CONTAINERS);
    assert_eq!(m.endpoints().len(), 4);
    m.power_off();
    let books = m.disk("/var/lib/gipam/gipam.db");
    let books = books.to_str().unwrap();
    let left = offline(&["leases", "--file", books]);
    assert!(endpoints(left.clone()).is_empty(), "Docker released its containers' addresses: {left:?}");
    assert_eq!(offline(&["subnets", "--file", books]).len(), 2);

    m.boot();
    assert!(
        last(m, "Stopped docker.service") < last(m, "Stopping gipam.service"),
        "gipam is stopped after Docker"
    );
    before_docker(m);
    assert_eq!(m.show("gipam.service", "NRestarts"), "0");
    assert_eq!(m.sh("systemctl --failed --no-legend"), "");
    running(m, "always");
    assert_eq!(m.endpoints().len(), 2, "one container, two families: {:?}", m.view("leases"));
    assert!(m.endpoints().iter().any(|lease| lease["address"] == m.address("always").as_str()));
    m.sh("docker start any; docker exec any ping -c 1 -w 10 always; docker rm -f any always; docker network rm web");
    assert!(m.view("leases").is_empty() && m.view("subnets").is_empty());
}

pub fn docker_stopped(m: &mut Machine) {
    page::install(m);
    m.sh(CONTAINERS);
    assert_eq!(m.endpoints().len(), 4);
    m.sh("systemctl stop docker.socket docker.service");
    assert!(m.endpoints().is_empty(), "Docker released its containers' addresses: {:?}", m.view("leases"));
    assert_eq!(m.view("subnets").len(), 2);
    m.sh("systemctl start docker");
    running(m, "always");
    assert_eq!(m.endpoints().len(), 2);
    // both in one command: Docker is stopped first, then gipam
    m.sh("systemctl stop docker.socket docker.service gipam.socket gipam.service");
    assert!(last(m, "Stopped docker.service") < last(m, "Stopping gipam.service"));
    let left = m.view("leases"); // from the books
    assert!(endpoints(left.clone()).is_empty(), "{left:?}");
    // systemctl queues the units one by one, and systemd orders only what is queued: gipam, for which Docker
    // waits, comes first
    m.sh("systemctl start gipam.socket gipam.service docker.service");
    before_docker(m);
    running(m, "always");
}

pub fn drop_in(m: &mut Machine) {
    page::install(m);
    m.sh(&page::block("Install by hand", 2));
    m.sh("docker network create --ipam-driver gipam web
          docker run -d --init --name always --restart always --network web bb sleep 3600
          systemctl stop docker.socket docker.service gipam.socket gipam.service
          systemctl start docker");
    assert_eq!(m.show("gipam.service", "ActiveState"), "active");
    before_docker(m);
    running(m, "always");
    m.sh(&page::block("Remove", 0));
    assert_eq!(m.sh("systemctl cat docker.service | grep -c gipam || true"), "0");
}
