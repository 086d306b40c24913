use super::*;

#[test]
fn a_lock_is_read_as_it_is_shown() {
    for text in ["lease/scanner", "configmap/blackboard", "configmap/blackboard:east_1"] {
        assert_eq!(Lock::parse("prod", text).unwrap().to_string(), text);
    }
    for text in
        ["scanner", "pod/x", "lease/", "lease/A", "lease/-a", "configmap/b:", "configmap/b:a b"]
    {
        assert!(Lock::parse("prod", text).is_err(), "{text}");
    }
    assert!(Lock::parse("no such", "lease/a").is_err());
}
