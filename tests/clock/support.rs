//! A pool with room for one subnet, so that the second request has to wait, and a stopwatch.

use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, House};
use crate::http::Wire;
use crate::timeshift::TimeShift;

/// No subnet is given again when it was released less than this ago.
pub const YOUTH: Duration = Duration::from_secs(5);
/// Everybody who waits is answered well before: "within seconds".
pub const SOON: Duration = Duration::from_secs(12);

/// A house with one subnet to give, and the hands of its clock.
pub fn one_subnet() -> (House, TimeShift) {
    let mut house = House::new(&["-v4", "198.18.0.0/24"]);
    let clock = TimeShift::of(&mut house);
    (house, clock)
}

/// The one subnet is granted and released; when that began.
pub fn released(daemon: &Daemon) -> Instant {
    let mut wire = daemon.wire();
    let (id, _) = wire.subnet(false);
    let now = Instant::now();
    wire.release_pool(&id);
    now
}

/// Asks for the subnet from a thread of its own; how long after `since` it was answered. Comes back when the daemon has the
/// request.
pub fn asked(daemon: &Daemon, since: Instant) -> JoinHandle<Duration> {
    let (socket, (sent, begun)) = (daemon.socket.clone(), channel());
    let asking = std::thread::spawn(move || {
        let mut wire = Wire::unix(&socket);
        let body = r#"{"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": {}, "V6": false}"#;
        wire.send(&Wire::request(wire.host, "IpamDriver.RequestPool", body.as_bytes())).unwrap();
        sent.send(()).unwrap();
        wire.answer().unwrap_or_else(|error| panic!("RequestPool hangs: {error}")).ok();
        since.elapsed()
    });
    begun.recv().unwrap();
    // What others ask afterwards is answered.
    for _ in 0..2 {
        daemon.wire().release_pool("local/198.51.100.0/24#0123456789abcdef");
    }
    asking
}

/// The answer comes when the subnet is 5 s old, and soon then.
pub fn assert_in_time(answered: JoinHandle<Duration>) {
    let age = answered.join().expect("RequestPool was answered");
    // The plan's time is whole milliseconds.
    assert!(age + Duration::from_millis(1) >= YOUTH, "a subnet was given again {age:?} after its release");
    assert!(age < SOON, "RequestPool waited until {age:?} after the release");
}

/// Milliseconds since 1970, of the test's own clock.
pub fn now() -> i64 {
    let now: jiff::Timestamp = jiff::Timestamp::now();
    now.as_millisecond()
}
