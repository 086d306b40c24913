//! A page that is full: which one it is can be seen, no task that has an owner loses it, and other pages go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use incumbent_core::group::{
    Allocator, Answer, Ask, Happening, Kind, Page, PageIndex, PageVersion, Place, Released,
    SeatInfo, Settings, Shape, Task, TaskName, Wishes,
};
use incumbent_core::{
    FencingToken, HolderInfo, Identity, Instant, Now, Observation, Record, Session, Snapshot,
    Stamp, Uid, Version, WallTime,
};

const FIRST: PageIndex = PageIndex::FIRST;
const SECOND: PageIndex = PageIndex(1);

/// Each takes a third of a kilobyte, so that a page has room for about 770.
fn names(shape: Shape, on: PageIndex, count: usize) -> Vec<TaskName> {
    let names = (0..).map(|task| TaskName::new(format!("{task:0>253}")).unwrap());
    names.filter(|name| shape.page_of(name) == on).take(count).collect()
}

/// One allocator, the pages as they are stored, and members that release whatever is revoked.
struct World {
    allocator: Allocator,
    pages: BTreeMap<PageIndex, (Version, Page)>,
    members: Vec<&'static str>,
    revision: u64,
    seconds: u64,
}

impl World {
    fn new(shape: Shape, members: &[&'static str]) -> Self {
        let allocator = Allocator::new(Settings {
            request_timeout: Duration::from_secs(5),
            retry_period: Duration::from_secs(2),
            longest_lease: Duration::from_secs(60),
        });
        let uid = |index: PageIndex| Uid(format!("p{}", index.0));
        let page = |index| {
            let place = match index {
                FIRST => Place::First(shape),
                _ => Place::Further { table: uid(FIRST), seen: 1, kind: Kind::Named },
            };
            let page = Page { is_open: true, replaces: 999, ..Page::empty(place) };
            (index, (Version { uid: uid(index), revision: 1000 }, page))
        };
        let pages = shape.pages().map(page).collect();
        let mut world =
            Self { allocator, pages, members: members.to_vec(), revision: 1000, seconds: 0 };
        let shown = |(index, (version, page)): (&PageIndex, &(Version, Page))| {
            (*index, PageVersion { version: version.clone(), page: Some(page.clone()) })
        };
        let pages = world.pages.iter().map(shown).collect();
        world.happens(Happening::Lease { table: Some(uid(FIRST)) });
        world.happens(Happening::PagesListed { revision: 1000, pages });
        let seats = world.members.iter().map(|member| world.seat(member)).collect();
        world.happens(Happening::SeatsListed((1000, seats)));
        world.happens(Happening::Active(true));
        world
    }

    /// The seat of a member, which has acted on all pages as they are.
    fn seat(&self, member: &str) -> (Identity, Snapshot) {
        let name = Identity::new(member).unwrap();
        let number = u64::from(member.as_bytes()[0]);
        let version = Version { uid: Uid(format!("s-{member}")), revision: self.revision };
        let pages = self.pages.iter().map(|(index, (version, _))| (*index, version.revision));
        let released = Released { pages: pages.collect(), exceptions: BTreeSet::new() };
        let seat = SeatInfo { released, ..SeatInfo::default() };
        let record = Record {
            holder: Some(name.clone()),
            session: Some(Session(1)),
            last_token: FencingToken(number),
            lease_duration: Some(Duration::from_secs(60)),
            renewed: Some(Stamp::At(WallTime::from_unix_micros(self.revision as i64))),
            holder_info: HolderInfo { seat: Some(seat), ..HolderInfo::default() },
            ..Record::default()
        };
        (name, Snapshot { version, record })
    }

    fn want(&mut self, names: impl IntoIterator<Item = TaskName>) {
        let tasks = names.into_iter().map(|name| (name, Task::default())).collect();
        self.happens(Happening::Wishes(Wishes { tasks, ..Wishes::default() }));
        self.settle();
    }

    /// Lets time pass, and members release, until nothing is written any more.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.seconds += 1;
            self.revision += 1;
            let seats: Vec<_> = self.members.iter().map(|member| self.seat(member)).collect();
            for (member, seat) in seats {
                self.happens(Happening::Seat(member, Observation::Present(seat)));
            }
            self.happens(Happening::Wake);
        }
    }

    /// Stores what is written because of this.
    fn happens(&mut self, happening: Happening) {
        let mut next = Some(happening);
        while let Some(happening) = next.take() {
            let instant = Instant::new(Duration::from_secs(self.seconds));
            let wall = WallTime::from_unix_micros(0);
            let sought = self.allocator.step(Now { instant, wall }, happening);
            let Some(ask) = sought.ask else { continue };
            let Ask::ReplacePage { index, base, page } = ask else { panic!("{ask:?}") };
            self.revision += 1;
            let version = Version { uid: base.uid, revision: self.revision };
            self.pages.insert(index, (version.clone(), page.clone()));
            next = Some(Happening::Answer(Answer::Page(PageVersion { version, page: Some(page) })));
        }
    }

    /// Each task of a page, with its owner and its token.
    fn owners(&self, index: PageIndex) -> BTreeMap<TaskName, (String, FencingToken)> {
        let entries = self.pages[&index].1.entries();
        let owners = entries
            .map(|(term, _, task, given)| (task.clone(), (term.member.to_string(), given.token)));
        owners.collect()
    }

    fn full(&self) -> Vec<(PageIndex, usize)> {
        self.allocator.full_pages().iter().map(|(index, tasks)| (*index, *tasks)).collect()
    }
}

const TWO_PAGES: Shape = Shape { kind: Kind::Named, pages: 2 };

#[test]
fn a_full_page_is_named_and_its_owners_and_other_pages_go_on() {
    let mut world = World::new(TWO_PAGES, &["john", "jane"]);
    let (first, second) = (names(TWO_PAGES, FIRST, 10), names(TWO_PAGES, SECOND, 1_000));
    // The last ones by name come first, so that all that are listed later would be before them.
    let old = &second[700..];
    world.want(first.iter().chain(old).cloned());
    assert_eq!(world.full(), []);
    let owned = world.owners(SECOND);
    assert_eq!(owned.len(), 300);

    world.want(first.iter().chain(&second).cloned());
    assert_eq!(world.owners(FIRST).len(), 10);
    let all = world.owners(SECOND);
    let [(SECOND, left_out)] = world.full()[..] else { panic!("{:?}", world.full()) };
    assert_eq!(all.len() + left_out, 1_000);
    assert!((200..300).contains(&left_out), "{left_out}");
    assert!(owned.iter().all(|(task, owner)| all.get(task) == Some(owner)), "none has stopped");

    // There is room again for as many as leave the list.
    let fewer = &second[100..];
    world.want(first.iter().chain(fewer).cloned());
    assert_eq!(world.full(), [(SECOND, left_out - 100)]);
    world.want(first.iter().chain(old).cloned());
    assert_eq!((world.full(), world.owners(SECOND)), (vec![], owned));
}

#[test]
fn a_task_that_moves_keeps_its_place_on_a_full_page() {
    let mut world = World::new(TWO_PAGES, &["john"]);
    let tasks = names(TWO_PAGES, SECOND, 1_000);
    world.want(tasks[300..].iter().cloned());
    assert_eq!(world.full(), []);
    world.want(tasks.clone());
    let before: BTreeSet<TaskName> = world.owners(SECOND).into_keys().collect();
    let [(SECOND, left_out)] = world.full()[..] else { panic!("{:?}", world.full()) };

    // Their names on the page need more room than any task has left.
    world.members.extend(["jane", "kate", "lucy"]);
    world.settle();
    let after = world.owners(SECOND);
    let of = |member| after.values().filter(|(owner, _)| owner == member).count();
    assert!(["john", "jane", "kate", "lucy"].iter().all(|member| of(member) > 150), "all moved");
    assert_eq!(after.into_keys().collect::<BTreeSet<_>>(), before);
    assert_eq!(world.full(), [(SECOND, left_out)]);
}

#[test]
fn who_no_longer_allocates_knows_of_no_full_page() {
    let mut world = World::new(TWO_PAGES, &["john"]);
    world.want(names(TWO_PAGES, FIRST, 1_000));
    assert_eq!(world.full().len(), 1);
    world.happens(Happening::Active(false));
    assert_eq!(world.full(), []);
    world.happens(Happening::Active(true));
    world.settle();
    assert_eq!(world.full().len(), 1);
}
