//! THE MACHINE of a run: processor, cores, kernel, file system and commit.
//!
//! Promises: does not record the machine's name, addresses or paths.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// What a reader needs to compare results.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Model name of the first processor.
    pub processor: String,
    /// Number of cores that the process may use.
    pub cores: usize,
    /// Memory in GiB.
    pub memory: u64,
    /// Version numbers only.
    pub kernel: String,
    /// Type of the file system that held the books.
    pub file_system: String,
    /// The short hash of the commit.
    pub commit: String,
}

impl Machine {
    /// Describes this machine; the books are in `directory`.
    pub fn look(directory: &Path) -> io::Result<Self> {
        let value = |file: &str, key: &str| -> Option<String> {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let kilobytes = value("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kilobytes: u64 = kilobytes.trim_end_matches(" kB").parse().unwrap_or(0);
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let kernel = release.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        Ok(Self {
            processor: value("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            memory: (kilobytes + (1 << 19)) >> 20,
            kernel: kernel.to_owned(),
            file_system: file_system(directory)?,
            commit: commit(),
        })
    }
}

/// The type of the file system under a directory.
pub fn file_system(directory: &Path) -> io::Result<String> {
    let device = fs::metadata(directory)?.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&number));
    let kind = line.and_then(|line| line.split(" - ").nth(1)?.split(' ').next());
    Ok(kind.unwrap_or("unknown").to_owned())
}

/// The current commit. Pages that the run itself writes do not count as changes.
fn commit() -> String {
    let git = |arguments: &[&str]| -> Option<String> {
        let output = Command::new("git").args(arguments).output().ok().filter(|it| it.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=10", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!README.md"]);
    if changed.is_some_and(|text| text.is_empty()) { hash } else { format!("{hash}, with changes") }
}
