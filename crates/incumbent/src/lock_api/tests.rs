use std::time::Duration;

use incumbent_apiserver::{ApiServer, Verb};
use incumbent_core::{Uid, Version};

use super::*;

/// The server, its lock as it was made, and a way to it.
async fn lock() -> (ApiServer, Stored, LockApi) {
    let server = ApiServer::new();
    let client = kube::Client::new(server.service(), "default");
    let api = LockApi::new(client, Lock::lease("default", "lock"));
    let answer = api.send(Operation::Create(Record::default()), None).await;
    (server, answer.object.and_then(Stored::new).unwrap(), api)
}

fn replace(base: Version) -> Operation {
    Operation::Replace { base, record: Record::default() }
}

#[tokio::test]
async fn a_replace_of_a_version_that_is_not_at_hand_does_not_leave() {
    let (server, stored, api) = lock().await;
    let mut judged = stored.version().clone();
    judged.revision += 1;
    let remade = Version { uid: Uid("another".to_owned()), ..stored.version().clone() };
    let none = (stored.version().clone(), None);
    for (base, current) in [(judged, Some(stored.clone())), (remade, Some(stored.clone())), none] {
        let answer = api.send(replace(base), current).await;
        assert!(matches!(answer.outcome, Outcome::NotSent), "{:?}", answer.outcome);
        assert_eq!(answer.reply, Reply::Conflict, "go and read");
    }
    assert_eq!(server.requests().of(Verb::Update), 0);
    let answer = api.send(replace(stored.version().clone()), Some(stored)).await;
    assert!(matches!(answer.reply, Reply::Written(_)), "{:?}", answer.reply);
}

/// Answers without a body that makes sense, by something between the candidate and the server.
#[tokio::test]
async fn what_an_answer_means_for_a_read_and_for_a_write() {
    let (server, stored, api) = lock().await;
    let refused = Reply::Refused { retry_after: None };
    for (code, read, write) in [
        (401, refused.clone(), refused.clone()),
        (403, refused.clone(), refused.clone()),
        (409, refused.clone(), Reply::Conflict),
        (500, refused.clone(), Reply::Unknown),
        (503, refused.clone(), Reply::Unknown),
        (504, refused.clone(), Reply::Unknown),
    ] {
        let fault = server.faults().add(format!("error={code}").parse().unwrap());
        assert_eq!(api.read().await.reply, read, "{code}");
        assert_eq!(api.replace(&stored.object()).await.reply, write, "{code}");
        server.faults().remove(&fault);
    }
    let in_two = Reply::Refused { retry_after: Some(Duration::from_secs(2)) };
    server.faults().add("error=429,retry-after=2".parse().unwrap());
    assert_eq!(api.replace(&stored.object()).await.reply, in_two);
}
