//! DISKS FOR TESTS: ext4 on a loop device whose power can be cut, and small file systems in memory that fill
//! up.
//!
//! Promises: mounted only in this program's mount namespace, unmounted when dropped; the loop device is
//! removed with the last mount. A cut is the ioctl FS_IOC_SHUTDOWN with NOLOGFLUSH: whatever was not synced
//! is lost, as in a power failure.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Asks the kernel to shut a file system down: 0x8004587d is FS_IOC_SHUTDOWN, 2 is NOLOGFLUSH.
const CUTTER: &str = r#"$| = 1; open(my $f, "<", $ARGV[0]) or die "$!"; print "ready\n"; <STDIN>;
my $how = pack("L", 2); ioctl($f, 0x8004587d, $how) or die "$!"; print "cut\n";"#;

fn succeed(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A mounted file system.
pub struct Volume {
    directory: PathBuf,
    /// The loop device's file; `None` for a file system in memory.
    image: Option<PathBuf>,
    mounted: bool,
}

impl Volume {
    /// A fresh ext4 in a file in `directory`, mounted next to it.
    pub fn ext4(directory: &Path) -> Volume {
        let image = directory.join("disk.img");
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        succeed("mkfs.ext4", &["-q", "-F", &image.display().to_string()]);
        let mut volume = Volume { directory: directory.join("disk"), image: Some(image), mounted: false };
        fs::create_dir(&volume.directory).unwrap();
        volume.mount();
        volume
    }

    /// A file system in memory.
    pub fn memory(directory: &Path, kibibytes: u32) -> Volume {
        let volume = Volume { directory: directory.join("disk"), image: None, mounted: true };
        fs::create_dir(&volume.directory).unwrap();
        let size = format!("size={kibibytes}k");
        succeed("mount", &["-t", "tmpfs", "-o", &size, "none", &volume.directory.display().to_string()]);
        volume
    }

    /// The path of a file on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn mount(&mut self) {
        let image = self.image.as_ref().unwrap().display().to_string();
        succeed("mount", &["-o", "loop", &image, &self.directory.display().to_string()]);
        self.mounted = true;
    }

    pub fn unmount(&mut self) {
        succeed("umount", &[&self.directory.display().to_string()]);
        self.mounted = false;
    }

    /// Remounts it with other options.
    pub fn remount(&self, options: &str) {
        succeed("mount", &["-o", &format!("remount,{options}"), &self.directory.display().to_string()]);
    }

    /// Prepares a cut, so that the cut itself takes no time.
    pub fn cutter(&self) -> Cutter {
        let mut child = Command::new("perl")
            .args(["-e", CUTTER])
            .arg(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("perl: {error}"));
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut cutter = Cutter { child, stdin, stdout };
        cutter.expect("ready");
        cutter
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily, so that a process with an open file there does not keep it mounted.
            let _ = Command::new("umount").arg("--lazy").arg(&self.directory).status();
        }
    }
}

/// A prepared cut.
pub struct Cutter {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Cutter {
    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word, "the file system cannot be cut off");
    }

    /// Cuts the power; once this returns, the disk can no longer be read or written.
    pub fn cut(mut self) {
        self.stdin.write_all(b"\n").unwrap();
        self.expect("cut");
        assert!(self.child.wait().unwrap().success());
    }
}
