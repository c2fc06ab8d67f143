//! A job fits into the program around it: it moves between threads, can be observed and stopped from anywhere, and
//! waited for with a limit (fault F38).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use streamwork::testkit::Collected;
use streamwork::{Guarantee, Job, JobControl, JobHandle, Outcome, SendError, Stream};

use crate::support::wait_until;

fn endless() -> JobHandle {
    let job = Job::new("endless");
    job.from_iter("numbers", || 0_u64..).for_each(|_| ());
    job.start(Guarantee::default()).unwrap()
}

#[test]
fn a_job_is_built_on_one_thread_and_run_on_another() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Job>();
    is_send_and_sync::<Stream<u64>>();
    is_send_and_sync::<JobControl>();
    is_send_and_sync::<JobHandle>();
    let (job, seen) = (Job::new("moved"), Collected::new());
    job.from_iter("numbers", || 0..10_u64).sink("seen", seen.factory());
    let report = std::thread::spawn(move || job.run(Guarantee::default())).join().unwrap().unwrap();
    assert_eq!((report.outcome, seen.len()), (Outcome::Finished, 10));
}

#[test]
fn a_job_is_looked_at_and_stopped_from_other_threads_while_one_waits_for_it() {
    let handle = endless();
    let control = handle.control();
    let stopper = std::thread::spawn(move || {
        let control = control.clone();
        wait_until("it runs", || control.metrics().total(|m| m.emitted) > 0);
        control.stop();
        control
    });
    assert_eq!(handle.wait().unwrap().outcome, Outcome::Stopped);
    let control = stopper.join().unwrap();
    assert!(control.metrics().total(|m| m.emitted) > 0, "what it counted stays");
    assert!(control.checkpoint_now().is_err());
    control.stop();

    let handle = endless();
    handle.control().drain();
    assert_eq!(handle.wait().unwrap().outcome, Outcome::Drained);
}

#[test]
fn a_handle_that_is_dropped_stops_its_job_although_somebody_can_still_look_at_it() {
    let kept = Arc::new(());
    let (job, held) = (Job::new("dropped"), Arc::clone(&kept));
    job.from_iter("numbers", || 0_u64..).for_each(move |_| drop(Arc::clone(&held)));
    let handle = job.start(Guarantee::default()).unwrap();
    let control = handle.control();
    drop((handle, job));
    wait_until("the job is gone", || Arc::strong_count(&kept) == 1);
    control.stop();
}

#[test]
fn waiting_has_a_limit_and_gives_the_handle_back() {
    let begun = Instant::now();
    let handle = endless().wait_timeout(Duration::from_millis(30)).expect_err("it has no end");
    assert!(begun.elapsed() >= Duration::from_millis(30));
    assert!(!handle.is_finished());
    handle.stop();
    let report = handle.wait_timeout(Duration::from_secs(10)).expect("it was stopped").unwrap();
    assert_eq!(report.outcome, Outcome::Stopped);
}

/// Counts how often a task was woken.
#[derive(Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_event_is_sent_from_a_task_that_is_woken_when_there_is_room_or_the_channel_is_closed() {
    let (job, seen) = (Job::new("tasks"), Collected::new());
    let (sender, stream) = job.channel("numbers", 1);
    stream.sink("seen", seen.factory());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    assert_eq!(pin!(sender.send_async(1)).poll(&mut context), Poll::Ready(Ok(())));
    let mut second = pin!(sender.send_async(2));
    assert_eq!(second.as_mut().poll(&mut context), Poll::Pending);
    drop(sender.send_async(99));
    let handle = job.start(Guarantee::default()).unwrap();
    wait_until("there is room", || woken.0.load(Ordering::SeqCst) > 0);
    assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    handle.drain(Duration::from_secs(10)).unwrap();
    assert_eq!(seen.events(), [1, 2]);
    let closed = pin!(sender.send_async(3)).poll(&mut context);
    assert_eq!(closed, Poll::Ready(Err(SendError::Closed(3))));
}

#[test]
fn a_task_that_waits_for_room_learns_that_the_job_takes_no_more() {
    let job = Job::new("tasks");
    let (sender, stream) = job.channel("numbers", 1);
    stream.for_each(|_: u64| ());
    sender.send(1).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(sender.send_async(2));
    assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
    drop(job);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    let closed = waiting.as_mut().poll(&mut context);
    assert_eq!(closed, Poll::Ready(Err(SendError::Closed(2))));
}
