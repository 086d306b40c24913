//! The watchdog's last resort. Each child is a process of its own, and is not expected to survive.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::pin::pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use incumbent::{Builder, Candidate, Error};
use incumbent_apiserver::{ApiServer, Verb};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{client, lease};

const IN_CHILD: &str = "INCUMBENT_TEST_HANGS_IN";
const ABORT: Option<i32> = Some(6);
const KILL: Option<i32> = Some(9);

/// Leads with a lease of one second, and then blocks the only thread of its runtime for ever.
#[test]
fn work_that_hangs() {
    let Ok(hangs_in) = std::env::var(IN_CHILD) else {
        return; // It is run by the tests below.
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ApiServer::new();
        let builder = Candidate::builder(client(&server), lease()).identity("john");
        let builder = with_action(builder.lease_duration(Duration::from_secs(1)), &hangs_in);
        let mut john = builder.build().unwrap();
        let leadership = john.campaign().await.unwrap();
        let waker = match hangs_in.as_str() {
            "a waker" => Waker::from(Arc::new(Stuck)),
            "a waker that panics" => Waker::from(Arc::new(Panics)),
            _ => Waker::noop().clone(),
        };
        let mut lost = pin!(leadership.lost());
        assert!(lost.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        if hangs_in == "a lock on stderr" {
            std::mem::forget(std::io::stderr().lock());
        }
        park();
    });
}

/// Runs under a limit of zero, on the resource that its environment names: at first, or after its campaign.
#[test]
fn a_candidate_under_a_limit() {
    let resource = match std::env::var(IN_CHILD).as_deref() {
        Ok("files") => Resource::Nofile,
        Ok("threads" | "threads, later") => Resource::Nproc,
        _ => return,
    };
    let is_later = std::env::var(IN_CHILD).unwrap().ends_with("later");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ApiServer::new();
        let builder = Candidate::builder(client(&server), lease()).identity("john");
        let builder = builder.lease_duration(Duration::from_secs(1)).on_overrun(|_| park());
        let mut john = builder.build().unwrap();
        let usual = getrlimit(resource);
        let nothing = Rlimit { current: Some(0), ..usual };
        if !is_later {
            setrlimit(resource, nothing).unwrap();
            let error = john.campaign().await.unwrap_err();
            assert!(matches!(error, Error::NoWatchdog { .. }), "{error}");
            assert!(error.hint().contains("limit"), "{}", error.hint());
            let sent = server.requests();
            assert_eq!(sent.of(Verb::Create) + sent.of(Verb::Update), 0, "it does not even try");
            setrlimit(resource, usual).unwrap();
        }
        let leadership = john.campaign().await.unwrap();
        assert!(leadership.is_valid());
        if is_later {
            setrlimit(resource, nothing).unwrap();
            park();
        }
    });
}

fn with_action(builder: Builder, hangs_in: &str) -> Builder {
    match hangs_in {
        "its overrun" => builder.on_overrun(|_| park()),
        "a slow overrun" => builder.on_overrun(|_| {
            std::thread::sleep(Duration::from_secs(2));
            std::process::exit(42);
        }),
        "an overrun that panics" => builder.on_overrun(|_| panic!("a bug in on_overrun")),
        _ => builder,
    }
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a bug in an executor");
    }
}

/// What an executor whose lock is held by work that hangs would be.
struct Stuck;

impl Wake for Stuck {
    fn wake(self: Arc<Self>) {
        park();
    }
}

fn start(hangs_in: &str, stderr: Stdio) -> Child {
    let mut command = child("work_that_hangs", hangs_in);
    command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
}

/// On one thread: the harness must not need another where there is none.
fn child(test: &str, what: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    configure(&mut command, test, what);
    command
}

fn configure(command: &mut Command, test: &str, what: &str) {
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(IN_CHILD, what);
    command.env("RUST_BACKTRACE", "0"); // It takes long, and a panic is to be quick.
}

/// No limit on processes binds root, so it runs as another user. That user may have no way to this file, so the
/// child gets it opened.
fn under_a_limit_of_threads(what: &str) -> Child {
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let inherited = rustix::io::dup(&file).unwrap();
    let mut command = Command::new(format!("/proc/self/fd/{}", inherited.as_raw_fd()));
    configure(&mut command, "a_candidate_under_a_limit", what);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command.spawn().unwrap()
}

/// The signal that ended it, or nothing where it runs on.
fn end_of(child: Child) -> Option<i32> {
    status_of(child)?.signal()
}

fn status_of(mut child: Child) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(30) {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

#[test]
fn work_that_hangs_is_ended_with_its_process() {
    let mut child = start("itself", Stdio::piped());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(end_of(child), ABORT, "{said}");
    assert!(said.contains("the work under lease/lock (token "), "{said}");
    assert!(said.contains("this process ends now, so that no two lead"), "{said}");
}

#[test]
fn with_a_stderr_that_is_full_the_process_ends_as_well() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(end_of(start("itself", full.into())), ABORT);
}

#[test]
fn with_a_stderr_whose_reader_is_gone_the_process_ends_as_well() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(end_of(start("itself", writer.into())), ABORT);
}

#[test]
fn with_a_stderr_that_nobody_reads_the_process_ends_as_well() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    // 64 KiB is what a pipe holds.
    writer.write_all(&vec![b'x'; 65536]).unwrap();
    assert_eq!(end_of(start("itself", writer.into())), ABORT);
}

#[test]
fn work_that_hangs_while_it_holds_the_lock_on_stderr_is_ended_with_its_process() {
    assert_eq!(end_of(start("a lock on stderr", Stdio::null())), ABORT);
}

#[test]
fn a_waker_of_the_program_that_blocks_does_not_hold_up_the_watchdog() {
    assert_eq!(end_of(start("a waker", Stdio::null())), ABORT);
}

#[test]
fn a_waker_of_the_program_that_panics_does_not_end_the_watchdog() {
    assert_eq!(end_of(start("a waker that panics", Stdio::null())), ABORT);
}

/// Process 1 of a PID namespace, as in a container, ignores signals that it sends to itself.
#[test]
fn process_1_of_a_container_is_ended_as_well() {
    let can_unshare = Command::new("unshare").args(["--pid", "--fork", "true"]).status();
    if !can_unshare.is_ok_and(|status| status.success()) {
        eprintln!("passed over: no PID namespace can be made here");
        return;
    }
    for hangs_in in ["itself", "its overrun"] {
        let process_1 = child("work_that_hangs", hangs_in);
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child"]).arg(process_1.get_program());
        unshare.args(process_1.get_args()).env(IN_CHILD, hangs_in).stdout(Stdio::null());
        unshare.stderr(Stdio::null());
        let status = status_of(unshare.spawn().unwrap());
        assert!(status.is_some_and(|status| !status.success()), "{hangs_in}: {status:?}");
    }
}

#[test]
fn an_on_overrun_that_panics_ends_the_process() {
    assert_eq!(end_of(start("an overrun that panics", Stdio::null())), ABORT);
}

#[test]
fn an_on_overrun_has_a_few_seconds() {
    let status = status_of(start("a slow overrun", Stdio::null()));
    assert_eq!(status.and_then(|status| status.code()), Some(42), "{status:?}");
}

#[test]
fn an_on_overrun_that_never_returns_ends_the_process() {
    assert_eq!(end_of(start("its overrun", Stdio::null())), KILL);
}

#[test]
fn a_process_without_file_descriptors_does_not_lead_before_it_has_some() {
    let status = child("a_candidate_under_a_limit", "files").status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_process_without_threads_does_not_lead_before_it_has_some() {
    let status = under_a_limit_of_threads("threads").wait().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_process_without_a_thread_for_an_overrun_ends() {
    assert_eq!(end_of(under_a_limit_of_threads("threads, later")), ABORT);
}
