//! Scenarios in a network namespace: this program runs again there, with one scenario, its browser and its daemons.
//!
//! Promises: the namespace, with everything in it, ends with the scenario; the network of this machine stays as it is.

use std::io::Read;
use std::process::{Command, Stdio};

use super::stage::{End, unavailable};

const INSIDE: &str = "GIPAM_TEST_INSIDE_NAMESPACE";

/// Whether this program already runs in a namespace of its own.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the scenario with this name in namespaces of its own: `eth7` of the host is linked to another machine, `beyond`.
pub fn play(name: &str) -> End {
    let script = "set -e
mount -t tmpfs none /run
ip link set lo up
ip link add eth7 type veth peer name peer7
ip link set eth7 up
ip address add 192.0.2.11/24 dev eth7
ip netns add beyond
ip link set peer7 netns beyond
ip -n beyond link set peer7 address 02:00:00:00:00:77
ip -n beyond link set peer7 up
ip -n beyond address add 192.0.2.2/24 dev peer7
ip -n beyond address add 192.0.2.3/24 dev peer7
exec \"$0\" --exact \"$1\"";
    let mut unshare = Command::new("unshare");
    // A killed test must not leave daemons and browsers behind.
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]);
    unshare.arg(std::env::current_exe().unwrap()).arg(name).env(INSIDE, "1");
    let started = unshare.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return unavailable("in a namespace", &error.to_string()),
    };
    let mut errors = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = errors.read_to_end(&mut text);
        text
    });
    let mut text = Vec::new();
    let _ = child.stdout.take().unwrap().read_to_end(&mut text);
    text.extend(errors.join().unwrap_or_default());
    let good = child.wait().is_ok_and(|status| status.success());
    let text = String::from_utf8_lossy(&text).into_owned();
    match good {
        true if text.contains("1 passed, 0 failed") => End::Passed,
        true => End::Skipped(text),
        false if text.contains("FAILED") => {
            let why = text.lines().find(|line| line.starts_with("FAILED")).unwrap_or_default().to_owned();
            End::Failed(why, text)
        }
        false => unavailable("in a namespace", &text),
    }
}

/// Runs ip with these words.
pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
}
