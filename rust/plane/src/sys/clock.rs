//! The two clocks of a host and what the kernel knows of their quality.

use std::mem::MaybeUninit;

use twoway_wire::timestamp::WallNanos;

use crate::clock::Clock;

/// The kernel's `CLOCK_REALTIME` and `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

fn read(clock: libc::clockid_t) -> i64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to a timespec of ours, and clock_gettime writes all of it. It cannot fail for these two
    // clocks, which every Linux has.
    let time = unsafe {
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

impl Clock for SystemClock {
    #[inline]
    fn wall(&self) -> WallNanos {
        WallNanos(read(libc::CLOCK_REALTIME))
    }

    #[inline]
    fn monotonic(&self) -> i64 {
        read(libc::CLOCK_MONOTONIC)
    }
}

/// What `adjtimex` says of the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockState {
    /// Some time daemon holds the clock to UTC (`STA_UNSYNC` is clear).
    pub synchronized: bool,
    /// The kernel's bound on the clock's error, where it is synchronized.
    pub error_ns: Option<u64>,
    /// The time daemon's estimate of the error, which is no bound.
    pub estimated_error_ns: u64,
    /// Offset still to be slewed away.
    pub offset_ns: i64,
    /// Frequency correction in parts per billion.
    pub frequency_ppb: i64,
    /// TAI - UTC in seconds; 0 where nobody told the kernel.
    pub tai_offset_s: i32,
    /// errno if the state could not be read (a sandbox that forbids `adjtimex`), else 0.
    pub errno: i32,
}

/// Reads the state of the wall clock; changes nothing and needs no privilege.
pub fn clock_state() -> ClockState {
    // SAFETY: timex is a struct of plain integers, for which zero is a value; `modes` 0 asks for reading only.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a timex of ours for the length of the call.
    let result = unsafe { libc::adjtimex(&raw mut timex) };
    if result < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        return ClockState { errno, ..ClockState::default() };
    }
    let nano = timex.status & libc::STA_NANO != 0;
    let synchronized = timex.status & libc::STA_UNSYNC == 0 && result != libc::TIME_ERROR;
    ClockState {
        synchronized,
        // maxerror and esterror are microseconds whatever STA_NANO says (kernel/time/ntp.c).
        error_ns: synchronized.then(|| u64::try_from(timex.maxerror).unwrap_or(0).saturating_mul(1000)),
        estimated_error_ns: u64::try_from(timex.esterror).unwrap_or(0).saturating_mul(1000),
        offset_ns: if nano { timex.offset } else { timex.offset.saturating_mul(1000) },
        // freq is scaled ppm with a 16-bit fraction.
        frequency_ppb: ((i128::from(timex.freq) * 1000) >> 16) as i64,
        tai_offset_s: timex.tai,
        errno: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_advance_and_the_wall_clock_is_after_2020() {
        let clock = SystemClock;
        let (wall, monotonic) = (clock.wall(), clock.monotonic());
        assert!(wall.0 > 1_577_836_800_000_000_000);
        assert!(clock.monotonic() >= monotonic);
    }

    #[test]
    fn an_unsynchronized_clock_has_no_error_bound() {
        let state = clock_state();
        assert_eq!(state.errno, 0);
        assert_eq!(state.error_ns.is_some(), state.synchronized);
    }
}
