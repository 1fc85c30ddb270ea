//! A pool with room for one subnet, so that the second request has to wait, and a stopwatch.

use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, House};
use crate::http::Wire;
use crate::timeshift::TimeShift;

/// A subnet is not given again until this long after its release.
pub const YOUTH: Duration = Duration::from_secs(5);
/// Every waiting request must be answered well before this: "within seconds".
pub const SOON: Duration = Duration::from_secs(12);

/// A house that can give only one subnet, and control over its clock.
pub fn one_subnet() -> (House, TimeShift) {
    let mut house = House::new(&["-v4", "198.18.0.0/24"]);
    let clock = TimeShift::of(&mut house);
    (house, clock)
}

/// Grants and releases the only subnet; returns the time at which the release began.
pub fn released(daemon: &Daemon) -> Instant {
    let mut wire = daemon.wire();
    let (id, _) = wire.subnet(false);
    let now = Instant::now();
    wire.release_pool(&id);
    now
}

/// Requests the subnet from a separate thread, which returns how long after `since` the answer came. Returns
/// as soon as the daemon has the request.
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
    // Other requests are answered meanwhile.
    for _ in 0..2 {
        daemon.wire().release_pool("local/198.51.100.0/24#0123456789abcdef");
    }
    asking
}

/// Checks that the answer comes when the subnet is 5 s old, and soon after that.
pub fn assert_in_time(answered: JoinHandle<Duration>) {
    let age = answered.join().expect("RequestPool was answered");
    // The plan counts time in whole milliseconds.
    assert!(age + Duration::from_millis(1) >= YOUTH, "a subnet was given again {age:?} after its release");
    assert!(age < SOON, "RequestPool waited until {age:?} after the release");
}

/// Milliseconds since 1970, by the test's own clock.
pub fn now() -> i64 {
    let now: jiff::Timestamp = jiff::Timestamp::now();
    now.as_millisecond()
}
