//! The text of a page: what it looks like, that nothing is lost in it, and that nothing else can be read.

use std::collections::BTreeMap;
use std::time::Duration;

use incumbent_core::group::{
    Assignment, Fault, Kind, Order, Page, PageIndex, PageText, Part, Place, SeatTerm, Shape,
    TaskName, Unreadable,
};
use incumbent_core::{FencingToken, Identity, Uid};
use proptest::prelude::*;

const GROUP: &str = "indexers";
const FIRST: PageIndex = PageIndex::FIRST;

#[test]
fn a_page_reads_as_orders() {
    let text = example().to_text(FIRST, GROUP, Some(&own()));
    let block = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let yaml =
        format!("data:\n  table: |\n{}  tasks: |\n{}", block(&text.table), block(&text.tasks));
    assert_eq!(yaml, include_str!("table_text.txt"), "\n{yaml}");
}

#[test]
fn a_new_page_and_a_further_page() {
    let created = Page::empty(Place::First(shape(2))).to_text(FIRST, GROUP, None);
    let table = "page 0 of 2, named tasks, not open yet\nhighest token 0, replaces version 0\n";
    assert_eq!(without_check(&created), (table, ""));

    let further = Page { is_open: true, replaces: 9, ..Page::empty(further(4711)) };
    let further = further.to_text(PageIndex(1), GROUP, Some(&own()));
    let table = "page 1 of table 0b5c…, seen at version 4711, named tasks, open\nhighest token 0, replaces version 9\n";
    assert_eq!(without_check(&further), (table.replace('…', "%E2%80%A6").as_str(), ""));
}

#[test]
fn numbers_of_one_assignment_are_on_one_line() {
    let mut order = order([]);
    let given = |token, revoked| Assignment { token: FencingToken(token), revoked };
    let all = (0..=40).chain([55, 57, 58]).map(|slot| (slot, given(7, None)));
    for (slot, assignment) in all.chain([(41, given(7, Some(9))), (42, given(8, None))]) {
        order.tasks.insert(TaskName::numbered(slot), assignment);
    }
    let page = Page {
        place: Place::First(Shape { kind: Kind::Slots(4096), pages: 2 }),
        is_open: true,
        highest_token: FencingToken(9),
        replaces: 9,
        orders: BTreeMap::from([(term("worker-0", 4711), order)]),
    };
    let text = page.to_text(FIRST, GROUP, Some(&own()));
    assert_eq!(text.table.lines().next(), Some("page 0 of 2, 4096 slots, open"));
    let tasks: Vec<&str> = text.tasks.lines().skip(1).collect();
    let run = "  run 0-40,55,57-58, token 7";
    assert_eq!(tasks, [run, "  stop 41, token 7, as of version 9", "  run 42, token 8"]);
    assert_eq!(text.parse(FIRST, GROUP, &own()), Ok(page));
}

#[test]
fn numbers_beyond_the_count_or_written_in_another_way_cannot_be_read() {
    let mut order = order([]);
    let given = Assignment { token: FencingToken(7), revoked: None };
    order.tasks.extend((0..3).map(|permit| (TaskName::numbered(permit), given)));
    let page = Page {
        place: Place::First(Shape { kind: Kind::Permits(3), pages: 1 }),
        orders: BTreeMap::from([(term("worker-0", 4711), order)]),
        ..example()
    };
    let text = page.to_text(FIRST, GROUP, Some(&own()));
    assert!(text.tasks.contains("  run 0-2, token 7"));
    for other in
        ["0-3", "3", "0-1,2", "0,1,2", "2,0-1", "00-2", "0-2,2", "2-0", "", "eu", "0-99999"]
    {
        let tasks = text.tasks.replace("run 0-2,", &format!("run {other},"));
        let text = PageText { tasks, ..text.clone() };
        assert!(text.parse(FIRST, GROUP, &own()).is_err(), "{other}");
    }
}

#[test]
fn yaml_shows_the_text_as_it_is() {
    // A blank at an end of a line, a tab or a missing last newline would turn the block into one long quoted line.
    let text = example().to_text(FIRST, GROUP, Some(&own()));
    for text in [text.table, text.tasks] {
        assert!(text.ends_with('\n') && !text.starts_with(' '));
        assert!(text.lines().all(|line| !line.is_empty() && line.trim_end() == line));
        assert!(text.bytes().all(|byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic()));
    }
}

#[test]
fn no_edit_of_one_byte_can_be_read() {
    let text = example().to_text(FIRST, GROUP, Some(&own()));
    assert_eq!(text.parse(FIRST, GROUP, &own()), Ok(example()));
    let mut edits = 0;
    for (table, at) in places(&text) {
        for byte in 0..128 {
            let replaced = edited(&text, table, |bytes| bytes[at] = byte);
            if replaced != text {
                assert!(replaced.parse(FIRST, GROUP, &own()).is_err(), "{replaced:?}");
            }
            let inserted = edited(&text, table, |bytes| bytes.insert(at, byte));
            assert!(inserted.parse(FIRST, GROUP, &own()).is_err(), "{inserted:?}");
            edits += 2;
        }
        let removed = edited(&text, table, |bytes| {
            bytes.remove(at);
        });
        assert!(removed.parse(FIRST, GROUP, &own()).is_err(), "{removed:?}");
    }
    assert!(edits > 50_000, "{edits}");
}

#[test]
fn a_page_is_not_obeyed_in_another_place() {
    let text = example().to_text(FIRST, GROUP, Some(&own()));
    let edited = Err(unreadable(Part::Table, 3, Fault::Check));
    assert_eq!(text.parse(FIRST, "others", &own()), edited);
    assert_eq!(text.parse(FIRST, GROUP, &Uid("another".to_owned())), edited);
    let other_page = Err(unreadable(Part::Table, 1, Fault::OtherPage));
    assert_eq!(text.parse(PageIndex(1), GROUP, &own()), other_page);
}

#[test]
fn a_new_page_can_be_read_whatever_uid_it_was_given() {
    let page = Page::empty(Place::First(shape(64)));
    for own in [None, Some(&own())] {
        let text = page.to_text(FIRST, GROUP, own);
        assert_eq!(text.parse(FIRST, GROUP, &Uid("given".to_owned())), Ok(page.clone()));
    }
}

#[test]
fn an_error_says_where_and_what_follows() {
    let mut text = example().to_text(FIRST, GROUP, Some(&own()));
    text.tasks.push_str("  run eu, token 4790\n");
    assert_eq!(
        text.parse(FIRST, GROUP, &own()).unwrap_err().to_string(),
        "line 6 of `tasks` gives task eu a second owner; the allocator replaces the page by an empty \
         one, so its tasks stop and are assigned again"
    );
}

#[test]
fn each_fault_is_found_on_its_line() {
    let table = |line, fault| unreadable(Part::Table, line, fault);
    let tasks = |line, fault| unreadable(Part::Tasks, line, fault);
    let named = |name| TaskName::new(name).unwrap();
    let cases = [
        ("page 0 of 2", "page 0 of 0", table(1, Fault::Pages)),
        ("page 0 of 2", "page 0 of 65", table(1, Fault::Pages)),
        ("page 0 of 2", "page 1 of 2", table(1, Fault::OtherPage)),
        (
            "page 0 of 2, named tasks",
            "page 0 of table 1, seen at version 1, named tasks",
            table(1, Fault::OtherPage),
        ),
        ("named tasks", "slots", table(1, Fault::Unknown)),
        (", open", ", ajar", table(1, Fault::Unknown)),
        (", open", ", not open yet", tasks(1, Fault::NotOpen)),
        ("highest token 4801", "highest token x", table(2, Fault::Unknown)),
        ("highest token 4801", "highest token 4789", tasks(2, Fault::Token)),
        ("replaces version 4801", "replaces version 4800", tasks(3, Fault::Revoked)),
        ("replaces version 4801", "replaces version 04801", table(3, Fault::Check)),
        ("check", "cheque", table(3, Fault::Check)),
        ("lease 15s", "lease 0s", tasks(1, Fault::Lease)),
        ("lease 15s", "lease 60.001s", tasks(1, Fault::Lease)),
        ("lease 15s", "lease 1.2345s", tasks(1, Fault::Unknown)),
        ("lease 15s", "lease 15.0s", table(3, Fault::Check)),
        ("term 4711", "term 0", tasks(1, Fault::Token)),
        ("term 4711", "term -1", tasks(1, Fault::Unknown)),
        ("seat 6f8e2c1a-", "seat", tasks(1, Fault::Unknown)),
        ("at 10.0.0.7", "by 10.0.0.7", tasks(1, Fault::Unknown)),
        ("at 10.0.0.7", "at %ff", tasks(1, Fault::Unknown)),
        ("at 10.0.0.7", "at %", tasks(1, Fault::Unknown)),
        ("at 10.0.0.7", "at 10.0.0%2E7", table(3, Fault::Check)),
        (
            "  run eu, token 4790\n  stop jp, token 4790, as of version 4801\n",
            "",
            tasks(1, Fault::NoTasks),
        ),
        ("run eu", "run jp", tasks(3, Fault::TwoOwners(named("jp")))),
        ("run eu", "run us", tasks(2, Fault::WrongPage(named("us")))),
        ("run eu", "runs eu", tasks(2, Fault::Unknown)),
        ("run eu, token 4790", "run eu, token 0", tasks(2, Fault::Token)),
        ("token 4790, as of", "token 4790 as of", tasks(3, Fault::Unknown)),
    ];
    let text = example().to_text(FIRST, GROUP, Some(&own()));
    for (from, to, error) in cases {
        let replaced = PageText {
            table: text.table.replacen(from, to, 1),
            tasks: text.tasks.replacen(from, to, 1),
        };
        assert_ne!(replaced, text, "{from}");
        assert_eq!(replaced.parse(FIRST, GROUP, &own()), Err(error), "{from:?} to {to:?}");
    }
}

#[test]
fn a_page_that_breaks_a_rule_cannot_be_read_although_its_check_matches() {
    let read = |page: &Page| page.to_text(FIRST, GROUP, Some(&own())).parse(FIRST, GROUP, &own());
    let fault = |page: &Page| read(page).unwrap_err().fault;
    assert_eq!(read(&example()), Ok(example()));

    let new = Page { replaces: 0, ..Page::empty(Place::First(shape(2))) };
    assert_eq!(fault(&Page { is_open: true, ..new.clone() }), Fault::NotEmpty);
    assert_eq!(fault(&Page { highest_token: FencingToken(1), ..new }), Fault::NotEmpty);
    assert_eq!(fault(&Page { is_open: false, ..example() }), Fault::NotOpen);
    assert_eq!(fault(&Page { place: further(1), ..example() }), Fault::OtherPage);
    assert_eq!(fault(&Page { place: Place::First(shape(0)), ..example() }), Fault::Pages);
    let without_tasks = || (term("a", 1), Order { tasks: BTreeMap::new(), ..order([]) });
    let mut page = example();
    page.orders.extend([without_tasks()]);
    assert_eq!(fault(&page), Fault::NoTasks);
}

#[test]
fn a_page_that_is_no_page_of_its_table_cannot_be_read() {
    let page = Page { replaces: 1, ..Page::empty(further(7)) };
    let read = |index| page.to_text(index, GROUP, Some(&own())).parse(index, GROUP, &own());
    assert_eq!(read(PageIndex(63)), Ok(page.clone()));
    assert_eq!(read(PageIndex(64)), Err(unreadable(Part::Table, 1, Fault::Pages)));
    let first = Page { replaces: 1, ..Page::empty(Place::First(shape(9))) };
    let text = first.to_text(PageIndex(1), GROUP, Some(&own()));
    let other_page = unreadable(Part::Table, 1, Fault::OtherPage);
    assert_eq!(text.parse(PageIndex(1), GROUP, &own()), Err(other_page));
}

#[test]
fn a_page_that_is_too_long_cannot_be_read() {
    let tasks = "x".repeat(PageText::LONGEST + 1);
    let text = PageText { table: String::new(), tasks };
    let too_long = unreadable(Part::Tasks, 1, Fault::TooLong);
    assert_eq!(text.parse(FIRST, GROUP, &own()), Err(too_long));
}

proptest! {
    #[test]
    fn a_page_is_read_as_it_was_written((index, page, own) in any_page()) {
        let text = page.to_text(index, GROUP, Some(&own));
        prop_assert_eq!(text.parse(index, GROUP, &own), Ok(page));
    }

    #[test]
    fn random_text_is_unreadable(table in any::<String>(), tasks in any::<String>()) {
        let text = PageText { table, tasks };
        prop_assert!(text.parse(FIRST, GROUP, &own()).is_err());
    }

    #[test]
    fn text_that_is_nearly_a_page_is_unreadable(table in nearly(TABLE_WORDS), tasks in nearly(TASK_WORDS)) {
        let text = PageText { table, tasks };
        prop_assert!(text.parse(FIRST, GROUP, &own()).is_err());
    }
}

// How much a page can hold.

#[test]
fn a_task_takes_few_bytes() {
    let cases = [(10, 1_000, 2), (100, 1_000, 2), (10, 10_000, 12), (100, 10_000, 20)];
    for (members, tasks, most_pages) in cases {
        let of = |pages| {
            let texts = table(members, tasks, pages).into_iter();
            texts.map(|text| text.table.len() + text.tasks.len()).collect::<Vec<_>>()
        };
        let fits = |sizes: &Vec<usize>| sizes.iter().all(|size| *size <= 32 * 1024);
        let sizes = (1..=64).map(of).find(fits).unwrap();
        let (pages, a_task) = (sizes.len(), sizes.iter().sum::<usize>() / tasks);
        println!(
            "{tasks} tasks, {members} members: {a_task} bytes a task, {pages} pages of 32 KiB"
        );
        assert!(pages <= most_pages);
    }
}

/// A table with names, uids and numbers as long as they are in a cluster that has been used for some time.
fn table(members: usize, tasks: usize, pages: u8) -> Vec<PageText> {
    let place = |index: PageIndex| match index {
        FIRST => Place::First(shape(pages)),
        _ => further(123_456_789),
    };
    let empty = |index| Page {
        is_open: true,
        highest_token: FencingToken(123_456_999),
        replaces: 123_456_990,
        ..Page::empty(place(index))
    };
    let mut table: BTreeMap<_, _> =
        shape(pages).pages().map(|index| (index, empty(index))).collect();
    for task in 0..tasks {
        let name = TaskName::new(format!("tenant-{task:05}")).unwrap();
        let page = table.get_mut(&shape(pages).page_of(&name)).unwrap();
        let member = task % members;
        let term = SeatTerm {
            member: Identity::new(format!("indexer-7d9c6bf5d8-{member:05}")).unwrap(),
            seat: Uid(format!("6f8e2c1a-3d54-4b7e-9f10-{member:012}")),
            token: FencingToken(123_450_000),
        };
        let assignment = Assignment { token: FencingToken(123_456_790), revoked: None };
        page.orders.entry(term).or_insert_with(|| order([])).tasks.insert(name, assignment);
    }
    table.iter().map(|(index, page)| page.to_text(*index, GROUP, Some(&own()))).collect()
}

fn example() -> Page {
    let mut second = order([("ap", 4801, None)]);
    second.address = None;
    second.lease_duration = Duration::from_millis(1500);
    Page {
        place: Place::First(shape(2)),
        is_open: true,
        highest_token: FencingToken(4801),
        replaces: 4801,
        orders: BTreeMap::from([
            (term("worker-0", 4711), order([("eu", 4790, None), ("jp", 4790, Some(4801))])),
            (term("worker-1", 4799), second),
        ]),
    }
}

fn shape(pages: u8) -> Shape {
    Shape { kind: Kind::Named, pages }
}

fn further(seen: u64) -> Place {
    Place::Further { table: Uid("0b5c…".to_owned()), seen, kind: Kind::Named }
}

fn own() -> Uid {
    Uid("2d1f7c9e-0a4b-4c8d-8e6f-5b3a1c0d9e7f".to_owned())
}

fn term(member: &str, token: u64) -> SeatTerm {
    SeatTerm {
        member: Identity::new(member).unwrap(),
        seat: Uid(format!("6f8e2c1a-3d54-4b7e-9f10-a2b3c4d5{token}")),
        token: FencingToken(token),
    }
}

fn order<const COUNT: usize>(tasks: [(&str, u64, Option<u64>); COUNT]) -> Order {
    let task = |(name, token, revoked)| {
        (TaskName::new(name).unwrap(), Assignment { token: FencingToken(token), revoked })
    };
    Order {
        lease_duration: Duration::from_secs(15),
        address: Some("10.0.0.7:8080".to_owned()),
        tasks: tasks.map(task).into(),
        next: BTreeMap::new(),
    }
}

fn unreadable(part: Part, line: usize, fault: Fault) -> Unreadable {
    Unreadable { part, line, fault }
}

fn without_check(text: &PageText) -> (&str, &str) {
    let at = text.table.find("check ").unwrap();
    assert_eq!(text.table[at..].len(), "check 0123456789abcdef\n".len());
    (&text.table[..at], &text.tasks)
}

/// Each byte: whether it is in the table, and where.
fn places(text: &PageText) -> impl Iterator<Item = (bool, usize)> {
    let table = (0..text.table.len()).map(|at| (true, at));
    table.chain((0..text.tasks.len()).map(|at| (false, at)))
}

fn edited(text: &PageText, table: bool, edit: impl FnOnce(&mut Vec<u8>)) -> PageText {
    let mut edited = text.clone();
    let field = if table { &mut edited.table } else { &mut edited.tasks };
    let mut bytes = std::mem::take(field).into_bytes();
    edit(&mut bytes);
    *field = String::from_utf8(bytes).unwrap();
    edited
}

const TABLE_WORDS: &[&str] = &[
    "page 0 of ",
    "2",
    ", named tasks",
    ", open",
    ", not open yet",
    "\n",
    "highest token ",
    "7",
    ", replaces version ",
    "0",
    "check ",
    "table x",
    ", seen at version ",
];
const TASK_WORDS: &[&str] = &[
    "a",
    ", seat u",
    ", term 1",
    ", lease 1s",
    ", lease 99999999999999999999s",
    ", at %41",
    ":",
    "\n",
    "  run a",
    ", token 1",
    "  stop b",
    ", as of version 1",
    "%",
    "é",
];

/// Text of such pieces.
fn nearly(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(words), 0..20).prop_map(|words| words.concat())
}

/// A page that follows all rules.
fn any_page() -> impl Strategy<Value = (PageIndex, Page, Uid)> {
    let uid = || "[ -~é,%]{1,40}".prop_map(Uid);
    let kind = || {
        let count = || 1..=Kind::MOST;
        prop_oneof![
            Just(Kind::Named),
            count().prop_map(Kind::Slots),
            count().prop_map(Kind::Permits)
        ]
    };
    let place = prop_oneof![
        (1..=3_u8, kind()).prop_map(|(pages, kind)| (FIRST, Place::First(Shape { kind, pages }))),
        (1..64_u8, uid(), any::<u64>(), kind()).prop_map(|(index, table, seen, kind)| {
            (PageIndex(index), Place::Further { table, seen, kind })
        }),
    ];
    // Few of them, so that several tasks have the same.
    let token = prop_oneof![1..=2_u64, 1..=u64::MAX];
    let assignment = (token, prop::option::of(prop_oneof![0..=2_u64, any::<u64>()]));
    let task = ("[!-~]{1,12}", 0..40_u16, assignment);
    let member = prop_oneof!["[a-z0-9-]{1,12}", any::<String>()];
    let member = member.prop_filter_map("not empty", Identity::new);
    let address = prop::option::of(prop_oneof!["[0-9.:]{1,20}", "\\PC{1,20}"]);
    let term = (member, uid(), 1..=u64::MAX, 1..=60_000_u64, address);
    let orders = prop::collection::vec((term, prop::collection::vec(task, 1..20)), 0..6);
    (place, uid(), any::<bool>(), orders).prop_map(|((index, place), own, is_open, orders)| {
        let mut page = Page { is_open, replaces: 1, ..Page::empty(place) };
        let orders = orders.into_iter().filter(|_| is_open);
        for ((member, seat, token, millis, address), tasks) in orders {
            let lease_duration = Duration::from_millis(millis);
            let (tasks_of_term, next) = Default::default();
            let mut order = Order { lease_duration, address, tasks: tasks_of_term, next };
            for (name, number, (token, revoked)) in tasks {
                let name = match page.kind().count() {
                    None => TaskName::new(name).unwrap(),
                    Some(count) => TaskName::numbered(number % count),
                };
                let is_here = page.shape().is_none_or(|shape| shape.page_of(&name) == index);
                // Some that have an owner already are to be prepared.
                if let Some(since) = revoked.filter(|_| is_here && page.owner_of(&name).is_some()) {
                    page.replaces = page.replaces.max(since);
                    order.next.insert(name, since);
                } else if is_here && page.owner_of(&name).is_none() {
                    page.highest_token = page.highest_token.max(FencingToken(token));
                    page.replaces = page.replaces.max(revoked.unwrap_or(0));
                    order.tasks.insert(name, Assignment { token: FencingToken(token), revoked });
                }
            }
            if !order.tasks.is_empty() || !order.next.is_empty() {
                page.orders.insert(SeatTerm { member, seat, token: FencingToken(token) }, order);
            }
        }
        (index, page, own)
    })
}
