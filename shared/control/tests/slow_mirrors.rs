//! Mirrors that are slow or never answer: the others are served at their own pace, and one that does
//! not answer is waited for once in a run. The clock is the test's, and only waiting moves it.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::after;
use common::scheduled::Scheduled;
use common::world::World;
use control::publish::{Etag, Mirror, MirrorError, Object, Replaced, Report};
use tokio::time::{Instant, sleep};

/// How long a mirror waits for an answer before it gives up, as its port promises.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mirror each of whose calls takes a while.
struct Slow {
    mirror: Arc<dyn Mirror>,
    takes: Duration,
    calls: AtomicUsize,
}

impl Slow {
    async fn wait(&self) -> Result<(), MirrorError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        sleep(self.takes.min(PATIENCE)).await;
        if self.takes > PATIENCE {
            return Err(MirrorError::Unavailable("no answer".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Mirror for Slow {
    fn name(&self) -> &str {
        self.mirror.name()
    }

    async fn get(&self, path: &str) -> Result<Option<Object>, MirrorError> {
        self.wait().await?;
        self.mirror.get(path).await
    }

    async fn create(&self, path: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        self.wait().await?;
        self.mirror.create(path, bytes).await
    }

    async fn replace(
        &self,
        path: &str,
        bytes: &[u8],
        over: Option<&Etag>,
    ) -> Result<Replaced, MirrorError> {
        self.wait().await?;
        self.mirror.replace(path, bytes, over).await
    }
}

/// The mirrors of a world, each call of which takes so long.
fn slow(world: &World, takes: &[Duration]) -> Vec<Arc<Slow>> {
    let one = |(mirror, takes): (&Arc<_>, &Duration)| {
        Arc::new(Slow {
            mirror: Arc::clone(mirror) as Arc<dyn Mirror>,
            takes: *takes,
            calls: AtomicUsize::new(0),
        })
    };
    world.mirrors.iter().zip(takes).map(one).collect()
}

/// A run on these mirrors, and how long it took.
async fn run(network: &mut Scheduled, mirrors: &[Arc<Slow>]) -> (Report, Duration) {
    network.beat().await;
    let mirrors: Vec<_> = mirrors
        .iter()
        .map(|mirror| Arc::clone(mirror) as Arc<dyn Mirror>)
        .collect();
    let began = Instant::now();
    let now = after(network.seconds);
    let report = network.world.run_over(&mirrors, now).await.unwrap();
    network.seconds += 60;
    (report, began.elapsed())
}

async fn changed() -> Scheduled {
    let mut network = Scheduled::new(2, 3, u32::MAX).await;
    network.until_done().await;
    let cohorts = network.cohorts.clone();
    network.change(&cohorts).await;
    network
}

/// Version 2 is served, but two of the three mirrors lost all.
async fn wiped() -> Scheduled {
    let mut network = changed().await;
    network.run().await;
    network.world.mirrors[0].lose_everything();
    network.world.mirrors[2].lose_everything();
    network
}

/// A mirror that answers just in time.
const LATE: Duration = PATIENCE;
const QUICK: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn a_mirror_that_never_answers_is_waited_for_once_and_the_others_are_served() {
    for silent in 0..3 {
        let mut network = changed().await;
        let mut takes = [QUICK; 3];
        takes[silent] = NEVER;
        let mirrors = slow(&network.world, &takes);

        let (report, took) = run(&mut network, &mirrors).await;

        assert!(report.published && !report.unfinished);
        let name = network.world.mirrors[silent].name().to_owned();
        assert_eq!(report.lagging, [(name, "no answer".to_owned())]);
        assert_eq!(mirrors[silent].calls.load(Ordering::SeqCst), 1);
        assert!(took < PATIENCE + Duration::from_secs(1), "{took:?}");
        let others: Vec<_> = (0..3).filter(|number| *number != silent).collect();
        network.assert_served_by(&others).await;
        network.assert_history();
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_never_answers_is_asked_ever_more_rarely() {
    let mut network = changed().await;
    let mirrors = slow(&network.world, &[QUICK, NEVER, QUICK]);

    for _ in 0..60 {
        run(&mut network, &mirrors).await;
    }

    // In the runs 0 to 5, while it rests for less than a minute; then after 2, 3, 6 and each 11.
    let asked = [0, 1, 2, 3, 4, 5, 7, 10, 16, 27, 38, 49];
    assert_eq!(mirrors[1].calls.load(Ordering::SeqCst), asked.len());
}

#[tokio::test(start_paused = true)]
async fn the_others_go_on_at_their_own_pace_while_one_is_slow() {
    let mut network = wiped().await;
    let mirrors = slow(&network.world, &[LATE, QUICK, QUICK]);
    let world = Arc::clone(&network.world);

    let slow_run = tokio::spawn(async move { run(&mut network, &mirrors).await });
    sleep(Duration::from_secs(5)).await;

    let (version, _) = world.served_by(2, after(60));
    assert_eq!(version, 2, "long before the slow one is done");
    assert!(world.mirrors[0].files().is_empty());
    let (report, took) = slow_run.await.unwrap();
    assert!(report.lagging.is_empty());
    assert!(took > 10 * PATIENCE);
    assert_eq!(world.served(after(60)).0, 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_ended_from_outside_while_it_waits_has_kept_the_places_of_the_others() {
    let mut network = wiped().await;
    let mirrors = slow(&network.world, &[LATE, QUICK, QUICK]);
    let world = Arc::clone(&network.world);
    let seconds = network.seconds;

    let slow_run = tokio::spawn(async move { run(&mut network, &mirrors).await });
    sleep(Duration::from_secs(5)).await;
    slow_run.abort();
    assert!(slow_run.await.unwrap_err().is_cancelled());
    let before = world.mirrors[2].writes();
    let report = world.publish(after(seconds + 60)).await;

    assert!(report.lagging.is_empty());
    assert_eq!(world.mirrors[2].writes(), before);
    assert_eq!(world.served(after(seconds + 60)).0, 2);
}
