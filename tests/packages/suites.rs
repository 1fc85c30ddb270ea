//! Tests of the packages in a fresh root of each Debian suite without a running systemd, as when an image is
//! built.

use crate::root::Root;
use crate::{deb, next_deb, packages, tarball};
use std::collections::BTreeSet;

const TOML: &str = "/etc/gipam/gipam.toml";
const POOLS: &str = "[[pool]]\nname = \"lan\"\nv4 = { base = \"198.51.100.0/24\", size = 28 }\n";

pub fn bullseye() {
    package("bullseye");
    archive("bullseye");
}

pub fn bookworm() {
    package("bookworm");
}

pub fn trixie() {
    package("trixie");
    archive("trixie");
}

pub fn forky() {
    package("forky");
}

/// The program is one small file that does not need any library of the machine.
pub fn program() {
    let bytes = std::fs::read(packages().join("plugin/rootfs/gipam")).unwrap();
    assert!(bytes.len() <= 10 << 20, "{} bytes", bytes.len());
    // a dynamically linked program contains the path of its loader
    let loader = b"/lib64/ld-linux";
    assert!(
        !bytes.windows(loader.len()).take(4096).any(|window| window == loader),
        "the program is dynamically linked"
    );
}

/// Lines that are in only one of two listings.
fn changed(before: &str, after: &str) -> Vec<String> {
    let one_sided = |one: &str, other: &str| -> Vec<String> {
        let other: BTreeSet<&str> = other.lines().collect();
        one.lines().filter(|path| !other.contains(path)).map(str::to_owned).collect()
    };
    [one_sided(before, after), one_sided(after, before)].concat()
}

/// The state of the package according to dpkg.
fn state(root: &Root) -> String {
    root.sh("dpkg-query -W -f '${db:Status-Abbrev} ${Version}' gipam 2>/dev/null || true").trim().to_owned()
}

/// Install, configure, upgrade, remove, install again, purge.
fn package(suite: &str) {
    let root = Root::new(suite);
    let version = env!("CARGO_PKG_VERSION");
    let before = root.files();
    let said = root.sh(&format!("dpkg -i /srv/{}", deb()));
    assert!(said.contains("installed, not started") && said.contains("systemctl enable --now"), "{said}");
    assert_eq!(state(&root), format!("ii  {version}"));
    assert_eq!(root.sh("gipam --version"), format!("gipam {version}"));
    assert_eq!(root.sh("dpkg -V gipam"), "", "the installed files differ from those of the package");
    let good = root.sh(&format!("gipam config check {TOML}"));
    assert!(good.ends_with("(drivers: gipam; pools: none)"), "example pools are in force: {good}");
    root.sh("test -s /usr/share/bash-completion/completions/gipam; test -s /usr/share/zsh/vendor-completions/_gipam
             test -s /usr/share/fish/vendor_completions.d/gipam.fish; unit=/usr/lib/systemd/system/gipam.service
             grep -q ExecStart=/usr/bin/gipam $unit; grep -q ExecReload=/usr/bin/gipam $unit
             gipam config check /usr/share/doc/gipam/examples/gipam.toml");
    serves(&root);
    // A hook's URL or command may contain a password: other users cannot read a new file, nor one that an
    // earlier package left open.
    let modes = "stat -c %a /etc/gipam/gipam.toml /etc/gipam/gipam.env";
    assert_eq!(root.sh(modes), "640\n640");
    root.sh("chmod 644 /etc/gipam/gipam.toml; chmod 600 /etc/gipam/gipam.env");

    root.sh(&format!(
        "printf '%s' '{POOLS}' >{TOML}; mkdir -p /var/lib/gipam; echo books >/var/lib/gipam/gipam.db"
    ));
    let said = root.sh(&format!("dpkg -i /srv/{}", next_deb()));
    assert!(!said.contains("not started"), "an upgrade must not explain how to start gipam: {said}");
    assert!(state(&root).starts_with("ii ") && !state(&root).ends_with(version), "{}", state(&root));
    assert_eq!(root.sh(&format!("cat {TOML}")), POOLS.trim_end(), "a changed configuration is kept");
    assert_eq!(root.sh(modes), "640\n600", "{said}");
    assert!(said.contains("gipam.toml was readable by everybody"), "{said}");

    root.sh("dpkg -r gipam");
    assert!(state(&root).starts_with("rc"), "{}", state(&root));
    root.sh(&format!("test ! -e /usr/bin/gipam; test -e {TOML}; test -e /var/lib/gipam/gipam.db"));
    root.sh(&format!("dpkg -i /srv/{}", deb()));
    assert_eq!(root.sh(&format!("cat {TOML}")), POOLS.trim_end());
    let said = root.sh("dpkg -P gipam");
    assert!(said.contains("the books are kept in /var/lib/gipam"), "{said}");
    assert_eq!(state(&root), "");
    assert_eq!(root.sh("cat /var/lib/gipam/gipam.db; rm -r /var/lib/gipam"), "books");
    assert_eq!(changed(&before, &root.files()), [""; 0], "only the books are left");
}

/// Checks that the program runs whatever C library the suite has: it listens, resolves a name, commits and
/// answers.
fn serves(root: &Root) {
    root.sh("cd /tmp
        gipam -v4 198.51.100.0/24 -v4ab 28 -address localhost:9090 --file /tmp/gipam.db --admin /tmp/a.sock >/tmp/log 2>&1 & pid=$!
        for i in $(seq 200); do [ ! -S /tmp/a.sock ] || break; sleep 0.05; done
        gipam status --admin /tmp/a.sock || { cat /tmp/log; exit 1; }
        grep -q :9090 /etc/docker/plugins/gipam.spec || { cat /tmp/log; exit 1; }
        kill $pid; wait $pid; rm -rf /tmp/gipam.db* /tmp/log; rmdir /etc/docker/plugins");
}

/// Installs, upgrades and removes the tarball.
fn archive(suite: &str) {
    let root = Root::new(suite);
    let before = root.files();
    let unpack = format!("cd /tmp; tar xzf /srv/{}; cd gipam-*", tarball());
    let said = root.sh(&format!("{unpack}; ./install.sh"));
    assert!(said.contains("systemctl enable --now"), "{said}");
    assert_eq!(root.sh("gipam --version"), format!("gipam {}", env!("CARGO_PKG_VERSION")));
    root.sh(&format!("gipam config check {TOML}; printf '%s' '{POOLS}' >{TOML}"));
    root.sh("test -s /usr/local/share/man/man1/gipam-leases.1; test -s /etc/systemd/system/gipam.socket");
    root.sh("cd /tmp/gipam-*; ./install.sh --prefix /opt/other --root /tmp/image; unit=/tmp/image/etc/systemd/system/gipam.service; \
             grep -q ExecStart=/opt/other/bin/gipam $unit; grep -q ExecReload=/opt/other/bin/gipam $unit; rm -r /tmp/image");
    root.sh("cd /tmp/gipam-*; ./install.sh");
    assert_eq!(root.sh(&format!("cat {TOML}")), POOLS.trim_end(), "a changed configuration is kept");
    assert!(!root.try_sh("cd /tmp/gipam-*; ./install.sh --nonsense").ok);
    root.sh("cd /tmp/gipam-*; ./install.sh --remove; test -e /etc/gipam/gipam.toml; rm -r /etc/gipam");
    let left = changed(&before, &root.files());
    // empty directories that do not belong to gipam may stay
    assert!(left.iter().all(|path| !path.contains("gipam")), "{left:?}");
}
