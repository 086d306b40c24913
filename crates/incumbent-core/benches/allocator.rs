//! What news of one member costs the allocator of a large group: it decides again who should own what.

use std::time::Duration;

use divan::{Bencher, black_box};
use incumbent_core::group::{
    Allocator, Assignment, Happening, Kind, Order, Page, PageIndex, PageVersion, Place, SeatInfo,
    SeatTerm, Settings, Shape, TaskName, Wishes,
};
use incumbent_core::{
    FencingToken, HolderInfo, Identity, Instant, Now, Observation, Record, Session, Snapshot,
    Stamp, Uid, Version, WallTime,
};

fn main() {
    divan::main();
}

/// The members, and the slots.
const SIZES: [(u64, u16); 3] = [(10, 1024), (100, 4096), (300, 16384)];

/// One member owns all slots, as when the others have just joined: a page has to change.
#[divan::bench(args = SIZES)]
fn slots_are_to_move(bencher: Bencher<'_, '_>, (members, slots): (u64, u16)) {
    news(bencher, &allocator(members, slots, false));
}

/// The same, and none may move: no page has to change.
#[divan::bench(args = SIZES)]
fn slots_stay(bencher: Bencher<'_, '_>, (members, slots): (u64, u16)) {
    news(bencher, &allocator(members, slots, true));
}

fn news(bencher: Bencher<'_, '_>, allocator: &Allocator) {
    let news = |revision| {
        let (name, mut seat) = seat(1);
        seat.version.revision = revision;
        seat.record.holder_info.seat.as_mut().unwrap().capacity = 2;
        Happening::Seat(name, Observation::Present(seat))
    };
    bencher
        .with_inputs(|| (allocator.clone(), news(1_000_000)))
        .bench_values(|(mut allocator, news)| black_box((allocator.step(now(3), news), allocator)));
}

fn allocator(members: u64, slots: u16, is_frozen: bool) -> Allocator {
    let mut allocator = Allocator::new(Settings {
        request_timeout: Duration::from_secs(5),
        retry_period: Duration::from_secs(2),
        longest_lease: Duration::from_secs(60),
    });
    let shape =
        Shape { kind: Kind::Slots(slots), pages: u8::try_from((slots / 256).min(32)).unwrap() };
    let pages = shape.pages().map(|index| (index, page(shape, index)));
    for happening in [
        Happening::Lease { table: Some(uid(0)) },
        Happening::PagesListed { revision: 1000, pages: pages.collect() },
        Happening::SeatsListed((1000, (0..members).map(seat).collect())),
        Happening::Wishes(Wishes { kind: Kind::Slots(slots), is_frozen, ..Wishes::default() }),
        Happening::Active(true),
    ] {
        let _ = allocator.step(now(0), happening);
    }
    allocator
}

fn page(shape: Shape, index: PageIndex) -> PageVersion {
    let place = match index {
        PageIndex::FIRST => Place::First(shape),
        _ => Place::Further { table: uid(0), seen: 1, kind: shape.kind },
    };
    let mut page = Page { is_open: true, replaces: 998, ..Page::empty(place) };
    let term = SeatTerm { member: name(0), seat: uid(1000), token: FencingToken(1) };
    let mut order = Order {
        lease_duration: Duration::from_secs(60),
        address: None,
        tasks: Default::default(),
        next: Default::default(),
    };
    let tasks = shape.kind.tasks().filter(|task| shape.page_of(task) == index);
    let owned = |task: TaskName| (task, Assignment { token: FencingToken(1), revoked: None });
    order.tasks.extend(tasks.map(owned));
    page.orders.insert(term, order);
    page.highest_token = FencingToken(1);
    PageVersion {
        version: Version { uid: uid(u64::from(index.0)), revision: 999 },
        page: Some(page),
    }
}

fn seat(member: u64) -> (Identity, Snapshot) {
    let version = Version { uid: uid(1000 + member), revision: member + 1 };
    let record = Record {
        holder: Some(name(member)),
        session: Some(Session(1)),
        last_token: FencingToken(member + 1),
        lease_duration: Some(Duration::from_secs(60)),
        renewed: Some(Stamp::At(WallTime::from_unix_micros(1))),
        holder_info: HolderInfo { seat: Some(SeatInfo::default()), ..HolderInfo::default() },
        ..Record::default()
    };
    (name(member), Snapshot { version, record })
}

fn name(member: u64) -> Identity {
    Identity::new(format!("m{member}")).unwrap()
}

fn uid(number: u64) -> Uid {
    Uid(format!("uid-{number}"))
}

fn now(seconds: u64) -> Now {
    let instant = Instant::new(Duration::from_secs(seconds));
    Now { instant, wall: WallTime::from_unix_micros(0) }
}
