//! What one change of a page costs each member of a group of ten with 500 tasks on the page.

use std::time::Duration;

use divan::{Bencher, black_box};
use incumbent_core::group::{
    Assignment, Event, Kind, Member, Order, Page, PageIndex, PageVersion, Place, SeatInfo,
    SeatTerm, Shape, TaskName,
};
use incumbent_core::{FencingToken, Identity, Instant, Uid, Version};

fn main() {
    divan::main();
}

const MEMBERS: usize = 10;
const TASKS: usize = 500;

#[divan::bench]
fn read(bencher: Bencher) {
    let (text, own) = (page(2).to_text(PageIndex::FIRST, "indexers", Some(&uid())), uid());
    bencher.bench(|| black_box(&text).parse(PageIndex::FIRST, "indexers", &own).unwrap());
}

#[divan::bench]
fn write(bencher: Bencher) {
    let (page, own) = (page(2), uid());
    bencher.bench(|| black_box(&page).to_text(PageIndex::FIRST, "indexers", Some(&own)));
}

#[divan::bench]
fn act(bencher: Bencher) {
    let version = |revision| PageVersion {
        version: Version { uid: uid(), revision },
        page: Some(page(revision)),
    };
    let mut member = Member::new(member(0), SeatInfo::default());
    let listed = Event::Listed { revision: 2, pages: vec![(PageIndex::FIRST, version(2))] };
    let _ = member.step(Instant::START, listed);
    let SeatTerm { seat, token, .. } = term(0);
    let _ = member.step(Instant::START, Event::Started { seat, token });
    bencher
        .with_inputs(|| (member.clone(), Event::Page(PageIndex::FIRST, version(3))))
        .bench_values(|(mut member, event)| (member.step(Instant::START, event), member));
}

fn page(revision: u64) -> Page {
    let shape = Shape { kind: Kind::Named, pages: 1 };
    let mut page = Page { is_open: true, ..Page::empty(Place::First(shape)) };
    (page.highest_token, page.replaces) = (FencingToken(1), revision - 1);
    for index in 0..TASKS {
        let order = page.orders.entry(term(index % MEMBERS)).or_insert_with(|| Order {
            lease_duration: Duration::from_secs(15),
            address: Some("10.0.0.7:8080".to_owned()),
            tasks: Default::default(),
            next: Default::default(),
        });
        let task = TaskName::new(format!("tenant-{index:04}")).unwrap();
        order.tasks.insert(task, Assignment { token: FencingToken(1), revoked: None });
    }
    page
}

fn term(index: usize) -> SeatTerm {
    SeatTerm { member: member(index), seat: uid(), token: FencingToken(1 + index as u64) }
}

fn member(index: usize) -> Identity {
    Identity::new(format!("worker-{index}")).unwrap()
}

fn uid() -> Uid {
    Uid("6f8e2c1a-9f0c-4d53-8a1e-0a1b2c3d4e5f".to_owned())
}
