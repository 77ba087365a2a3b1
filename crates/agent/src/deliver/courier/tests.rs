use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use proto::logproto::PushRequest;

use super::*;
use crate::batch::Span;
use crate::metrics::Metrics;

/// Answers what it was told to, tenant by tenant, and then takes everything.
#[derive(Default)]
struct Script {
    answers: Mutex<HashMap<Option<String>, VecDeque<DeliverError>>>,
    taken: Mutex<Vec<(Option<String>, String)>>,
    under_way: Mutex<HashMap<Option<String>, usize>>,
    /// Of each try, whether it may repeat one before.
    repeats: Mutex<Vec<bool>>,
}

#[async_trait]
impl Deliver for Script {
    async fn push(
        &self,
        tenant: Option<&str>,
        request: &PushRequest,
        may_repeat: bool,
    ) -> Result<(), DeliverError> {
        self.repeats.lock().push(may_repeat);
        let tenant = tenant.map(str::to_owned);
        {
            let mut under_way = self.under_way.lock();
            let count = under_way.entry(tenant.clone()).or_default();
            assert_eq!(*count, 0, "one request of a tenant at a time");
            *count += 1;
        }
        tokio::task::yield_now().await;
        self.under_way.lock().insert(tenant.clone(), 0);
        let answer = self
            .answers
            .lock()
            .get_mut(&tenant)
            .and_then(VecDeque::pop_front);
        if let Some(error) = answer {
            return Err(error);
        }
        self.taken.lock().push((tenant, request.format.clone()));
        Ok(())
    }
}

fn batch(id: BatchId, tenant: Option<&str>) -> Batch {
    Batch {
        id,
        tenant: tenant.map(Arc::from),
        lane: 0,
        request: PushRequest {
            format: id.to_string(),
            ..PushRequest::default()
        },
        entries: 10,
        bytes: 100,
        spans: vec![Span {
            source: 0,
            generation: 0,
            path: Arc::default(),
            start: 0,
            last: 90,
        }],
        is_stamped: false,
        may_repeat: false,
        needs_version: 0,
    }
}

fn later(after: Option<Duration>) -> DeliverError {
    DeliverError::Later {
        is_rate_limited: true,
        after,
        message: "busy".to_owned(),
    }
}

struct Ran {
    taken: Vec<(Option<String>, String)>,
    done: Vec<BatchId>,
    metrics: String,
    took: Duration,
    repeats: Vec<bool>,
}

async fn run(
    answers: Vec<(Option<&str>, DeliverError)>,
    batches: Vec<Batch>,
    backoff: Backoff,
) -> Ran {
    let script = Arc::new(Script::default());
    for (tenant, answer) in answers {
        let tenant = tenant.map(str::to_owned);
        script
            .answers
            .lock()
            .entry(tenant)
            .or_default()
            .push_back(answer);
    }
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let courier = Courier {
        client: "c".into(),
        tenant: None,
        deliver: script.clone(),
        backoff,
        saved: None,
        metrics: metrics.client("host"),
        told: Default::default(),
    };
    let (sender, receiver) = mpsc::channel(100);
    for batch in batches {
        sender.try_send(batch).unwrap();
    }
    drop(sender);
    let done = Mutex::new(Vec::new());
    let began = tokio::time::Instant::now();
    let note = |outcome: Outcome| done.lock().push(outcome.batch);
    courier.run(receiver, note, CancellationToken::new()).await;
    let took = began.elapsed();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    Ran {
        taken: std::mem::take(&mut script.taken.lock()),
        done: done.into_inner(),
        metrics: text,
        took,
        repeats: std::mem::take(&mut script.repeats.lock()),
    }
}

fn backoff() -> Backoff {
    Backoff {
        min: Duration::from_millis(500),
        max: Duration::from_secs(10),
        tries_max: 0,
        drops_rate_limited: false,
    }
}

fn count(ran: &Ran, series: &str) -> u64 {
    let line = ran.metrics.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn tries_last_as_long_as_they_must_and_order_stays() {
    let answers = (0..50).map(|_| (None, later(None))).collect();
    let ran = run(answers, vec![batch(1, None), batch(2, None)], backoff()).await;
    assert_eq!(ran.done, [1, 2]);
    assert_eq!(ran.taken, [(None, "1".to_owned()), (None, "2".to_owned())]);
    assert_eq!(count(&ran, "promtail_sent_entries_total"), 20);
    assert_eq!(count(&ran, "promtail_batch_retries_total"), 50);
}

#[tokio::test(start_paused = true)]
async fn a_second_try_says_that_it_may_repeat() {
    let again = Batch {
        may_repeat: true,
        ..batch(2, None)
    };
    let batches = vec![batch(1, None), again, batch(3, None)];
    let ran = run(vec![(None, later(None))], batches, backoff()).await;
    assert_eq!(ran.repeats, [false, true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_held_up_holds_up_no_other() {
    let answers = vec![(Some("slow"), later(Some(Duration::from_secs(60))))];
    let batches = vec![
        batch(1, Some("slow")),
        batch(2, Some("slow")),
        batch(3, Some("quick")),
    ];
    let ran = run(answers, batches, backoff()).await;
    assert_eq!(ran.done, [3, 1, 2]);
    assert!(
        ran.took >= Duration::from_secs(60),
        "what the server asks for is waited"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_dropped_and_counted() {
    let refused = |entries| DeliverError::Refused {
        entries,
        message: "too old".to_owned(),
    };
    let answers = vec![(None, refused(Some(3))), (None, refused(None))];
    let ran = run(
        answers,
        vec![batch(1, None), batch(2, None), batch(3, None)],
        backoff(),
    )
    .await;
    assert_eq!(ran.done, [1, 2, 3]);
    assert_eq!(ran.taken, [(None, "3".to_owned())]);
    assert_eq!(count(&ran, "promtail_sent_entries_total"), 17);
    assert_eq!(count(&ran, "promtail_dropped_entries_total"), 13);
}

#[tokio::test(start_paused = true)]
async fn batches_are_dropped_for_tries_or_rate_only_where_that_is_asked_for() {
    let bounded = Backoff {
        tries_max: 2,
        ..backoff()
    };
    let answers = (0..3).map(|_| (None, later(None))).collect();
    let ran = run(answers, vec![batch(1, None), batch(2, None)], bounded).await;
    assert_eq!(ran.taken, [(None, "2".to_owned())]);
    let dropping = Backoff {
        drops_rate_limited: true,
        ..backoff()
    };
    let ran = run(
        vec![(None, later(None))],
        vec![batch(1, None), batch(2, None)],
        dropping,
    )
    .await;
    assert_eq!(ran.taken, [(None, "2".to_owned())]);
    assert!(
        ran.metrics.contains("reason=\"rate_limited\""),
        "{}",
        ran.metrics
    );
}

#[test]
fn waits_grow_to_their_bound() {
    let backoff = backoff();
    assert_eq!(backoff.wait(1, 1.0), Duration::from_millis(500));
    assert_eq!(backoff.wait(3, 0.0), Duration::from_secs(1));
    assert_eq!(backoff.wait(u32::MAX, 1.0), Duration::from_secs(10));
}
