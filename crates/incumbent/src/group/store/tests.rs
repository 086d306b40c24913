use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response};
use incumbent_apiserver::{ApiServer, Body as Served, Service};
use incumbent_core::group::{Kind, Place, SeatInfo, Shape};
use incumbent_core::{FencingToken, HolderInfo, Session, Stamp, Version, WallTime};
use kube::client::Body;

use super::*;

#[tokio::test]
async fn the_list_of_seats_comes_from_the_store_and_has_those_that_lost_their_label() {
    let (server, store, asked) = store();
    server.create(held_seat()).unwrap();
    let done = store.send(Ask::ListSeats, None).await;
    let Answer::Seats(list) = done.answer else { panic!("{:?}", done.answer) };
    let held: Vec<_> = list.held.iter().map(|seat| seat.term.member.as_str()).collect();
    assert_eq!(held, ["john"]);
    // Of the whole namespace: no selector. Not from a cache: no version.
    assert_eq!(*asked.lock().unwrap(), [format!("GET {LEASES}")]);
}

#[tokio::test]
async fn a_page_is_replaced_only_at_the_version_that_was_judged() {
    let (_server, store, _) = store();
    let first = create(&store).await;
    let base = first.version().clone();
    let second = Ask::ReplacePage { index: PageIndex::FIRST, base: base.clone(), page: page(9) };
    let done = store.send(second.clone(), Some(first.clone())).await;
    assert!(matches!(done.answer, Answer::Page(_)), "{:?}", done.answer);
    let (_, newest) = done.page.unwrap();
    // With the object that was judged, which is not the newest any more; and with the newest, which was not judged.
    for current in [first, newest.clone()] {
        let done = store.send(second.clone(), Some(current)).await;
        assert_eq!(done.answer, Answer::Conflict);
    }
    let done = store.send(Ask::ReadPage(PageIndex::FIRST), None).await;
    assert_eq!(done.page.unwrap().1.version(), newest.version());
}

#[tokio::test]
async fn a_page_is_deleted_only_at_the_version_that_was_judged() {
    let (_server, store, _) = store();
    let page = create(&store).await;
    let judged = page.version().clone();
    let older = Version { revision: judged.revision - 1, ..judged.clone() };
    let another = Version { uid: incumbent_core::Uid("another".to_owned()), ..judged.clone() };
    for base in [older, another] {
        let done = store.send(Ask::DeletePage { index: PageIndex::FIRST, base }, None).await;
        assert_eq!(done.answer, Answer::Conflict);
    }
    let delete = Ask::DeletePage { index: PageIndex::FIRST, base: judged };
    assert_eq!(store.send(delete, None).await.answer, Answer::Deleted);
}

#[tokio::test]
async fn a_seat_is_vacated_only_at_the_version_that_was_judged() {
    let (server, store, _) = store();
    let seat = server.create(held_seat()).unwrap();
    let judged = version(&seat).unwrap();
    let member = Identity::new("john").unwrap();
    let vacate = |base| Ask::VacateSeat { member: member.clone(), base, record: Record::default() };
    let older = Version { revision: judged.revision - 1, ..judged.clone() };
    assert_eq!(store.send(vacate(older), None).await.answer, Answer::Conflict);
    let done = store.send(vacate(judged), None).await;
    let Answer::Seat(vacant) = done.answer else { panic!("{:?}", done.answer) };
    assert_eq!(vacant.record.holder, None);
}

/// Whether a write was applied is not known where the answer does not say so.
#[tokio::test]
async fn a_write_whose_answer_says_nothing_is_unknown_and_a_read_is_refused() {
    let (server, store, _) = store();
    let first = create(&store).await;
    for code in [500, 503, 504] {
        let fault = server.faults().add(format!("error={code}").parse().unwrap());
        let base = first.version().clone();
        let replace = Ask::ReplacePage { index: PageIndex::FIRST, base, page: page(9) };
        let done = store.send(replace, Some(first.clone())).await;
        assert_eq!(done.answer, Answer::Unknown, "{code}");
        let create = Ask::CreatePage(PageIndex(1), page(0));
        assert_eq!(store.send(create, None).await.answer, Answer::Unknown, "{code}");
        let done = store.send(Ask::ReadPage(PageIndex::FIRST), None).await;
        assert!(matches!(done.answer, Answer::Refused { .. }), "{code}: {:?}", done.answer);
        server.faults().remove(&fault);
    }
}

async fn create(store: &Store) -> Stored {
    let done = store.send(Ask::CreatePage(PageIndex::FIRST, page(0)), None).await;
    assert!(matches!(done.answer, Answer::Page(_)), "{:?}", done.answer);
    done.page.unwrap().1
}

fn page(highest: u64) -> Page {
    Page {
        place: Place::First(Shape { kind: Kind::Named, pages: 1 }),
        is_open: false,
        highest_token: FencingToken(highest),
        replaces: highest,
        orders: [].into(),
    }
}

/// A seat that its member holds, without the group's label.
fn held_seat() -> Value {
    let seat = Lock::seat("default", "indexers", "john");
    let time = Stamp::At(WallTime::from_unix_micros(1_767_225_600_123_456));
    let record = Record {
        holder: Identity::new("john"),
        session: Some(Session(7)),
        acquired: Some(time.clone()),
        renewed: Some(time),
        last_token: FencingToken(7),
        lease_duration: Some(std::time::Duration::from_secs(15)),
        holder_info: HolderInfo { seat: Some(SeatInfo::default()), ..HolderInfo::default() },
        ..Record::default()
    };
    let mut object = seat.create(&record);
    object["metadata"]["labels"] = Value::Null;
    object
}

type Asked = Arc<Mutex<Vec<String>>>;

/// A server, the store of a group on it, and what was asked.
fn store() -> (ApiServer, Store, Asked) {
    let server = ApiServer::new();
    let asked = Asked::default();
    let recorded = Recorded { inner: server.service(), asked: asked.clone() };
    let requests = Requests::new(kube::Client::new(recorded, "default"));
    let store = Store::new(requests, "default".to_owned(), "indexers".to_owned());
    (server, store, asked)
}

struct Recorded {
    inner: Service,
    asked: Asked,
}

impl tower_service::Service<Request<Body>> for Recorded {
    type Response = Response<Served>;
    type Error = <Service as tower_service::Service<Request<Body>>>::Error;
    type Future = <Service as tower_service::Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        tower_service::Service::<Request<Body>>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.asked.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        self.inner.call(request)
    }
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
