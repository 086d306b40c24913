//! A fault is read as it is written, and what is none is refused with a reason.

use incumbent_apiserver::Fault;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

#[test]
fn what_is_no_fault_is_refused_with_a_reason() {
    for (text, why) in [
        ("", "a fault needs one of"),
        ("verb=update", "a fault needs one of"),
        ("verb=fly,error=500", "verb=fly is not understood"),
        ("error=200", "error=200 is not understood: 401, 403"),
        ("error=500,drop=answer", "error and drop are two faults"),
        ("latency=2s..1s", "the shorter one first"),
        ("latency=fast", "latency=fast is not understood"),
        ("drop=answer,rate=0%", "rate=0% is not understood"),
        ("drop=answer,rate=101%", "rate=101% is not understood"),
        ("drop=answer,for=0s", "for=0s is not understood"),
        ("drop=answer,for=-1s", "for=-1s is not understood"),
        ("drop=answer,for=2000000000h", "is not understood"),
        ("latency=1s,by=close", "by can only be used with drop"),
        ("drop=request,late=1s", "late can only be used with error and drop=answer"),
        ("freeze=continue,rate=1%", "freeze cannot have a rate"),
        ("late=1s,retry-after=1", "retry-after can only be used with error"),
        ("late=1s,late=2s", "late is given twice"),
        ("user=,error=500", "a string without commas"),
        ("colour=red", "\"colour\" is not a key"),
    ] {
        let error = text.parse::<Fault>().expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    assert!(Fault::SYNTAX.lines().all(|line| line.chars().count() <= 78));
}

proptest! {
    #[test]
    fn a_fault_reads_as_it_is_written(text in fault()) {
        let fault: Fault = text.parse().unwrap();
        prop_assert_eq!(&fault.to_string().parse::<Fault>().unwrap(), &fault, "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "([a-z-]{1,8}=?[a-z0-9%.s,]{0,8},?){0,4}") {
        let _ = text.parse::<Fault>();
    }
}

fn fault() -> impl Strategy<Value = String> {
    let whom = subsequence(
        vec![
            "verb=get",
            "verb=write",
            "user=a:b",
            "client=c/1 (x)",
            "resource=leases",
            "namespace=n",
        ],
        0..=6,
    );
    let span = || (0..5_000_u64, 0..5_000_u64).prop_map(|(a, b)| format!("{a}ms..{}ms", a + b));
    let effect = prop_oneof![
        span().prop_map(|span| format!("latency={span}")),
        span().prop_map(|span| format!("late={span}")),
        (select(vec![401, 429, 500, 504]), span()).prop_map(|(c, s)| format!("error={c},late={s}")),
        (0..100_u32).prop_map(|seconds| format!("error=503,retry-after={seconds}")),
        span().prop_map(|span| format!("drop=answer,by=close,late={span}")),
        select(vec!["drop=request", "drop=answer", "drop=request,by=close"])
            .prop_map(str::to_owned),
    ];
    let rate = proptest::option::of((1..=1_000_000_u32).prop_map(|n| f64::from(n) / 10_000.0));
    let lasts = proptest::option::of(1..100_000_u64);
    (whom, effect, rate, lasts).prop_map(|(mut parts, effect, rate, lasts)| {
        parts.push(&effect);
        let mut text = parts.join(",");
        text.extend(rate.map(|rate| format!(",rate={rate}%")));
        text.extend(lasts.map(|lasts| format!(",for={lasts}ms")));
        text
    })
}
