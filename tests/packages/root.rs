//! A fresh Debian root without systemd: a writable directory over a suite's root, which `scripts/engine.sh`
//! caches.
//!
//! Promises: the cached root is never changed; mounts and network belong to each command and end with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Root {
    lower: PathBuf,
    place: tempfile::TempDir,
}

/// The output of a command on both streams, and whether it succeeded.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub text: String,
}

impl Root {
    /// The suite's root, which is built the first time.
    pub fn new(suite: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/engine.sh");
        let built = Command::new(script).args(["root", suite]).stdin(Stdio::null()).output().unwrap();
        assert!(built.status.success(), "{suite}: {}", String::from_utf8_lossy(&built.stderr));
        let place = tempfile::tempdir().unwrap();
        for name in ["upper", "scratch", "top"] {
            std::fs::create_dir(place.path().join(name)).unwrap();
        }
        Self { lower: crate::base().join("roots").join(suite), place }
    }

    /// Runs shell lines inside, as root, with only a loopback network. `/srv` holds the packages.
    pub fn try_sh(&self, lines: &str) -> Said {
        let mount = "top=$1 lower=$2 place=$3 packages=$4
            mount -t overlay overlay -o \"lowerdir=$lower,upperdir=$place/upper,workdir=$place/scratch\" $top
            mount -t proc proc $top/proc; mount --rbind /dev $top/dev; mount -t tmpfs tmpfs $top/run
            mount -t tmpfs tmpfs $top/srv; mount --bind $packages $top/srv; ip link set lo up
            exec chroot $top env -i HOME=/root LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
              sh -euc \"$5\" 2>&1";
        let output = Command::new("timeout")
            .args([
                "-k",
                "1",
                "120",
                "unshare",
                "-m",
                "-n",
                "-p",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
                "sh",
                "-euc",
                mount,
                "sh",
            ])
            .args([&self.place.path().join("top"), &self.lower, self.place.path(), &crate::packages()])
            .arg(lines)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Said { ok: output.status.success(), text: text.trim_end().to_owned() }
    }

    /// Runs shell lines that must succeed.
    pub fn sh(&self, lines: &str) -> String {
        let said = self.try_sh(lines);
        assert!(said.ok, "{lines}: {}", said.text);
        said.text
    }

    /// Lists every file of the root, except mounts, temporary files, caches, logs and dpkg's own database.
    pub fn files(&self) -> String {
        self.sh("find / -xdev \\( -path /proc -o -path /dev -o -path /run -o -path /srv -o -path /tmp -o \
                 -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \\) -prune -o -print | sort")
    }
}
