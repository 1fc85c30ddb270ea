//! An installation of the old gipam under /opt/gipam keeps working: with its own unit, and with the units of
//! this package.

use crate::machine::{Machine, SOCKET, SOON};
use crate::oldgipam::OldGipam;
use crate::page;
use crate::wait::until;

const HEADING: &str = "Replace the old gipam (`/opt/gipam`)";
/// The unit as users of the old program have it.
const UNIT: &str = "[Unit]
Description=The old gipam
Before=docker.service
After=network.target

[Service]
WorkingDirectory=/opt/gipam
EnvironmentFile=/opt/gipam/.env
ExecStart=/opt/gipam/gipam
User=root
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
";

/// A machine as the old program leaves it when it is stopped: networks and a container, its lease file, its
/// unit.
fn old_machine(m: &Machine) -> Vec<String> {
    let socket = m.path(SOCKET);
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let old = OldGipam::start(&socket, "10.66", "fd66");
    m.sh("docker network create --ipv6 --ipam-driver gipam web
          docker run -d --init --name always --restart always --network web bb sleep 3600");
    m.write("/opt/gipam/lease.json", &old.file());
    let mut ids: Vec<String> = m.prefixes("web").iter().map(|prefix| old.id(prefix)).collect();
    drop(old);
    let _ = std::fs::remove_file(&socket);
    m.write("/opt/gipam/.env", "GIPAM_V6=fd66::/56\nGIPAM_V4=10.66.0.0/16\n");
    m.write("/opt/gipam/gipam.service", UNIT);
    // a program that only waits replaces the old binary
    m.sh("cp /usr/bin/sleep /opt/gipam/gipam
          sed -i 's|^ExecStart=.*|& infinity|' /opt/gipam/gipam.service
          systemctl enable --now /opt/gipam/gipam.service
          sed -i 's| infinity$||' /opt/gipam/gipam.service
          systemctl daemon-reload");
    ids.sort();
    ids
}

/// Network and container continue with gipam's new books.
fn continues_with_new_books(m: &Machine, ids: &[String]) {
    let mut now: Vec<String> =
        m.view("subnets").iter().map(|subnet| subnet["id"].as_str().unwrap().to_owned()).collect();
    now.sort();
    assert_eq!(now, ids, "the subnets keep the ids that dockerd knows");
    let held =
        |m: &Machine| m.endpoints().iter().any(|lease| lease["address"] == m.address("always").as_str());
    assert!(held(m), "{:?}", m.view("leases"));
    m.sh("docker run --rm --network web bb ping -c 1 -w 10 always
          docker network create --ipv6 --ipam-driver gipam next");
    assert_eq!(
        m.prefixes("next"),
        ["10.66.1.0/24", "fd66:0:0:1::/64"],
        "the subnets come from the old pools"
    );
    m.sh("docker rm -f always; docker network rm web next");
    assert!(m.view("subnets").is_empty());
}

pub fn replaced(m: &mut Machine) {
    let ids = old_machine(m);
    m.sh(&page::block(HEADING, 0));
    m.sh("ln -s /opt/gipam/gipam /usr/local/bin/gipam"); // only for the commands of this test
    until("gipam answers", SOON, || m.try_sh("gipam status").ok);
    assert!(m.path("/opt/gipam/lease.db").exists(), "the books are next to the lease file");
    continues_with_new_books(m, &ids);
    m.sh("systemctl stop gipam");
    assert!(!m.path(SOCKET).exists());
    assert_eq!(m.show("gipam.service", "Result"), "success");
}

pub fn units(m: &mut Machine) {
    let ids = old_machine(m);
    // the pools come from the lease file; only the other settings of the configuration are kept
    m.sh("sed -i '/^.*pool.*$/,$d' packaging/gipam.toml; cat packaging/gipam.toml");
    let block = page::block(HEADING, 1);
    let place = "# install by hand, without pools in gipam.toml, or with those of the lease file";
    assert_eq!(block.lines().filter(|line| *line == place).count(), 1, "{block}");
    let install = page::without(&page::block("Install by hand", 0), "make build");
    m.sh(&block.replace(place, &install));
    assert_eq!(m.show("gipam.service", "Type"), "notify");
    assert_eq!(m.show("gipam.service", "FragmentPath"), "/etc/systemd/system/gipam.service");
    assert!(m.path("/var/lib/gipam/lease.db").exists());
    continues_with_new_books(m, &ids);

    // the other method on the page: the file stays where it is
    m.sh("systemctl stop gipam.socket gipam.service; rm -r /var/lib/gipam
          echo GIPAM_FILE=/opt/gipam/lease.json >/etc/gipam/gipam.env; systemctl start gipam.socket gipam.service");
    assert!(m.path("/opt/gipam/lease.db").exists(), "the restricted unit may write there");
    assert_eq!(m.view("subnets").len(), ids.len());
}
