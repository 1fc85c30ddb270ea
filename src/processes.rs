//! Processes of this machine, so that one can be told from a later one of the same number.
//!
//! Promises: looks at `/proc` only; what cannot be read is `None`, never a guess. Start times are ticks since the boot,
//! as field 22 of `/proc/PID/stat` counts them (proc(5)). Knows nothing of Docker.

use std::fs;

/// What this boot of the machine is called; no other boot has the name.
pub fn boot() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let name = text.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// When this process was started; none if there is no such process, or only its remains (a zombie).
pub fn started(pid: i32) -> Option<u64> {
    started_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is the name, in brackets, and may itself contain brackets and spaces.
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
    fn a_process_keeps_its_start_and_the_next_has_another() {
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
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let fields = (4..=30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(started_in(&format!("7 (a) b (c)) S {fields}")), Some(22));
        assert_eq!(started_in(&format!("7 (a) Z {fields}")), None);
        assert_eq!(started_in("7 (a"), None);
    }
}
