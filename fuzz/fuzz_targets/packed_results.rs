// Any octets are refused or are a summary that can be reckoned with: asked for everything, merged with itself, and packed again it is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twoway_plane::packed::{merge_packed, pack_summary, unpack_distribution, unpack_summary};
use twoway_plane::summary::{Fact, Measure};

fuzz_target!(|octets: &[u8]| {
    let _ = unpack_distribution(octets);
    let Ok(summary) = unpack_summary(octets) else {
        return;
    };
    for measure in Measure::ALL {
        let distribution = summary.measure(*measure);
        let (least, greatest) = (distribution.min(), distribution.max());
        for q in [0.0, 0.5, 0.99, 1.0] {
            let quantile = distribution.quantile(q);
            assert!(least <= quantile && quantile <= greatest);
        }
        assert!(distribution.stddev().is_none_or(|deviation| deviation >= 0.0));
        let _ = distribution.mean();
        assert_eq!(distribution.buckets().map(|bucket| bucket.count).sum::<u64>(), distribution.count());
    }
    for fact in Fact::ALL {
        let _ = summary.known(*fact);
    }
    let again = pack_summary(&summary);
    assert_eq!(unpack_summary(&again).as_ref(), Ok(&summary));
    let mut twice = summary.clone();
    twice.merge(&summary);
    assert_eq!(merge_packed([octets, &again[..]]), Ok(twice));
});
