//! systemd holds the plugin socket: a request starts gipam, and waits while gipam is not running.

use crate::machine::{Machine, SOCKET, SOON};
use crate::page;
use crate::wait::until;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn inode(m: &Machine) -> u64 {
    std::fs::metadata(m.path(SOCKET)).unwrap().ino()
}

/// Docker must show this many networks, and the books as many subnets.
fn agree(m: &Machine, networks: usize) {
    assert_eq!(
        m.sh("docker network ls -q --filter driver=bridge --filter type=custom | wc -l"),
        networks.to_string()
    );
    assert_eq!(m.view("subnets").len(), networks);
}

pub fn activation(m: &mut Machine) {
    page::install(m);
    m.sh("systemctl stop gipam.socket gipam.service");
    assert!(!m.path(SOCKET).exists(), "the stopped socket unit removes its file");
    m.sh("systemctl start gipam.socket");
    assert_eq!(m.show("gipam.service", "ActiveState"), "inactive");
    let made = inode(m);
    m.sh("docker network create --ipam-driver gipam web");
    assert_eq!(m.show("gipam.service", "ActiveState"), "active");
    assert_eq!(inode(m), made);
    agree(m, 1);
    // if only the service is stopped, a request starts it again, and `systemctl stop` warns about that
    m.sh("systemctl stop gipam.service");
    assert_eq!(inode(m), made, "a socket that systemd passed is not unlinked");
    m.sh("docker network rm web");
    agree(m, 0);
    assert_eq!(inode(m), made);
}

/// Docker creates networks while gipam is restarted repeatedly: no request fails.
pub fn restarts(m: &mut Machine) {
    page::install(m);
    let made = inode(m);
    let done = AtomicBool::new(false);
    let restarted = std::thread::scope(|scope| {
        let restarting = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                m.sh("systemctl restart gipam.service");
                count += 1;
            }
            count
        });
        for i in 0..12 {
            let said = m.try_sh(&format!("docker network create --ipam-driver gipam n{i}"));
            if !said.ok {
                done.store(true, Ordering::Relaxed);
                panic!("network {i}: {}", said.err);
            }
        }
        done.store(true, Ordering::Relaxed);
        restarting.join().unwrap()
    });
    assert!(restarted > 3, "{restarted} restarts are too few");
    assert_eq!(inode(m), made);
    assert_eq!(m.show("gipam.socket", "ActiveState"), "active");
    agree(m, 12);
    m.sh("docker network ls -q --filter type=custom | xargs docker network rm");
    agree(m, 0);
}

/// Waits until gipam is active again in a new process, within seconds.
fn back(m: &Machine, process: &str) {
    until("gipam is active again in a new process", Duration::from_secs(10), || {
        m.show("gipam.service", "ActiveState") == "active" && m.show("gipam.service", "MainPID") != process
    });
}

/// gipam is killed during a request and without one; it is restarted, with and without the socket unit.
pub fn killed(m: &mut Machine) {
    page::install(m);
    for (round, network) in ["held", "own"].into_iter().enumerate() {
        let process = m.show("gipam.service", "MainPID");
        let create = format!("docker network create --ipam-driver gipam {network}");
        m.sh(&format!("kill -9 {process}; {create} >/srv/{network} 2>&1 &"));
        back(m, &process);
        until("the network exists", SOON, || m.try_sh(&format!("docker network inspect {network}")).ok);
        agree(m, round + 1);
        let process = m.show("gipam.service", "MainPID");
        m.sh(&format!("kill -9 {process}"));
        back(m, &process);
        agree(m, round + 1);
        if network == "held" {
            m.sh("systemctl stop gipam.socket gipam.service; systemctl disable gipam.socket; systemctl start gipam");
        }
    }
}
