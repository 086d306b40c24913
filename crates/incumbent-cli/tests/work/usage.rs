//! Exit codes of what cannot work.

use super::support::{Cluster, incumbent};
use super::{runs, start, worker};

#[test]
fn what_cannot_work_has_an_exit_code_and_starts_nothing() {
    let cluster = Cluster::start();
    let code = |arguments: &str| cluster.run(arguments).code;
    assert_eq!(code("work jobs -- true"), 2, "it is not said what is shared");
    assert_eq!(code("work jobs --tasks a --from-config -- true"), 2);
    assert_eq!(code("work jobs --tasks a"), 2, "there is no command");
    for arguments in ["work a.b --tasks a -- true", "work jobs --tasks a,a -- true"] {
        assert_eq!(code(arguments), 78, "{arguments}");
    }
    assert_eq!(code("work jobs --tasks a --lease-duration 90s -- true"), 78);
    let nowhere = incumbent("work jobs --tasks a -- true").output().unwrap();
    assert_eq!(nowhere.status.code(), Some(69));
}

#[test]
fn a_second_process_under_the_name_of_a_living_member_ends() {
    let cluster = Cluster::start();
    let mut john = start(&cluster, "john", "--tasks a --lease-duration 2s", &worker());
    runs(&john, &["a"]);
    let mut second = start(&cluster, "john", "--tasks a --lease-duration 2s", &worker());
    assert_eq!(second.end(), 78);
    assert!(!john.has_ended());
}
