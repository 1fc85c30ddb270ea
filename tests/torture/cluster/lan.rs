//! THE LAN OF THE CLUSTER: a bridge and machines that are linked to it, each in a network namespace of its own, and what breaks
//! between them.
//!
//! Promises: no namespace outlives the test, because its holder ends when its standard input is closed; machine N has the address
//! 192.0.2.N on `lan0`, and the bridge has 192.0.2.1; rules of a fault concern `lan0` only, and `heal` removes all of them.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Keeps a network namespace.
pub struct Holder(Child);

impl Holder {
    /// A new namespace, prepared by this script of a shell, which prints nothing.
    pub fn new(script: &str) -> Holder {
        let ready = format!("ip link set lo up\n{script}\necho ready\nexec cat");
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-euc", &ready])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("unshare: {error}"));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "a network namespace could not be prepared");
        Holder(child)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path()));
        // If the test is killed, its programs end with it.
        command.args(["setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// Works in the namespace, on a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run(&self, script: &str) {
        let output = self.command("sh").args(["-euc", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The bridge.
pub struct Lan(Holder);

impl Lan {
    pub fn new() -> Lan {
        Lan(Holder::new("ip link add lan type bridge; ip link set lan up; ip addr add 192.0.2.1/24 dev lan"))
    }

    /// A program that can reach every machine, whatever is broken for them.
    pub fn command(&self, program: &str) -> Command {
        self.0.command(program)
    }

    /// Works in the bridge's namespace, on a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.inside(work)
    }

    /// A machine on this LAN.
    pub fn machine(&self, number: u8) -> Machine {
        let holder = Holder::new(":");
        self.0.run(&format!(
            "ip link add port{number} type veth peer name lan0 netns {}
             ip link set port{number} master lan up",
            holder.0.id()
        ));
        holder.run(&format!("ip link set lan0 up; ip addr add 192.0.2.{number}/24 dev lan0"));
        Machine { holder, number }
    }
}

/// What happens to packets of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing leaves or arrives.
    All,
    /// What it sends arrives, and nothing reaches it.
    Incoming,
    /// It hears everything, and what it sends gets lost.
    Outgoing,
    /// A quarter of what reaches it gets lost.
    Quarter,
    /// Nothing arrives from the machine with this number, or leaves for it.
    With(u8),
}

/// A machine.
pub struct Machine {
    holder: Holder,
    pub number: u8,
}

impl Machine {
    pub fn address(&self) -> String {
        format!("192.0.2.{}", self.number)
    }

    /// A program on this machine.
    pub fn command(&self, program: &str) -> Command {
        self.holder.command(program)
    }

    /// Breaks its link to the LAN.
    pub fn lose(&self, loss: Loss) {
        let (none, all) = (String::new(), "counter drop".to_owned());
        let (incoming, outgoing) = match loss {
            Loss::All => (all.clone(), all),
            Loss::Incoming => (all, none),
            Loss::Outgoing => (none, all),
            Loss::Quarter => ("numgen random mod 100 < 25 counter drop".to_owned(), none),
            Loss::With(other) => {
                let other = format!("192.0.2.{other}");
                (format!("ip saddr {other} counter drop"), format!("ip daddr {other} counter drop"))
            }
        };
        let rule = |hook: &str, side: &str, what: &str| match what {
            "" => String::new(),
            what => {
                format!("chain {hook} {{ type filter hook {hook} priority 0; {side} \"lan0\" {what}; }}\n")
            }
        };
        let rules = format!(
            "table inet faults {{\n{}{}}}\n",
            rule("input", "iifname", &incoming),
            rule("output", "oifname", &outgoing)
        );
        let mut nft = self.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{rules}");
    }

    /// Repairs its link; returns how many packets were lost.
    pub fn heal(&self) -> u64 {
        let listed = self.command("nft").args(["list", "ruleset"]).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let lost =
            words.windows(2).filter(|pair| pair[0] == "packets").map(|pair| pair[1].parse::<u64>().unwrap());
        if text.contains("table inet faults") {
            self.holder.run("nft delete table inet faults");
        }
        lost.sum()
    }
}
