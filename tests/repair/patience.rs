//! An Engine that does not answer: not asked for ever, and asked again when somebody comes to a door.

use std::os::unix::net::UnixListener;

use super::*;

#[tokio::test(start_paused = true)]
async fn without_an_engine_nothing_wakes_up_by_itself_until_somebody_comes() {
    clock!(CLOCK, now);
    let directory = tempfile::tempdir().unwrap();
    let books = directory.path().join("books.db");
    let (ledger, _thread) =
        ledger::start(Plan::new(pool()), Books::open(&books).unwrap(), Box::new(now), |_| {}).unwrap();
    let socket = directory.path().join("engine.sock");
    let settings = reconcile::Settings { engine: Some(socket.clone()), grace: GRACE, only_engine: false };
    let (handle, task) = Reconciler::new(settings, vec!["gipam".to_owned()], ledger.clone(), books, now);
    let task = tokio::spawn(task.unwrap().run());
    // The paused clock jumps from timer to timer.
    tokio::time::sleep(Duration::from_secs(900)).await;
    let engine = UnixListener::bind(&socket).unwrap();
    engine.set_nonblocking(true).unwrap();
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert!(engine.accept().is_err(), "nobody asked for a day, although the Engine is back");
    tokio::time::resume();
    handle.asked().notify_one();
    let engine = tokio::net::UnixListener::from_std(engine).unwrap();
    let came = tokio::time::timeout(Duration::from_secs(20), engine.accept()).await;
    assert!(came.is_ok(), "somebody came to a door, and the Engine is asked");
    task.abort();
    ledger.stop();
}
