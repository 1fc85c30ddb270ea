//! THE KERNEL AND THE BOOKS: everything that gipam keeps in the kernel of a host comes, changes and goes, and the daemon is killed just
//! before each request that its thread `edge` sends to the kernel.
//!
//! Promises: covers every such request of a recorded change, from the first object to the orderly end; then a start without faults. What is
//! in the kernel is compared with what the books want as a whole: an object too many, too few or different fails the row, and so
//! does an object of another program that is not there as before. Packets are tested in `tests/edge`.

mod ground;
mod wanted;

use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use self::ground::{Ground, Monitor, Snapshot};
use self::wanted::{Stage, Tables, look, moving, wanted};
use crate::Counts;
use crate::daemon::{Daemon, House, PATIENCE, until};
use crate::http::Wire;
use crate::trace;

/// How many hosts there are at the same time; each spends most of its time waiting.
const WORKERS: usize = 4;
/// A start that repairs sends about as many requests; the second kill comes before one of them.
const REPAIR: u64 = 40;

/// The prefixes that the files have, one after the other: the base of a pool, and the outer prefix of another one.
const PREFIXES: [(&str, &str); 2] =
    [("2001:db8:a1::/56", "2001:db8:e1::"), ("2001:db8:b2::/56", "2001:db8:f2::")];

/// The plan of three hosts, before and after.
const PLANS: [[&str; 3]; 2] = [
    ["\"10.9.0.0/20\"", "\"10.9.16.0/20\", \"10.9.32.0/20\"", "\"10.9.48.0/20\""],
    ["\"10.9.0.0/20\", \"10.9.64.0/20\"", "\"10.9.48.0/20\", \"10.9.32.0/20\"", "\"10.9.16.0/20\""],
];

/// How many parts the change has. Requests are counted in each of them, as a part may send some more or less in another run.
const PARTS: usize = 6;

/// A daemon in its namespace.
struct Life<'a> {
    tables: &'a Tables,
    before: Snapshot,
    house: House,
    daemon: Daemon,
    stage: Stage,
    /// Which of [`PREFIXES`] the files have.
    prefix: usize,
    /// Objects that were compared.
    compared: u64,
}

impl<'a> Life<'a> {
    /// A daemon that keeps nothing in the kernel yet.
    fn new(tables: &'a Tables) -> Life<'a> {
        let before = Snapshot::take();
        let house = House::with_toml("");
        write_plan(&house, 0);
        write_prefixes(&house, 0);
        Stage::Nothing.configure(&house);
        let daemon = house.start();
        let mut life = Life { tables, before, house, daemon, stage: Stage::Nothing, prefix: 0, compared: 0 };
        life.follows().unwrap();
        life.agrees().unwrap();
        life
    }

    /// Waits until the pool has the prefix of the file. As with all waits here, `None` says that the daemon has ended.
    fn follows(&mut self) -> Option<()> {
        let base = PREFIXES[self.prefix].0;
        self.until("the pool follows the file", |life| {
            Some((moving(&life.daemon)?.as_deref() == Some(base)).then_some(()))
        })
    }

    /// Waits until the kernel has what the books want, and what others have made.
    fn agrees(&mut self) -> Option<()> {
        let count = self.until("the kernel has what the books want", |life| {
            let wanted = wanted(&life.daemon, life.stage)?;
            let now = life.snapshot();
            let (base, outer) = PREFIXES[life.prefix];
            let is_right =
                now.own(&life.before) == wanted && life.tables.is_right(life.stage, outer, base, &now.table);
            Some(is_right.then_some(wanted.len() + usize::from(!now.table.is_empty())))
        })?;
        self.compared += count as u64;
        Some(())
    }

    /// What is in the kernel, which includes everything of others.
    fn snapshot(&self) -> Snapshot {
        let now = Snapshot::take();
        assert_eq!(now.lost(&self.before), [""; 0], "objects of others: {}", self.house.log());
        now
    }

    /// Waits until `condition` returns something, or the daemon has ended.
    fn until<T>(&mut self, what: &str, condition: impl Fn(&Life<'_>) -> Option<Option<T>>) -> Option<T> {
        let begun = Instant::now();
        loop {
            if self.daemon.child.try_wait().unwrap().is_some() {
                return None;
            }
            match condition(self) {
                // The daemon did not answer, so it ends.
                None => drop(self.daemon.wait()),
                Some(Some(found)) => return Some(found),
                Some(None) => {}
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {}", self.described());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is wrong, for a person.
    fn described(&self) -> String {
        let now = Snapshot::take();
        let (own, wanted) = (now.own(&self.before), wanted(&self.daemon, self.stage).unwrap_or_default());
        let surplus: Vec<&String> = own.difference(&wanted).collect();
        let lacking: Vec<&String> = wanted.difference(&own).collect();
        let (table, log) = (&now.table, self.house.log());
        format!(
            "{:?}, prefixes {}: too many {surplus:?}, too few {lacking:?}\n{table}\n{log}",
            self.stage, self.prefix
        )
    }

    /// A call of Docker; `None` if the daemon has ended.
    fn call(&self, method: &str, body: Value) -> Option<Value> {
        let answer = Wire::try_unix(&self.daemon.socket)?
            .try_call(&format!("IpamDriver.{method}"), body.to_string())?;
        assert_eq!(answer.status, 200, "{method} {body}: {}", answer.text());
        serde_json::from_slice(&answer.body).ok()
    }

    /// A new network of this pool with this many containers; the first one leaves again.
    fn network(&self, pool: &str, v6: bool, containers: usize) -> Option<()> {
        let options = json!({"pool": pool});
        let body = json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": options, "V6": v6});
        let id = self.call("RequestPool", body)?["PoolID"].clone();
        let gateway = json!({"RequestAddressType": "com.docker.network.gateway"});
        self.call("RequestAddress", json!({"PoolID": id, "Address": "", "Options": gateway}))?;
        let mut given = Vec::new();
        for _ in 0..containers {
            let body = json!({"PoolID": id, "Address": "", "Options": {}});
            given.push(self.call("RequestAddress", body)?["Address"].as_str().unwrap().to_owned());
        }
        let first = given[0].split('/').next().unwrap();
        self.call("ReleaseAddress", json!({"PoolID": id, "Address": first})).map(drop)
    }

    /// Configures this stage, and lets the daemon read it.
    fn reload(&mut self, stage: Stage) -> Option<()> {
        self.stage = stage;
        stage.configure(&self.house);
        let output = self.house.gipam(&["reload"]);
        let refused = !output.status.success();
        if refused || self.daemon.child.try_wait().unwrap().is_some() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains("not reloaded") && !said.contains("gipam.toml"), "{said}");
            self.daemon.wait();
            return None;
        }
        self.agrees()
    }

    /// The whole change, from nothing to nothing, with this fault; returns how many requests each part sent, if it was not killed.
    fn change(&mut self, kill: Option<Kill>) -> Option<Vec<u64>> {
        let parts: [fn(&mut Self) -> Option<()>; PARTS] =
            [Self::all, Self::leases, Self::prefixes, Self::plan, Self::less, Self::end];
        let mut sent = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let inject = kill.filter(|kill| kill.part == number);
            let inject = inject.map(|kill| format!("inject=sendto:signal=SIGKILL:when={}", kill.request));
            let words = [Some("trace=sendto"), inject.as_deref()].into_iter().flatten();
            let words: Vec<&str> = words.flat_map(|word| ["-e", word]).collect();
            let is_traced = kill.is_none() || inject.is_some();
            let tracer =
                is_traced.then(|| trace::attach_to_thread(&self.house, &self.daemon, "edge", &words));
            part(self)?;
            sent.push(tracer.map_or(0, |tracer| tracer.stop(&self.house, "sendto")));
        }
        Some(sent)
    }

    /// Every kind of object comes.
    fn all(&mut self) -> Option<()> {
        self.reload(Stage::All)
    }

    fn leases(&mut self) -> Option<()> {
        self.network("link", true, 3)?;
        self.network("link", false, 2)?;
        self.network("moving", true, 2)?;
        self.agrees()
    }

    fn prefixes(&mut self) -> Option<()> {
        self.prefix = 1;
        write_prefixes(&self.house, 1);
        self.follows()?;
        self.agrees()?;
        self.network("moving", true, 2)?;
        self.agrees()
    }

    fn plan(&mut self) -> Option<()> {
        write_plan(&self.house, 1);
        self.reload(Stage::All)
    }

    /// Options go, and a whole pool.
    fn less(&mut self) -> Option<()> {
        self.reload(Stage::Less)
    }

    fn end(&mut self) -> Option<()> {
        self.daemon.signal(Signal::TERM);
        self.daemon.wait().success().then_some(())
    }

    /// An orderly end leaves what others have made, and nothing else.
    fn ends(&mut self) {
        if self.daemon.child.try_wait().unwrap().is_none() {
            self.daemon.signal(Signal::TERM);
        }
        assert!(self.daemon.wait().success(), "{}", self.house.log());
        let now = self.snapshot();
        assert_eq!((now.own(&self.before), &*now.table), (Default::default(), ""), "{}", self.house.log());
    }
}

fn write_plan(house: &House, number: usize) {
    let [a, b, c] = PLANS[number];
    let mut text = "[[pool]]\nbase = \"10.9.0.0/16\"\nslice = 20\n".to_owned();
    for (name, last, slices) in [("a", 11, a), ("b", 12, b), ("c", 13, c)] {
        text += &format!("[[host]]\nname = {name:?}\nvia = [\"192.0.2.{last}\"]\nslices = [{slices}]\n");
    }
    fs::write(house.path("plan.toml"), text).unwrap();
}

/// Writes the files as a DHCP client's hook does: under another name, then renamed.
fn write_prefixes(house: &House, number: usize) {
    let (base, outer) = PREFIXES[number];
    for (name, text) in [("outer", format!("{outer}/56\n")), ("base", format!("{base}\n"))] {
        fs::write(house.path("new"), text).unwrap();
        fs::rename(house.path("new"), house.path(name)).unwrap();
    }
}

/// When the daemon is killed: before this request, the first being 1, of this part.
#[derive(Clone, Copy, Debug)]
struct Kill {
    part: usize,
    request: u64,
}

/// What one run did.
#[derive(Debug, Default)]
struct Run {
    kills: u64,
    /// Kills of the start that repairs.
    repairs: u64,
    /// Requests to the kernel in each part, if the daemon was not killed.
    sent: Vec<u64>,
    compared: u64,
    foreign: u64,
    /// Changes of routes that the kernel has reported.
    reported: u64,
}

/// Runs the change in a namespace of its own; with `twice`, the start after the kill is killed, too.
fn run(tables: &Tables, kill: Option<Kill>, twice: bool) -> Run {
    Ground::new().inside(|| {
        let mut life = Life::new(tables);
        let monitor = Monitor::start(life.house.directory.path());
        let mut run = Run::default();
        match life.change(kill) {
            Some(sent) => run.sent = sent,
            None => {
                assert_eq!(life.daemon.wait().code(), None, "{kill:?}: {}", life.house.log());
                run.kills = 1;
                life.snapshot();
                if twice {
                    run.repairs = again(&mut life, 1 + kill.map_or(0, |kill| kill.request) % REPAIR);
                }
                life.daemon = life.house.start();
                life.follows().unwrap();
                life.agrees().unwrap();
            }
        }
        life.ends();
        let (touched, reported) = monitor.touched(&life.before);
        assert_eq!(touched, [""; 0], "{kill:?}: routes of others");
        (run.compared, run.foreign, run.reported) =
            (life.compared, life.before.count() as u64, reported as u64);
        run
    })
}

/// Starts the daemon and kills it just before a request of any of its threads, if it comes to that; returns the number of kills.
fn again(life: &mut Life<'_>, n: u64) -> u64 {
    let inject = format!("inject=sendto:signal=SIGKILL:when={n}");
    life.daemon = trace::spawn(&life.house, &["-e", "trace=sendto", "-e", &inject]);
    let is_up = until("the daemon serves or ends", || match life.daemon.child.try_wait().unwrap() {
        Some(_) => Some(false),
        None => look(&life.daemon, "/v1/status").map(|_| true),
    });
    if !is_up || life.follows().is_none() || life.agrees().is_none() {
        assert_eq!(life.daemon.wait().code(), None, "{}", life.house.log());
        life.snapshot();
        return 1;
    }
    life.daemon.child.kill().unwrap();
    life.daemon.wait();
    1
}

/// The next kill, and the parts in which all requests had one.
struct Sweep {
    /// For each part the next request.
    next: [u64; PARTS],
    is_over: [bool; PARTS],
}

impl Sweep {
    /// The next kill in a part that is not over.
    fn next(&mut self) -> Option<Kill> {
        let part = self.is_over.iter().position(|is_over| !is_over)?;
        let request = self.next[part];
        self.next[part] += 1;
        Some(Kill { part, request })
    }
}

/// Kills the daemon before each request.
pub fn run_all(long: bool) -> Counts {
    let tables = Tables::default();
    // This run also shows what the tables are to be.
    let recorded = run(&tables, None, false);
    let sent = &recorded.sent;
    assert!(sent.iter().all(|sent| *sent > 0) && sent.iter().sum::<u64>() > 50, "{sent:?}");
    // The short run has one kill in the middle of each part.
    let first: Vec<u64> = sent.iter().map(|sent| if long { 1 } else { sent.div_ceil(2) }).collect();
    let sweep = Mutex::new(Sweep { next: first.try_into().unwrap(), is_over: [false; PARTS] });
    let work = || {
        let mut total = Run::default();
        loop {
            let Some(kill) = sweep.lock().unwrap().next() else { return total };
            if !long {
                sweep.lock().unwrap().is_over[kill.part] = true;
            }
            let one = run(&tables, Some(kill), long);
            if one.kills == 0 && kill.request > sent[kill.part] {
                sweep.lock().unwrap().is_over[kill.part] = true;
            }
            total.add(&one);
        }
    };
    let mut total = Run::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            total.add(&worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    let least = if long { sent.iter().sum::<u64>() * 8 / 10 } else { PARTS as u64 / 2 };
    assert!(total.kills >= least, "{sent:?}, {total:?}");
    let mut counts = vec![
        ("requests to the kernel", sent.iter().sum()),
        ("kills", total.kills),
        ("objects compared", total.compared),
        ("foreign objects compared", total.foreign),
        ("changes of routes reported", total.reported),
        ("!wrong", 0),
        ("!foreign touched", 0),
    ];
    if long {
        counts.insert(2, ("kills of the start that repairs", total.repairs));
    }
    counts
}

impl Run {
    fn add(&mut self, other: &Run) {
        self.kills += other.kills;
        self.repairs += other.repairs;
        self.compared += other.compared;
        self.foreign += other.foreign;
        self.reported += other.reported;
    }
}
