//! A table that would send too much to its members is not begun, and does not grow.

use std::time::Duration;

use incumbent_core::group::{
    Allocator, Excess, Happening, Kind, Page, PageIndex, PageVersion, Place, SeatInfo, Settings,
    Shape, Task, TaskName, Wishes,
};
use incumbent_core::{
    FencingToken, HolderInfo, Identity, Instant, Now, Record, Session, Snapshot, Stamp, Uid,
    Version, WallTime,
};

fn seat(member: u64) -> (Identity, Snapshot) {
    let name = Identity::new(format!("m{member}")).unwrap();
    let version = Version { uid: Uid(format!("s{member}")), revision: member + 1 };
    let record = Record {
        holder: Some(name.clone()),
        session: Some(Session(1)),
        last_token: FencingToken(member + 1),
        lease_duration: Some(Duration::from_secs(15)),
        renewed: Some(Stamp::At(WallTime::from_unix_micros(1))),
        holder_info: HolderInfo { seat: Some(SeatInfo::default()), ..HolderInfo::default() },
        ..Record::default()
    };
    (name, Snapshot { version, record })
}

/// An allocator of so many tasks with long names and so many members, whose table is open and empty.
fn allocator(tasks: usize, members: u64) -> Allocator {
    let mut allocator = Allocator::new(Settings {
        request_timeout: Duration::from_secs(5),
        retry_period: Duration::from_secs(2),
        longest_lease: Duration::from_secs(60),
    });
    let place = Place::First(Shape { kind: Kind::Named, pages: 1 });
    let page = Page { is_open: true, replaces: 999, ..Page::empty(place) };
    let version = Version { uid: Uid("p".to_owned()), revision: 1000 };
    let page = (PageIndex::FIRST, PageVersion { version, page: Some(page) });
    let names = (0..tasks).map(|task| TaskName::new(format!("{task:0>253}")).unwrap());
    let tasks = names.map(|name| (name, Task::default())).collect();
    for happening in [
        Happening::Lease { table: Some(Uid("p".to_owned())) },
        Happening::PagesListed { revision: 1000, pages: vec![page] },
        Happening::SeatsListed((1000, (0..members).map(seat).collect())),
        Happening::Wishes(Wishes { tasks, ..Wishes::default() }),
        Happening::Active(true),
    ] {
        let _ = allocator.step(now(0), happening);
    }
    allocator
}

fn now(seconds: u64) -> Now {
    let instant = Instant::new(Duration::from_secs(seconds));
    Now { instant, wall: WallTime::from_unix_micros(0) }
}

#[test]
fn a_table_that_would_send_more_than_64_mib_assigns_nothing() {
    let mut fits = allocator(10_000, 18);
    assert_eq!(fits.excess(), None);
    assert!(fits.step(now(5), Happening::Wake).ask.is_some());
    let mut too_large = allocator(10_000, 26);
    let Excess { tasks, members, bytes } = too_large.excess().unwrap();
    assert_eq!((tasks, members), (10_000, 26));
    assert!(bytes > Excess::MOST_BYTES);
    assert_eq!(too_large.step(now(5), Happening::Wake).ask, None);
    // Fewer tasks, and it goes on.
    let tasks = [(TaskName::new("eu").unwrap(), Task::default())].into();
    let wishes = Happening::Wishes(Wishes { tasks, ..Wishes::default() });
    assert!(too_large.step(now(6), wishes).ask.is_some());
}
