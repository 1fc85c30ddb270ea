//! Identifies processes of this machine, so that a process can be distinguished from a later one with the
//! same id.
//!
//! Promises: reads only `/proc`; what cannot be read is `None`, never a guess. Start times are in clock ticks
//! since booting, from field 22 of `/proc/PID/stat` (proc(5)). Knows nothing about Docker.

use std::fs;
use std::path::Path;

/// The unique id of the current boot of this machine.
pub fn boot() -> Option<String> {
    boot_in(Path::new("/proc/sys/kernel/random/boot_id"))
}

fn boot_in(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let name = text.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// When this process was started; `None` if it does not exist or is a zombie.
pub fn started(pid: i32) -> Option<u64> {
    started_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether a process runs whose name begins with `prefix`; `None` if `/proc` may hide processes. It counts as
/// hiding them if it does not show `witness`, a process of another user or with other rights than this one. A
/// process with an unreadable name counts as found.
pub fn any_named(prefix: &str, witness: i32) -> Option<bool> {
    let (mut seen, mut found) = (false, false);
    for entry in fs::read_dir("/proc").ok()? {
        let name = entry.ok()?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // A process that has just ended does not count.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        seen |= pid == witness;
        found |= started_in(&stat).is_some() && name_in(&stat).is_none_or(|name| name.starts_with(prefix));
    }
    seen.then_some(found)
}

/// The name, from the second field (in parentheses), which the kernel truncates to 15 bytes.
fn name_in(stat: &str) -> Option<&str> {
    let (before, _) = stat.rsplit_once(')')?;
    before.split_once('(').map(|(_, name)| name)
}

/// The start time. The fields after the name are counted from the last parenthesis, as the name may contain
/// parentheses and spaces.
fn started_in(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_start_time_until_it_ends() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(started(own).is_some());
        assert_eq!(started(own), started(own));
        assert!(boot().is_some());
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(started(pid) >= started(own), "a child begins after its parent");
        child.kill().unwrap();
        while started(pid).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(started(pid), None);
    }

    #[test]
    fn a_boot_id_that_cannot_be_read_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("boot_id");
        assert_eq!(boot_in(&file), None, "a systemd unit may hide the file");
        for (text, name) in [("", None), ("\n", None), ("4f\n", Some("4f".to_owned()))] {
            fs::write(&file, text).unwrap();
            assert_eq!(boot_in(&file), name);
        }
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let fields = (4..=30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(started_in(&format!("7 (a) b (c)) S {fields}")), Some(22));
        assert_eq!(name_in(&format!("7 (a) b (c)) S {fields}")), Some("a) b (c)"));
        assert_eq!(started_in(&format!("7 (a) Z {fields}")), None);
        assert_eq!(started_in("7 (a"), None);
    }

    #[test]
    fn a_process_is_found_by_its_name_unless_the_witness_is_hidden() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        assert_eq!(any_named("sleep", own), Some(true));
        assert_eq!(any_named("no-such-name-", own), Some(false));
        assert_eq!(any_named("sleep", -1), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
