//! Delay variation: IPDV (RFC 3393, RFC 5481 section 4.1) and the RTP jitter (RFC 3550 section 6.4.1).
//!
//! PDV (RFC 5481 section 4.2) needs nothing of its own: it is D(i) minus the minimum, so each of its quantiles is that
//! quantile of the delay minus the delay's minimum.

/// D(i) - D(i-1) of two consecutively *sent* packets; undefined if either delay is.
#[inline]
pub fn ipdv(previous_ns: Option<i64>, current_ns: Option<i64>) -> Option<i64> {
    Some(current_ns?.saturating_sub(previous_ns?))
}

/// Smoothed difference of transit times: J += (|D| - J) / 16 for each packet after the first, in the order in which the
/// packets arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RtpJitter {
    last_transit_ns: Option<i64>,
    jitter_ns: f64,
}

impl RtpJitter {
    /// A packet arrived after that transit time. Returns the jitter from the second packet on.
    #[inline]
    pub fn observe(&mut self, transit_ns: i64) -> Option<f64> {
        let last = self.last_transit_ns.replace(transit_ns)?;
        let difference = transit_ns.saturating_sub(last).unsigned_abs() as f64;
        self.jitter_ns += (difference - self.jitter_ns) / 16.0;
        Some(self.jitter_ns)
    }

    /// A jitter that goes on from there, as after [`Self::restart`].
    pub fn resumed(jitter_ns: f64) -> Self {
        Self { last_transit_ns: None, jitter_ns }
    }

    /// The transit time that the next one is compared with.
    pub fn last_ns(&self) -> Option<i64> {
        self.last_transit_ns
    }

    /// The jitter so far, from the second packet on.
    pub fn jitter_ns(&self) -> f64 {
        self.jitter_ns
    }

    /// The next transit time is of another clock scale: it must not be compared with the last one. The jitter stays.
    pub fn restart(&mut self) {
        self.last_transit_ns = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipdv_follows_rfc_5481() {
        // Section 4.1 with delays of 20, 10, 20, 25, 20 ms.
        let delays = [20, 10, 20, 25, 20];
        let variations: Vec<_> = delays.windows(2).map(|pair| ipdv(Some(pair[0]), Some(pair[1]))).collect();
        assert_eq!(variations, [Some(-10), Some(10), Some(5), Some(-5)]);
        assert_eq!(ipdv(None, Some(1)), None);
        assert_eq!(ipdv(Some(1), None), None);
    }

    #[test]
    fn jitter_follows_rfc_3550() {
        let mut jitter = RtpJitter::default();
        assert_eq!(jitter.observe(1_000), None);
        assert_eq!(jitter.observe(1_160), Some(10.0));
        assert_eq!(jitter.observe(1_000), Some(10.0 + 150.0 / 16.0));
        jitter.restart();
        assert_eq!(jitter.observe(900_000), None);
        assert_eq!(jitter.observe(900_000), Some((10.0 + 150.0 / 16.0) * 15.0 / 16.0));
    }
}
