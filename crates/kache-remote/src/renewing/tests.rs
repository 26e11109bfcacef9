//! A source that does as told, and a clock that goes when told.

use super::*;
use futures_util::future::join_all;
use std::collections::VecDeque;
use tokio::sync::Semaphore;

/// A key and the second of its end, or how the lookup fails.
type Lookup = Result<(&'static str, Option<u64>), ErrorKind>;

/// Gives what is in the queue, then the last of it for ever.
#[derive(Debug, Default)]
struct Told {
    next: Mutex<VecDeque<Lookup>>,
    stamp: Mutex<Stamp>,
    gate: Option<Arc<Semaphore>>,
}

#[derive(Debug, Clone)]
struct Scene {
    told: Arc<Told>,
    passed: Arc<AtomicU64>,
    begin: (SystemTime, Instant),
}

impl Source for Arc<Told> {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, RemoteError>> {
        Box::pin(async {
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            let mut next = self.next.lock().unwrap();
            let told = if next.len() > 1 { next.pop_front().unwrap() } else { next[0] };
            let (key, expires) = told.map_err(|kind| RemoteError::new(kind, "told so"))?;
            Ok(Loaded {
                access_key: key.to_owned(),
                secret_key: String::new(),
                session_token: None,
                expires: expires.map(|second| SystemTime::UNIX_EPOCH + Duration::from_secs(second)),
                source: format!("told {key}"),
            })
        })
    }

    fn stamp(&self) -> Stamp {
        self.stamp.lock().unwrap().clone()
    }

    fn name(&self) -> String {
        "told".to_owned()
    }
}

impl Scene {
    fn new(told: Told) -> (Self, Renewing<Arc<Told>>) {
        let scene = Self { told: Arc::new(told), passed: Arc::default(), begin: (SystemTime::UNIX_EPOCH, Instant::now()) };
        let Self { told, passed, begin } = scene.clone();
        let clock = move || {
            let passed = Duration::from_millis(passed.load(Ordering::Relaxed));
            Now { wall: begin.0 + passed, steady: begin.1 + passed }
        };
        let renewing = Renewing::with_clock(told, Box::new(clock));
        (scene, renewing)
    }

    fn of(next: &[Lookup]) -> (Self, Renewing<Arc<Told>>) {
        Self::new(Told { next: Mutex::new(next.iter().copied().collect()), ..Told::default() })
    }

    /// From now on it is that second.
    fn at(&self, second: f64) {
        self.passed.store((second * 1000.0) as u64, Ordering::Relaxed);
    }
}

async fn key(renewing: &Renewing<Arc<Told>>) -> Result<String, ErrorKind> {
    let current = renewing.current().await;
    settle(renewing).await;
    current.map(|credentials| credentials.access_key.clone()).map_err(|error| error.kind())
}

/// Waits for a lookup that runs beside.
async fn settle(renewing: &Renewing<Arc<Told>>) {
    let flight = renewing.0.state().flight.clone();
    if let Some(flight) = flight {
        let _ = flight.await;
    }
}

#[tokio::test]
async fn many_callers_cause_one_lookup() {
    let gate = Arc::new(Semaphore::new(0));
    let next = Mutex::new(VecDeque::from([Ok(("a", None))]));
    let (_scene, renewing) = Scene::new(Told { next, gate: Some(Arc::clone(&gate)), ..Told::default() });
    let open = async {
        tokio::task::yield_now().await;
        gate.add_permits(1);
    };
    let (all, ()) = tokio::join!(join_all((0..50).map(|_| key(&renewing))), open);
    assert!(all.iter().all(|key| key.as_deref() == Ok("a")));
    assert_eq!((renewing.loads(), renewing.source()), (1, "told a".to_owned()));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_lookup_to_the_others() {
    let gate = Arc::new(Semaphore::new(0));
    let next = Mutex::new(VecDeque::from([Ok(("a", None))]));
    let (_scene, renewing) = Scene::new(Told { next, gate: Some(Arc::clone(&gate)), ..Told::default() });
    assert!(renewing.current().now_or_never().is_none());
    gate.add_permits(1);
    assert_eq!(key(&renewing).await, Ok("a".to_owned()));
    assert_eq!(renewing.loads(), 1);
}

#[tokio::test]
async fn they_are_looked_up_again_ahead_of_their_end_and_nobody_waits() {
    let (scene, renewing) = Scene::of(&[Ok(("a", Some(3600))), Ok(("b", Some(7200)))]);
    assert_eq!(key(&renewing).await, Ok("a".into()));
    scene.at(3299.0);
    assert_eq!((key(&renewing).await, renewing.loads()), (Ok("a".into()), 1));
    scene.at(3301.0);
    assert_eq!((key(&renewing).await, renewing.loads()), (Ok("a".into()), 2), "served meanwhile");
    assert_eq!(key(&renewing).await, Ok("b".into()));
}

#[tokio::test]
async fn short_lived_ones_are_not_looked_up_all_the_time() {
    let (scene, renewing) = Scene::of(&[Ok(("a", Some(100)))]);
    for tenth in 0..1000 {
        scene.at(f64::from(tenth) / 10.0);
        assert_eq!(key(&renewing).await, Ok("a".into()));
    }
    // At 80, 96, 99.2 seconds: each time a fifth of what is left, but never more often than once a second.
    assert!((3..=4).contains(&renewing.loads()), "{}", renewing.loads());
}

#[tokio::test]
async fn a_failed_lookup_leaves_good_ones_in_service_until_they_end() {
    let (scene, renewing) = Scene::of(&[Ok(("a", Some(1000))), Err(ErrorKind::NoCredentials)]);
    assert_eq!(key(&renewing).await, Ok("a".into()));
    scene.at(900.0);
    assert_eq!((key(&renewing).await, renewing.loads()), (Ok("a".into()), 2));
    assert_eq!((key(&renewing).await, renewing.loads()), (Ok("a".into()), 2), "not with every request");
    scene.at(902.0);
    assert_eq!((key(&renewing).await, renewing.loads()), (Ok("a".into()), 3));
    scene.at(1000.0);
    assert_eq!(key(&renewing).await, Err(ErrorKind::NoCredentials));
}

#[tokio::test]
async fn errors_are_told_at_once_and_lookups_pause_longer_and_longer_but_never_stop() {
    let none = Err(ErrorKind::NoCredentials);
    let (scene, renewing) = Scene::of(&[none; 200]);
    for second in 0..1000 {
        scene.at(f64::from(second));
        assert_eq!(key(&renewing).await, Err(ErrorKind::NoCredentials));
    }
    assert!((18..=26).contains(&renewing.loads()), "{}", renewing.loads());
    scene.told.next.lock().unwrap().push_front(Ok(("late", None)));
    scene.at(1061.0);
    assert_eq!(key(&renewing).await, Ok("late".into()));
}

#[tokio::test]
async fn a_changed_file_is_noticed_within_a_second_even_between_errors() {
    let broken = Err(ErrorKind::Configuration);
    let (scene, renewing) = Scene::of(&[broken, broken, broken, Ok(("a", None)), Ok(("b", None)), broken]);
    let touch = |size| *scene.told.stamp.lock().unwrap() = vec![Some((0, size, 0))];
    for second in [0.0, 1.0, 3.0] {
        scene.at(second);
        assert_eq!(key(&renewing).await, Err(ErrorKind::Configuration));
    }
    touch(1);
    assert_eq!((key(&renewing).await, renewing.loads()), (Err(ErrorKind::Configuration), 3), "looked at a moment ago");
    scene.at(4.0);
    assert_eq!((key(&renewing).await, renewing.loads()), (Ok("a".into()), 4), "though the next lookup wasn't due");
    scene.at(500.0);
    assert_eq!((key(&renewing).await, renewing.loads()), (Ok("a".into()), 4));
    touch(2);
    scene.at(501.0);
    assert_eq!((key(&renewing).await, renewing.loads()), (Ok("b".into()), 5));
    touch(3);
    scene.at(502.0);
    assert_eq!((key(&renewing).await, renewing.loads()), (Ok("b".into()), 6), "a file that is broken now takes nothing away");
}

/// A lookup that is running may have read the file before it changed.
#[tokio::test]
async fn a_file_that_changes_during_a_lookup_is_looked_up_once_more() {
    let gate = Arc::new(Semaphore::new(0));
    let next = Mutex::new(VecDeque::from([Ok(("old", None)), Ok(("new", None))]));
    let (scene, renewing) = Scene::new(Told { next, gate: Some(Arc::clone(&gate)), ..Told::default() });
    assert!(renewing.current().now_or_never().is_none());
    *scene.told.stamp.lock().unwrap() = vec![Some((0, 1, 0))];
    scene.at(2.0);
    assert!(renewing.current().now_or_never().is_none());
    gate.add_permits(2);
    assert_eq!(key(&renewing).await, Ok("old".into()));
    scene.at(4.0);
    assert_eq!(key(&renewing).await, Ok("new".into()));
}

#[tokio::test]
async fn refused_ones_are_renewed_once_for_everybody() {
    let (scene, renewing) = Scene::of(&[Ok(("a", None)), Ok(("b", None)), Ok(("c", None))]);
    let stale = renewing.current().await.unwrap().generation;
    let renewed = join_all((0..20).map(|_| renewing.renew(stale))).await;
    assert!(renewed.iter().all(|answer| answer.as_ref().unwrap().access_key == "b"));
    let late = renewing.renew(stale).await.unwrap();
    assert_eq!((late.access_key.as_str(), late.generation > stale, renewing.loads()), ("b", true, 2));
    scene.at(60.0);
    assert_eq!((renewing.renew(stale).await.unwrap().generation, renewing.loads()), (late.generation, 2), "however late");
}

#[tokio::test]
async fn a_source_with_nothing_newer_says_so_and_is_left_alone_for_a_while() {
    let (scene, renewing) = Scene::of(&[Ok(("a", None))]);
    let stale = renewing.current().await.unwrap().generation;
    for _ in 0..10 {
        assert_eq!(renewing.renew(stale).await.unwrap().generation, stale);
    }
    assert_eq!(renewing.loads(), 2);
    scene.at(11.0);
    assert_eq!((renewing.renew(stale).await.unwrap().generation, renewing.loads()), (stale, 3));
}
