//! Waiting: edge-triggered epoll, one absolute timer, one waker.
//!
//! The timer is a timerfd on `CLOCK_MONOTONIC` with absolute times: it has no timer slack (which would add up to 50 µs to
//! `epoll_wait`'s own timeout), and a wait that is interrupted does not drift.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::Arc;

use super::check;

const TIMER: u64 = u64::MAX;
const WAKER: u64 = u64::MAX - 1;

/// Wakes a [`Poll`] from another thread, or makes a descriptor readable for Python.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A new eventfd.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers; the descriptor returned is new and owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?) };
        Ok(Self(Arc::new(fd)))
    }

    /// Makes the descriptor readable. Never blocks; a counter already full is as readable as can be.
    pub fn wake(&self) {
        let one = 1u64;
        // SAFETY: reads eight octets of a local integer.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Makes the descriptor unreadable again.
    pub fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: writes eight octets into a local integer.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }

    /// For `select` and its like.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The token that the descriptor was added with.
    pub token: u64,
    /// Datagrams may be waiting.
    pub readable: bool,
    /// The error queue may hold entries.
    pub error: bool,
}

/// Room for what one wait brings.
pub struct Events {
    raw: Vec<libc::epoll_event>,
    count: usize,
    /// Somebody called the waker.
    pub woken: bool,
    /// The timer fired.
    pub timer: bool,
}

impl Events {
    /// Room for `slots` descriptors a wait.
    pub fn new(slots: usize) -> Self {
        Self { raw: vec![libc::epoll_event { events: 0, u64: 0 }; slots], count: 0, woken: false, timer: false }
    }

    /// The sockets that are ready.
    pub fn iter(&self) -> impl Iterator<Item = Ready> + '_ {
        self.raw[..self.count].iter().filter(|event| event.u64 < WAKER).map(|event| {
            let bits = event.events;
            Ready {
                token: event.u64,
                readable: bits & libc::EPOLLIN as u32 != 0,
                error: bits & libc::EPOLLERR as u32 != 0,
            }
        })
    }
}

/// An epoll instance with its timer and waker.
pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    waker: Waker,
    armed_ns: Option<i64>,
}

impl Poll {
    /// A new instance, waking for nothing yet but its waker.
    pub fn new() -> io::Result<Self> {
        // SAFETY: both calls take integers only; the descriptors returned are new and owned by nobody else.
        let (epoll, timer) = unsafe {
            let epoll = OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?);
            let timer = check(libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC))?;
            (epoll, OwnedFd::from_raw_fd(timer))
        };
        let poll = Self { epoll, timer, waker: Waker::new()?, armed_ns: None };
        poll.control(libc::EPOLL_CTL_ADD, poll.timer.as_raw_fd(), TIMER)?;
        poll.control(libc::EPOLL_CTL_ADD, poll.waker.fd(), WAKER)?;
        Ok(poll)
    }

    /// Ends this instance's waits.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn control(&self, operation: i32, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: token };
        // SAFETY: the event is ours for the length of the call; the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd, &raw mut event) }).map(drop)
    }

    /// Reports `fd` under `token` (below 2^64 - 2) whenever something new arrives on it: read it until it is empty.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token)
    }

    /// Reports `fd` no more.
    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0)
    }

    /// Waits until something is ready or the monotonic clock reads `until_ns` (`None`: no limit; a past time: do not
    /// wait). A signal ends the wait early with nothing ready.
    pub fn wait(&mut self, events: &mut Events, until_ns: Option<i64>, now_ns: i64) -> io::Result<()> {
        let expired = until_ns.is_some_and(|until| until <= now_ns);
        if !expired && self.armed_ns != until_ns {
            self.arm(until_ns)?;
        }
        self.take(events, if expired { 0 } else { -1 })
    }

    /// Looks without waiting.
    pub fn look(&mut self, events: &mut Events) -> io::Result<()> {
        self.take(events, 0)
    }

    fn take(&mut self, events: &mut Events, timeout_ms: i32) -> io::Result<()> {
        (events.count, events.woken, events.timer) = (0, false, false);
        // SAFETY: the pointer and length describe our own vector of events.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.raw.as_mut_ptr(), events.raw.len() as i32, timeout_ms)
        };
        match check(count) {
            Ok(count) => events.count = count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        for event in &events.raw[..events.count] {
            if event.u64 == TIMER {
                events.timer = true;
                self.armed_ns = None;
            } else if event.u64 == WAKER {
                events.woken = true;
            }
        }
        if events.woken {
            self.waker.clear();
        }
        Ok(())
    }

    fn arm(&mut self, until_ns: Option<i64>) -> io::Result<()> {
        // it_value zero disarms; a moment in the past fires at once.
        let until = until_ns.map_or(0, |ns| ns.max(1));
        let value = libc::timespec { tv_sec: until / 1_000_000_000, tv_nsec: until % 1_000_000_000 };
        let setting = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // SAFETY: reads our itimerspec; the old value is not asked for.
        check(unsafe {
            libc::timerfd_settime(self.timer.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &raw const setting, null_mut())
        })?;
        self.armed_ns = until_ns;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::sys::SystemClock;

    #[test]
    fn a_wait_ends_at_its_moment_and_at_the_waker() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::new(4);
        let now = SystemClock.monotonic();
        poll.wait(&mut events, Some(now + 2_000_000), now).unwrap();
        assert!(SystemClock.monotonic() >= now + 2_000_000);
        assert!(events.timer && !events.woken);
        poll.waker().wake();
        poll.wait(&mut events, None, now).unwrap();
        assert!(events.woken);
        assert_eq!(events.iter().count(), 0);
    }
}
