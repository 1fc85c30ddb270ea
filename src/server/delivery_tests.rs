//! Tests of a connection's state, step by step, and of the gate over a scripted stream.

use super::*;
use crate::server::gate::{Gate, Kernel};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The kernel's answer to each read and write in turn.
enum Says {
    Data(&'static [u8]),
    End,
    Fails(io::ErrorKind),
    Takes(usize),
    Wait,
}

#[derive(Default)]
struct Script {
    reads: VecDeque<Says>,
    writes: VecDeque<Says>,
    written: usize,
    more: bool,
}

impl Kernel for Script {
    fn go_deaf(&self) {}
    fn has_more(&self) -> bool {
        self.more
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.reads.pop_front().unwrap_or(Says::Wait) {
            Says::Data(data) => buf.put_slice(data),
            Says::End => {}
            Says::Fails(kind) => return Poll::Ready(Err(kind.into())),
            Says::Takes(_) | Says::Wait => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.writes.pop_front().unwrap_or(Says::Wait) {
            Says::Takes(n) => {
                self.written += n;
                Poll::Ready(Ok(n))
            }
            Says::Fails(kind) => Poll::Ready(Err(kind.into())),
            _ => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A connection whose request has been answered, over a scripted stream.
struct Scene {
    delivery: Arc<Delivery>,
    gate: Gate<Script>,
    undone: Arc<AtomicUsize>,
}

impl Scene {
    fn answered(script: Script) -> Scene {
        let scene = Scene::handling(script);
        scene.answer();
        scene
    }

    fn handling(script: Script) -> Scene {
        let delivery = Arc::new(Delivery::new());
        delivery.received();
        delivery.request();
        delivery.whole();
        let gate = Gate::new(script, delivery.clone());
        Scene { delivery, gate, undone: Arc::default() }
    }

    fn answer(&self) -> bool {
        let undone = self.undone.clone();
        let undo = move || {
            undone.fetch_add(1, Ordering::SeqCst);
        };
        self.delivery.answered(Some(Box::new(undo)), false)
    }

    fn undone(&self) -> usize {
        self.undone.load(Ordering::SeqCst)
    }

    /// Reads as the HTTP library does; `Some(0)` is an end.
    fn read(&mut self) -> Option<Result<usize, io::ErrorKind>> {
        let mut space = [0; 64];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut self.gate).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Ready(Ok(())) => Some(Ok(buf.filled().len())),
            Poll::Ready(Err(error)) => Some(Err(error.kind())),
            Poll::Pending => None,
        }
    }

    /// Writes ten bytes, counting below the gate as the real streams do.
    fn write(&mut self) -> Option<Result<usize, io::ErrorKind>> {
        let result = Pin::new(&mut self.gate).poll_write(&mut Context::from_waker(Waker::noop()), &[0; 10]);
        match result {
            Poll::Ready(Ok(n)) => {
                self.delivery.wrote();
                Some(Ok(n))
            }
            Poll::Ready(Err(error)) => Some(Err(error.kind())),
            Poll::Pending => None,
        }
    }

    fn flush(&mut self) {
        let _ = Pin::new(&mut self.gate).poll_flush(&mut Context::from_waker(Waker::noop()));
    }
}

fn script(reads: impl Into<VecDeque<Says>>, writes: impl Into<VecDeque<Says>>) -> Script {
    Script { reads: reads.into(), writes: writes.into(), ..Script::default() }
}

#[test]
fn undo_on_a_reset_seen_by_a_read_before_the_first_byte() {
    let mut scene = Scene::answered(script([Says::Fails(io::ErrorKind::ConnectionReset)], [Says::Takes(10)]));
    assert_eq!(scene.read(), Some(Err(io::ErrorKind::ConnectionReset)));
    assert_eq!(scene.undone(), 1);
    // Even if the library ignores that error and writes: no byte of a withdrawn answer is sent.
    assert_eq!(scene.write(), Some(Err(io::ErrorKind::BrokenPipe)));
    assert_eq!(scene.gate.into_inner().written, 0);
}

#[test]
fn undo_on_an_end_of_file_before_the_first_byte() {
    let mut scene = Scene::answered(script([Says::End], []));
    assert_eq!(scene.read(), Some(Ok(0)));
    assert_eq!(scene.undone(), 1);
}

#[test]
fn undo_on_a_broken_pipe_at_the_first_write() {
    let mut scene = Scene::answered(script([], [Says::Fails(io::ErrorKind::BrokenPipe), Says::Takes(10)]));
    assert_eq!(scene.write(), Some(Err(io::ErrorKind::BrokenPipe)));
    assert_eq!(scene.undone(), 1);
    assert_eq!(scene.write(), Some(Err(io::ErrorKind::BrokenPipe)));
    assert_eq!(scene.gate.into_inner().written, 0);
}

#[test]
fn undo_never_after_one_byte() {
    let ends = || [Says::Fails(io::ErrorKind::ConnectionReset)];
    let writes = [Says::Takes(1), Says::Fails(io::ErrorKind::BrokenPipe)];
    let mut scene = Scene::answered(script(ends(), writes));
    assert_eq!(scene.write(), Some(Ok(1)));
    assert_eq!(scene.write(), Some(Err(io::ErrorKind::BrokenPipe)));
    assert_eq!(scene.read(), Some(Err(io::ErrorKind::ConnectionReset)));
    let undone = scene.undone.clone();
    drop(scene);
    assert_eq!(undone.load(Ordering::SeqCst), 0);
}

#[test]
fn undo_when_the_connection_is_dropped_with_its_answer_unwritten() {
    let mut scene = Scene::answered(script([], []));
    assert_eq!(scene.write(), None);
    let undone = scene.undone.clone();
    drop(scene);
    assert_eq!(undone.load(Ordering::SeqCst), 1);
}

#[test]
fn undo_at_once_when_the_answer_comes_after_the_client_has_gone() {
    let mut scene = Scene::handling(script([Says::End], []));
    assert_eq!(scene.read(), Some(Ok(0)));
    scene.answer();
    assert_eq!(scene.undone(), 1);
    drop(scene.gate);
    drop(scene.delivery);
    assert_eq!(scene.undone.load(Ordering::SeqCst), 1, "once only");
}

#[test]
fn undo_of_the_second_answer_leaves_the_first_alone() {
    let mut scene = Scene::answered(script([Says::End], [Says::Takes(10)]));
    scene.write();
    scene.flush();
    scene.delivery.received();
    scene.delivery.request();
    scene.delivery.whole();
    scene.answer();
    scene.read();
    assert_eq!(scene.undone(), 1);
}

#[test]
fn an_end_is_held_back_once_until_the_handler_has_the_request() {
    let delivery = Delivery::new();
    delivery.received();
    delivery.request();
    assert_eq!(delivery.ended(), Ending::HoldBack);
    assert_eq!(delivery.ended(), Ending::Tell, "a truncated body is not waited for");
    let delivery = Delivery::new();
    delivery.received();
    delivery.request();
    assert_eq!(delivery.ended(), Ending::HoldBack);
    delivery.whole();
    assert_eq!(delivery.ended(), Ending::Tell);
}

#[test]
fn bytes_outside_an_answer_are_held_back() {
    let delivery = Delivery::new();
    assert_eq!(delivery.outlet(), Outlet::Unasked);
    delivery.received();
    assert_eq!(delivery.outlet(), Outlet::Unasked);
    delivery.request();
    assert_eq!(delivery.outlet(), Outlet::Open, "100 Continue");
    delivery.whole();
    delivery.answered(None, false);
    delivery.wrote();
    assert_eq!(delivery.outlet(), Outlet::Open);
    assert!(!delivery.flushed());
    assert_eq!(delivery.outlet(), Outlet::Unasked);
}

#[test]
fn an_idle_connection_is_closed_only_when_the_kernel_has_no_unread_bytes() {
    let mut scene = Scene::answered(script([], [Says::Takes(10)]));
    scene.write();
    scene.flush();
    assert_eq!(scene.read(), None);
    scene.delivery.retire();
    let mut held = scene.gate.into_inner();
    held.more = true;
    scene.gate = Gate::new(held, scene.delivery.clone());
    assert_eq!(scene.read(), None, "a request has arrived that the runtime has not seen yet");
    let mut held = scene.gate.into_inner();
    held.more = false;
    held.reads.push_back(Says::Data(b"POST"));
    scene.gate = Gate::new(held, scene.delivery.clone());
    assert_eq!(scene.read(), Some(Ok(4)));
    scene.delivery.request();
    scene.delivery.whole();
    // We caused the end that follows ourselves, so the last answer is still given.
    let mut held = scene.gate.into_inner();
    held.reads.extend([Says::End, Says::End]);
    held.writes.push_back(Says::Takes(10));
    scene.gate = Gate::new(held, scene.delivery.clone());
    assert_eq!(scene.read(), None);
    assert!(scene.answer(), "this answer says Connection: close");
    assert_eq!(scene.write(), Some(Ok(10)));
    scene.flush();
    assert_eq!(scene.read(), Some(Ok(0)));
    assert_eq!(scene.undone(), 0);
}

#[tokio::test]
async fn each_phase_has_its_own_time_limit() {
    let limits = Limits {
        head: Duration::from_secs(1),
        answer: Duration::from_secs(2),
        idle: Duration::from_secs(3),
        ..Limits::default()
    };
    let over =
        Limits { head: Duration::ZERO, answer: Duration::ZERO, idle: Duration::ZERO, ..limits.clone() };
    let waits = |delivery: &Delivery, seconds: u64| {
        let Overdue::LookAgain(then) = delivery.overdue(&limits) else { panic!("not yet") };
        let left = then - Instant::now();
        assert!(left <= Duration::from_secs(seconds) && left > Duration::from_secs(seconds - 1), "{left:?}");
    };
    let delivery = Delivery::new();
    waits(&delivery, 3);
    assert_eq!(delivery.overdue(&over), Overdue::Retire);
    delivery.received();
    waits(&delivery, 1);
    assert!(delivery.take_alarm() && !delivery.take_alarm());
    assert_eq!(delivery.overdue(&over), Overdue::Refuse(DoorRefusal::late("head", Duration::ZERO)));
    delivery.request();
    delivery.whole();
    assert!(!delivery.take_alarm());
    assert!(matches!(delivery.overdue(&over), Overdue::LookAgain(_)), "a handler may take its time");
    delivery.answered(None, false);
    waits(&delivery, 2);
    assert_eq!(delivery.overdue(&over), Overdue::Drop);
}
