//! The watchdog's last resort, in a process of its own.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use incumbent::Candidate;
use incumbent_apiserver::ApiServer;
use support::{client, lease};

const IN_CHILD: &str = "INCUMBENT_TEST_WORK_THAT_HANGS";

/// Leads with a lease of one second, and then blocks the only thread of its runtime for ever.
#[test]
fn work_that_hangs() {
    if std::env::var_os(IN_CHILD).is_none() {
        return; // It is run by the test below, which expects it not to survive.
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ApiServer::new();
        let builder = Candidate::builder(client(&server), lease()).identity("john");
        let mut john = builder.lease_duration(Duration::from_secs(1)).build().unwrap();
        let _leadership = john.campaign().await.unwrap();
        loop {
            std::thread::park();
        }
    });
}

#[test]
fn work_that_hangs_is_ended_with_its_process() {
    let test = std::env::current_exe().unwrap();
    let arguments = ["--exact", "work_that_hangs", "--nocapture"];
    let output = Command::new(test).args(arguments).env(IN_CHILD, "1").output().unwrap();
    assert_eq!(output.status.signal(), Some(6), "SIGABRT: {output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the work under lease/lock (token "), "{said}");
    assert!(said.contains("this process ends now, so that no two lead"), "{said}");
}
