use std::future::{pending, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::attempt::{NotRecorded, PATIENCE, in_time};

#[tokio::test(start_paused = true)]
async fn the_end_of_a_command_is_tried_to_be_recorded_for_five_minutes_and_no_longer() {
    let began = Instant::now();
    let given_up =
        timeout(Duration::from_secs(3600), in_time(pending(), sleep(PATIENCE), pending()));
    let failure = given_up.await.expect("it does not wait for ever").unwrap_err();
    assert!(matches!(failure, NotRecorded::Refused), "{failure}");
    assert_eq!(began.elapsed().as_secs(), 300);

    let recorded_late = async {
        sleep(Duration::from_secs(299)).await;
        Ok(())
    };
    assert!(in_time(recorded_late, sleep(PATIENCE), pending()).await.is_ok());
    let failure = in_time(pending(), sleep(PATIENCE), ready(())).await.unwrap_err();
    assert!(matches!(failure, NotRecorded::ToldToEnd), "{failure}");
}
