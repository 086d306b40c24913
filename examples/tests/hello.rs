//! `hello`: one speaks, then the other.

use crate::stage::Stage;

const HELLO: &str = env!("CARGO_BIN_EXE_hello");

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hello_is_said_by_one_and_then_by_the_other_under_a_higher_token() {
    let stage = Stage::new().await;
    let mut first = stage.start(HELLO, &[]);
    let earlier: u64 = first.says("hello, I lead with token ").await.parse().unwrap();
    let mut second = stage.start(HELLO, &[]);
    first.interrupt();
    let later: u64 = second.says("hello, I lead with token ").await.parse().unwrap();
    assert!(earlier < later, "{earlier}, then {later}");
    second.interrupt();
}
