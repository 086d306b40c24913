//! Slots and permits: which slot a key has, and on which page a number is.

use incumbent_core::group::{Kind, PageIndex, Shape, TaskName, slot_of};

/// The figures of Redis Cluster's specification and of its `CLUSTER KEYSLOT`.
#[test]
fn a_key_has_the_slot_that_redis_cluster_gives_it() {
    for (key, slot) in [("123456789", 0x31c3), ("foo", 12_182), ("bar", 5_061), ("", 0)] {
        assert_eq!(slot_of(key.as_bytes(), Kind::MOST), slot % Kind::MOST, "{key:?}");
    }
}

#[test]
fn only_the_tag_of_a_key_counts() {
    let slot = |key: &str| slot_of(key.as_bytes(), Kind::MOST);
    let same = [
        ("{user1000}.following", "user1000"),
        ("a{user1000}b{other}", "user1000"),
        ("foo{{bar}}zap", "{bar"),
        ("foo{bar}{zap}", "bar"),
    ];
    for (key, tag) in same {
        assert_eq!(slot(key), slot(tag), "{key:?}");
    }
    // No tag: a brace that is never closed, and nothing between the braces.
    for key in ["foo{bar", "foo{}{bar}", "}foo{"] {
        assert_ne!(slot(key), slot("bar"), "{key:?}");
    }
    assert_ne!(slot("foo{}{bar}"), slot(""));
}

#[test]
fn keys_are_spread_over_all_slots() {
    let mut keys = vec![0; 64];
    for key in 0..6_400 {
        keys[usize::from(slot_of(format!("tenant-{key}").as_bytes(), 64))] += 1;
    }
    assert!(keys.iter().all(|keys| (50..=150).contains(keys)), "{keys:?}");
}

#[test]
fn neighbouring_slots_are_on_one_page_and_pages_have_equally_many() {
    let shape = Shape { kind: Kind::Slots(4_096), pages: 8 };
    for slot in 0..4_096 {
        let page = shape.page_of(&TaskName::numbered(slot));
        assert_eq!(page, PageIndex(u8::try_from(slot / 512).unwrap()));
    }
    // Also a number that no slot has is on some page.
    assert_eq!(shape.page_of(&TaskName::numbered(u16::MAX)), PageIndex(7));
}

#[test]
fn permits_are_all_on_page_0() {
    let shape = Shape { kind: Kind::Permits(100), pages: 8 };
    assert!(shape.kind.tasks().all(|permit| shape.page_of(&permit) == PageIndex::FIRST));
}

#[test]
fn only_the_plain_digits_of_a_number_name_a_numbered_task() {
    for (name, number) in [("0", Some(0)), ("4095", Some(4_095)), ("65535", Some(65_535))] {
        assert_eq!(TaskName::new(name).unwrap().number(), number);
    }
    for name in ["00", "+1", "-1", "65536", "eu"] {
        assert_eq!(TaskName::new(name).unwrap().number(), None, "{name}");
    }
}
