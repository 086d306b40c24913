//! The arithmetic of the durations: whatever `Timing` accepts leaves room for everything that must fit.

use std::time::Duration;

use incumbent_core::{Timing, TimingError};
use proptest::prelude::*;

fn assert_all_fits(timing: &Timing) {
    assert!(timing.renew_interval() + timing.request_timeout() <= timing.renew_deadline());
    assert!(timing.retry_period() + timing.request_timeout() <= timing.renew_deadline());
    assert!(timing.renew_deadline() + timing.stop_budget() <= timing.stop_deadline());
    assert!(timing.stop_deadline() < timing.lease_duration());
    assert!(timing.stop_budget() > Duration::ZERO);
}

#[test]
fn the_presets_are_what_their_docs_say() {
    let numbers = |timing: Timing| {
        assert_all_fits(&timing);
        [timing.lease_duration(), timing.renew_deadline(), timing.retry_period()]
            .map(|duration| duration.as_secs_f64())
    };
    assert_eq!(numbers(Timing::fast()), [5.0, 3.0, 0.5]);
    assert_eq!(numbers(Timing::standard()), [15.0, 10.0, 2.0]);
    assert_eq!(numbers(Timing::patient()), [137.0, 107.0, 26.0]);
    assert_eq!(numbers(Timing::single_node()), [270.0, 240.0, 60.0]);
    assert_eq!(Timing::single_node().renew_interval(), Duration::from_secs(90));
    assert_eq!(Timing::single_node().stop_budget(), Duration::from_millis(24_600));
    assert_eq!(Timing::default().renew_interval(), Duration::from_secs(5));
    assert_eq!(Timing::from_lease_duration(Duration::from_secs(15)), Ok(Timing::standard()));
}

#[test]
fn an_impossible_timing_is_refused_with_its_numbers_and_the_reason() {
    let seconds = Duration::from_secs;
    let refused = |timing: Result<Timing, TimingError>| timing.unwrap_err().to_string();
    let lines = [
        refused(Timing::new(seconds(8), seconds(10), seconds(2))),
        refused(Timing::new(seconds(15), seconds(15), seconds(2))),
        refused(Timing::new(seconds(100), seconds(99), seconds(2))),
        refused(Timing::new(Duration::from_millis(1500), seconds(1), Duration::from_millis(200))),
        refused(Timing::new(seconds(15), seconds(10), seconds(9))),
        refused(Timing::new(seconds(15), seconds(10), seconds(0))),
        refused(Timing::default().with_stop_budget(seconds(5))),
        refused(Timing::default().with_renew_interval(seconds(9))),
        refused(Timing::default().with_request_timeout(seconds(6))),
        refused(Timing::default().with_clock_error_permille(400)),
        refused(Timing::default().with_clock_error_permille(1500)),
        refused(Timing::from_lease_duration(seconds(3_000_000_000))),
    ];
    assert_eq!(
        lines.join("\n"),
        "renew deadline 10s leaves no time to stop within the lease duration 8s, and a leader must \
         have stopped before others may start\n\
         renew deadline 15s leaves no time to stop within the lease duration 15s, and a leader must \
         have stopped before others may start\n\
         renew deadline 99s leaves no time to stop within the lease duration 100s, and a leader must \
         have stopped before others may start\n\
         lease duration 1.5s is not a whole number of seconds above zero, and Kubernetes records \
         whole seconds\n\
         retry period 9s + request time-out 2.5s exceed the renew deadline 10s, so one slow answer \
         would cost the leadership\n\
         retry period is zero, and nothing happens in no time\n\
         renew deadline 10s + stop budget 5s + clock error 300ms exceed the lease duration 15s, so \
         work could still run when another leads\n\
         renew interval 9s + request time-out 2.5s exceed the renew deadline 10s, so one slow answer \
         would cost the leadership\n\
         renew interval 5s + request time-out 6s exceed the renew deadline 10s, so one slow answer \
         would cost the leadership\n\
         renew deadline 10s leaves no time to stop within the lease duration 15s, and a leader must \
         have stopped before others may start\n\
         clock error of 1000 ‰ leaves nothing of the lease duration\n\
         lease duration 3000000000s is longer than the 2147483647 s that a record can hold"
    );
}

#[test]
fn a_larger_clock_error_is_taken_from_the_stop_budget() {
    let timing = Timing::default().with_clock_error_permille(100).unwrap();
    assert_eq!(timing.stop_budget(), Duration::from_millis(3_500));
    assert_eq!(timing.stop_deadline(), Duration::from_millis(13_500));
}

proptest! {
    #[test]
    fn one_number_scales_them_all(seconds in 1_u64..=2_000_000) {
        assert_all_fits(&Timing::from_lease_duration(Duration::from_secs(seconds)).unwrap());
    }

    #[test]
    fn whatever_is_accepted_fits(
        lease in 0_u64..400, deadline in 0_u64..400_000, retry in 0_u64..100_000,
        interval in 0_u64..400_000, timeout in 0_u64..400_000, stop in 0_u64..400_000,
        permille in 1_u32..2_000,
    ) {
        let millis = Duration::from_millis;
        let steps: [&dyn Fn(Timing) -> Result<Timing, TimingError>; 4] = [
            &|timing| timing.with_clock_error_permille(permille),
            &|timing| timing.with_renew_interval(millis(interval)),
            &|timing| timing.with_request_timeout(millis(timeout)),
            &|timing| timing.with_stop_budget(millis(stop)),
        ];
        let first = Timing::new(Duration::from_secs(lease), millis(deadline), millis(retry));
        if let Ok(mut timing) = first {
            assert_all_fits(&timing);
            for step in steps {
                timing = step(timing).unwrap_or(timing);
                assert_all_fits(&timing);
            }
        }
    }
}
