//! What is seen in a real browser.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::pages::{dashboard, lease, request, two};
use crate::support::browser::Browser;
use crate::support::dashboard::Dashboard;
use crate::support::sidecar::until;
use crate::support::{Candidate, Cluster};

/// The row of `lease/scanner` in the table, for a selector.
const ROW: &str = "[data-testid=election][data-lock=\"lease/scanner\"]";

fn row(more: &str) -> String {
    format!("document.querySelector('{ROW}{more}')")
}

fn is_live(browser: &Browser) {
    browser.until("document.body.dataset.live === '1'");
}

#[test]
fn a_change_of_leader_is_seen_within_a_second() {
    let Some(browser) = Browser::start() else { return };
    let cluster = Cluster::start();
    let dashboard = dashboard(&cluster, "");
    let (john, jane) = two(&cluster, &dashboard);
    browser.open(&dashboard.url);
    is_live(&browser);
    browser.until(&row("[data-holder=john][data-state=Held]"));
    // A machine that is busy delays one change or the other, but not five.
    let mut next = [("jane", jane), ("john", john)];
    let mut took = Vec::new();
    while took.len() < 5 && took.iter().all(|took| *took >= 1000) {
        let (name, candidate) = &mut next[0];
        dashboard.when("lease/scanner", "it waits", |it| it["waitlist"][0]["identity"] == *name);
        took.push(seen_after(&cluster, &browser, name, candidate));
        browser.until(&row(&format!("[data-holder={name}][data-state=Held]")));
        next.swap(0, 1);
    }
    println!("seen {took:?} ms after the new leader said so");
    assert!(took.last() < Some(&1000), "{took:?} ms");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Makes it lead, and says how many milliseconds after its own word the page shows it.
fn seen_after(cluster: &Cluster, browser: &Browser, name: &str, candidate: &mut Candidate) -> i64 {
    browser.js(&format!(
        "if (window.observer) window.observer.disconnect();
        window.seenAt = 0;
        window.observer = new MutationObserver(() => {{
            if (!window.seenAt && {}) window.seenAt = Date.now();
        }});
        window.observer.observe(document.getElementById('rows'), {{ childList: true, subtree: true }});",
        row(&format!("[data-holder={name}]"))
    ));
    // Its turn lasts a tenth of a second, which it may miss.
    let asked = || cluster.run(&format!("step-down scanner --to {name} --wait")).stdout;
    assert!((0..10).any(|_| asked().contains(&format!("{name} leads"))));
    let led = candidate.event("leading");
    let led: Timestamp = led["time"].as_str().unwrap().parse().unwrap();
    browser.until("window.seenAt");
    browser.js("return window.seenAt").as_i64().unwrap() - led.as_millisecond()
}

#[test]
fn a_page_survives_a_restart_of_the_dashboard_and_is_unsure_in_between() {
    let Some(browser) = Browser::start() else { return };
    let cluster = Cluster::start();
    let first = dashboard(&cluster, "");
    let _candidates = two(&cluster, &first);
    browser.open(&first.url);
    is_live(&browser);
    browser.until(&row("[data-state=Held]"));
    let address = first.address().to_owned();
    drop(first);
    browser.until("document.body.dataset.lost");
    browser.until(&row("[data-state=Unknown]"));
    let said = browser.js("return document.querySelector('.live').textContent");
    assert!(said.as_str().unwrap().starts_with("connection lost since"), "{said}");
    browser.picture("connection-lost");
    let _second = Dashboard::start_on(cluster.command("dashboard"), &address);
    is_live(&browser);
    browser.until(&row("[data-state=Held]"));
    assert_eq!(browser.js("return document.body.dataset.lost ?? null"), Value::Null);
}

#[test]
fn what_cannot_be_watched_is_unknown() {
    let Some(browser) = Browser::start() else { return };
    let mut cluster = Cluster::start();
    let address = cluster.listening().address();
    let dashboard = dashboard(&cluster, "");
    let _candidates = two(&cluster, &dashboard);
    browser.open(&dashboard.url);
    is_live(&browser);
    browser.until(&row("[data-state=Held]"));
    cluster.stop();
    browser.until(&row("[data-state=Unknown]"));
    browser.until("document.querySelector('[data-testid=watch][data-ok=false]')");
    browser.until("document.querySelector('[data-kind=unseen]')");
    browser.until("document.querySelector('.live').textContent.startsWith('cannot see')");
    assert_eq!(browser.js(&format!("return {}.querySelector('progress')", row(""))), Value::Null);
    browser.picture("watch-cut");
    cluster.listen_again(address);
    browser.until(&row("[data-state=Held]"));
    browser.until("document.querySelector('[data-testid=watch][data-ok=true]')");
}

#[test]
fn a_click_moves_the_leader() {
    let Some(browser) = Browser::start() else { return };
    let cluster = Cluster::start();
    let dashboard = dashboard(&cluster, "--allow-steer");
    let (mut john, mut jane) = two(&cluster, &dashboard);
    browser.open(&format!("{}/lock/default/lease/scanner", dashboard.url));
    is_live(&browser);
    browser.until("document.querySelector('[data-testid=now][data-holder=john]')");
    browser.click("[data-testid=hand-over] summary");
    let effect =
        browser.js("return document.querySelector('[data-testid=hand-over] p').textContent");
    assert_eq!(effect, "Asks john to stop its work and hand over. jane is next.");
    browser.picture("steer");
    browser.click("[data-testid=hand-over] button");
    jane.event("leading");
    browser.until("document.querySelector('[data-testid=now][data-holder=jane]')");
    assert_eq!(browser.js("return location.pathname"), "/lock/default/lease/scanner");
    assert_eq!(john.event("released")["identity"], "john");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_page_without_a_script_is_whole() {
    let Some(browser) = Browser::start() else { return };
    let cluster = Cluster::start();
    let dashboard = dashboard(&cluster, "--allow-steer");
    let _candidates = two(&cluster, &dashboard);
    browser.command("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.open(&dashboard.url);
    browser.until(&row("[data-holder=john]"));
    for what in
        ["progress[value]", "[data-testid=lane] title", "noscript meta[http-equiv=refresh]", ".age"]
    {
        let found = browser.js(&format!("return document.querySelector('{what}') !== null"));
        assert_eq!(found, true, "{what}");
    }
    assert_eq!(browser.js("return document.body.dataset.live"), "0");
    browser.picture("no-script");
    browser.open(&format!("{}/?q=nothing-like-it", dashboard.url));
    browser.until("document.getElementById('rows')");
    assert_eq!(browser.js("return document.getElementById('rows').children.length"), 0);
}

#[test]
fn five_hundred_elections_are_quick_to_see_and_to_filter() {
    let Some(browser) = Browser::start() else { return };
    let cluster = Cluster::start();
    for number in 0..500 {
        let name = format!("worker-{number:03}-with-a-rather-long-name");
        cluster
            .server
            .create(lease("default", &name, &format!("pod-{number}-7d9f5c8b6d-x2k4q")))
            .unwrap();
    }
    let dashboard = dashboard(&cluster, "");
    browser.screen(390, 844);
    let began = Instant::now();
    browser.open(&dashboard.url);
    is_live(&browser);
    let took = began.elapsed();
    println!("500 elections are live after {took:?}");
    // A second or so in a release; this is a debug build beside other tests.
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_eq!(browser.js("return document.getElementById('rows').children.length"), 500);
    let width = browser.js("return document.documentElement.scrollWidth");
    assert_eq!(width, 390, "nothing sticks out");
    browser.picture("five-hundred-phone");
    browser.write("[data-testid=filter]", "worker-12");
    browser.until("document.querySelectorAll('#rows tr:not([hidden])').length === 10");
    browser.write("[data-testid=filter]", "x");
    browser.until("!document.getElementById('unmatched').hidden");
    let lanes = browser.js("return document.querySelectorAll('[data-testid=lane]').length");
    assert_eq!(lanes, 30);
    // One that comes is where it belongs, and is filtered as the others.
    browser
        .js("const filter = document.querySelector('[data-testid=filter]'); filter.value = ''; \
                filter.dispatchEvent(new Event('input'));");
    cluster.server.create(lease("default", "worker-000", "john")).unwrap();
    browser.until("document.getElementById('rows').children.length === 501");
    assert_eq!(
        browser.js("return document.getElementById('rows').firstElementChild.dataset.lock"),
        "lease/worker-000"
    );
}

#[test]
fn it_follows_light_and_dark_and_less_motion() {
    let Some(browser) = Browser::start() else { return };
    let cluster = Cluster::start();
    cluster.server.create(lease("default", "scanner", "john")).unwrap();
    let dashboard = dashboard(&cluster, "");
    browser.open(&dashboard.url);
    is_live(&browser);
    let background = || browser.js("return getComputedStyle(document.body).backgroundColor");
    browser.prefer("light");
    assert_eq!(background(), "rgb(247, 247, 245)");
    browser.prefer("dark");
    assert_eq!(background(), "rgb(21, 23, 26)");
    let landmarks =
        "return ['header', 'main', 'footer', 'h2', 'th[scope=col]', 'th[scope=row]', '[aria-live]']
        .filter(what => !document.querySelector(what))";
    assert_eq!(browser.js(landmarks), json!([]));
}

/// The pictures of docs/dashboard.md: a namespace or two on a busy day.
#[test]
fn pictures_are_taken() {
    let Some(browser) = Browser::start() else { return };
    let cluster = Cluster::start();
    let _candidates = a_busy_day(&cluster);
    let dashboard = dashboard(&cluster, "-A --allow-steer");
    until("all is seen to be so", || {
        let state = dashboard.get("/api/state").json();
        let elections = state["elections"].as_array()?.iter();
        let count = |kind: &str| {
            let is_sure =
                |one: &&Value| one["state"] == kind && (kind == "held" || one["isCertain"] == true);
            elections.clone().filter(is_sure).count()
        };
        (count("held") == 5 && count("expired") == 1 && count("vacant") == 1).then_some(())
    });
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        browser.screen(1100, 1110);
        browser.open(&dashboard.url);
        is_live(&browser);
        browser.js("document.querySelector('.place').textContent = 'all namespaces · https://10.96.0.1:443'");
        keep(&browser, &format!("dashboard-{scheme}"));
        browser.screen(390, 844);
        assert_eq!(browser.js("return document.documentElement.scrollWidth"), 390);
        keep(&browser, &format!("phone-{scheme}"));
        browser.screen(1100, 1010);
        browser.open(&format!("{}/lock/shop/lease/orders", dashboard.url));
        is_live(&browser);
        browser.js("document.querySelector('.place').textContent = 'all namespaces · https://10.96.0.1:443'");
        keep(&browser, &format!("election-{scheme}"));
        browser.screen(390, 844);
        assert_eq!(browser.js("return document.documentElement.scrollWidth"), 390);
        keep(&browser, &format!("election-phone-{scheme}"));
    }
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Keeps a picture, and, where that is wished, as one of the documentation's.
fn keep(browser: &Browser, name: &str) {
    let file = browser.picture(name);
    let is_shown = matches!(name, "dashboard-light" | "dashboard-dark" | "election-light");
    if is_shown && std::env::var_os("INCUMBENT_UPDATE_SCREENSHOTS").is_some() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(file, folder.join(format!("{name}.png"))).unwrap();
    }
}

fn a_busy_day(cluster: &Cluster) -> Vec<Candidate> {
    for name in ["shop", "search"] {
        let metadata = json!({ "name": name });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        cluster.server.create(namespace).unwrap();
    }
    // What went before, as Events tell it: seconds ago, who, and whether it came or went.
    for (namespace, lock, told) in [
        (
            "shop",
            "orders",
            &[
                (290, "orders-6c4f7d-h7xkp", true),
                (170, "orders-6c4f7d-h7xkp", false),
                (158, "orders-6c4f7d-2vq9s", true),
            ][..],
        ),
        (
            "shop",
            "mailer",
            &[(280, "mailer-0", true), (130, "mailer-0", false), (128, "mailer-1", true)],
        ),
        (
            "search",
            "indexer",
            &[
                (298, "indexer-b", true),
                (240, "indexer-b", false),
                (236, "indexer-a", true),
                (180, "indexer-a", false),
                (172, "indexer-b", true),
                (110, "indexer-b", false),
                (98, "indexer-c", true),
            ],
        ),
        ("search", "migrations", &[(262, "migrations-x8", true), (31, "migrations-x8", false)]),
        ("search", "crawler", &[(295, "crawler-1", true), (75, "crawler-1", false)]),
    ] {
        for (ago, who, came) in told {
            event(cluster, namespace, lock, *ago, who, *came);
        }
    }
    let mut candidates = Vec::new();
    for (lock, namespace, names) in [
        (
            "lease/orders",
            "shop",
            &["orders-6c4f7d-9wz4m", "orders-6c4f7d-h7xkp", "orders-6c4f7d-2vq9s"][..],
        ),
        ("lease/mailer", "shop", &["mailer-1", "mailer-0"]),
        ("lease/indexer", "search", &["indexer-a", "indexer-b", "indexer-c"]),
        ("lease/migrations", "search", &["migrations-q4"]),
    ] {
        for name in names {
            let what =
                format!("elect -n {namespace} --lock {lock} --identity {name} --preset fast");
            let mut candidate = Candidate::start(cluster.command(&what));
            if *name == names[0] {
                candidate.event("leading");
            }
            candidates.push(candidate);
        }
    }
    let path =
        |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let ago = |seconds| format!("{:.6}", Timestamp::now() - Duration::from_secs(seconds));
    // Another program's; one whose leader is long gone; and one that is paused.
    let mut theirs = lease("shop", "cert-manager", "cert-manager-5d9_leader");
    theirs["spec"]["acquireTime"] = ago(299).into();
    request(cluster, "POST", &path("shop"), Some(theirs));
    let mut gone = lease("shop", "reports", "reports-59c8-qm2rx");
    gone["spec"]["leaseDurationSeconds"] = json!(2);
    gone["spec"]["acquireTime"] = ago(270).into();
    gone["spec"]["renewTime"] = ago(48).into();
    request(cluster, "POST", &path("shop"), Some(gone));
    let mut paused = lease("search", "crawler", "");
    paused["metadata"]["annotations"]["incumbent.dev/cordon"] = json!("*");
    request(cluster, "POST", &path("search"), Some(paused));
    candidates
}

fn event(cluster: &Cluster, namespace: &str, lock: &str, ago: u64, who: &str, came: bool) {
    let at = Timestamp::now().checked_sub(Duration::from_secs(ago)).unwrap();
    let what = if came { "became leader" } else { "stopped leading" };
    let about = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": lock, "namespace": namespace });
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "type": "Normal", "reason": "LeaderElection",
        "metadata": { "name": format!("{lock}.{ago}"), "namespace": namespace },
        "involvedObject": about, "message": format!("{who} {what}"),
        "firstTimestamp": format!("{at:.0}"), "lastTimestamp": format!("{at:.0}"), "count": 1,
    });
    cluster.server.create(event).unwrap();
}
