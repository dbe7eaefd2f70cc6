//! A network whose publisher runs on a schedule and within a budget of calls, which the board counts
//! and not the publisher.

use std::sync::Arc;

use control::publish::{self, Budget, Head, Report};
use control::{Error, gateways};
use jiff::Timestamp;
use model::{CohortName, GatewayState, Role};
use tuf::client::{Start, Wanted, verify_bundle};
use tuf::repository::{self, Pin};

use super::board::Board;
use super::nodes::new_gateway;
use super::world::World;
use super::{START, after, operator};

/// The schedule's rhythm in seconds.
const RHYTHM: i64 = 60;

/// A network under a schedule.
pub struct Scheduled {
    pub world: Arc<World>,
    pub cohorts: Vec<CohortName>,
    /// Those that are heard before every run.
    pub gateways: Vec<u8>,
    /// When the next run is, after [`START`].
    pub seconds: i64,
    calls: u32,
}

impl Scheduled {
    /// So many cohorts with a gateway each, so many mirrors, and so many calls a run; nothing is
    /// published yet.
    pub async fn new(count: u8, mirrors: usize, calls: u32) -> Self {
        let name = |number: u8| format!("c-{number:02}").parse().unwrap();
        let mut cohorts: Vec<CohortName> = vec!["default".parse().unwrap()];
        cohorts.extend((1..count).map(name));
        let world = World::of_cohorts(mirrors, &cohorts);
        let mut all = Self {
            world: Arc::new(world),
            cohorts,
            gateways: Vec::new(),
            seconds: 0,
            calls,
        };
        for number in 0..count {
            let cohort = all.cohorts[usize::from(number)].clone();
            all.bring_up(number + 1, &[cohort]).await;
        }
        all
    }

    /// A registered gateway of these cohorts, which the next run hears first.
    pub async fn bring_up(&mut self, number: u8, cohorts: &[CohortName]) {
        let stage = &self.world.stage;
        let mut new = new_gateway(number, Role::Ingress);
        new.cohorts = cohorts.to_vec();
        let context = stage.context(START);
        let limits = &self.world.offline.limits;
        let made = gateways::create(&context, limits, &operator(), new).await;
        made.unwrap();
        stage.register(after(self.seconds), number).await.unwrap();
        self.gateways.push(number);
    }

    /// Gives each of these cohorts one more gateway, which the next run takes into service.
    pub async fn change(&mut self, cohorts: &[CohortName]) {
        let number = self.gateways.iter().max().unwrap() + 1;
        self.bring_up(number, cohorts).await;
    }

    /// All gateways are heard, just before the next run.
    pub async fn beat(&self) {
        self.world
            .stage
            .beat(after(self.seconds), &self.gateways)
            .await;
    }

    /// One run, of no more calls than it may make.
    pub async fn run(&mut self) -> Report {
        self.beat().await;
        let board = Board::watching();
        let now = after(self.seconds);
        let report = self.run_through(&board, now).await.unwrap();
        self.assert_within(&board);
        let calls = u32::try_from(board.calls().len()).unwrap();
        assert_eq!(report.calls, calls, "none is forgotten");
        self.seconds += RHYTHM;
        report
    }

    /// What a run may spend.
    pub fn budget(&self) -> Budget {
        Budget::of(self.calls)
    }

    /// Lets the next runs spend so much.
    pub fn set_budget(&mut self, calls: u32) {
        self.calls = calls;
    }

    /// A run at `now` all of whose calls go through `board`.
    pub async fn run_through(&self, board: &Arc<Board>, now: Timestamp) -> Result<Report, Error> {
        self.world.run_within(self.budget(), board, now).await
    }

    /// Asserts that no more calls went through `board` than a run may make.
    pub fn assert_within(&self, board: &Board) {
        let calls = board.calls();
        assert!(calls.len() <= self.calls as usize, "{calls:#?}");
    }

    /// Runs until nothing is left to do: the calls of each run.
    pub async fn until_done(&mut self) -> Vec<u32> {
        let mut calls = Vec::new();
        while calls.len() < 60 {
            let report = self.run().await;
            calls.push(report.calls);
            if !report.unfinished {
                return calls;
            }
        }
        panic!("there is no end: {calls:?}");
    }

    /// Runs until nothing is left to do and no mirror lags.
    pub async fn until_settled(&mut self) {
        for _ in 0..60 {
            let report = self.run().await;
            if !report.unfinished && report.lagging.is_empty() {
                return;
            }
        }
        panic!("there is no end");
    }

    /// The version of the head.
    pub async fn head(&self) -> Head {
        let context = self.world.stage.context(after(self.seconds));
        let (head, _) = publish::show(&context).await.unwrap().unwrap();
        head
    }

    /// Asserts that each of these mirrors serves the head whole: every bundle verifies, lists what
    /// its cohort should, and is of the head's version; files one by one too.
    pub async fn assert_served_by(&self, mirrors: &[usize]) {
        let now = after(self.seconds);
        let context = self.world.stage.context(now);
        let head = self.head().await;
        let observed = gateways::observe(&context).await.unwrap();
        for mirror in mirrors {
            assert_eq!(self.world.served_by(*mirror, now).0, head.version);
            let files = self.world.mirrors[*mirror].files();
            for cohort in &self.cohorts {
                let name = cohort.clone().into();
                let bundle = &files[&repository::bundle_path(Some(&name))];
                let keys = self.world.stage.keys(&name);
                let wanted = Wanted {
                    network: &self.world.stage.network.id,
                    catalog: Some(&name),
                    keys: &keys,
                };
                let start = Start::Pin(&self.world.pin);
                let verified = verify_bundle(start, &wanted, bundle, now).unwrap();
                assert_eq!(verified.state.timestamp_version(), head.version);
                let catalog = verified.catalog.unwrap();
                let listed: Vec<_> = catalog.gateways().map(|g| g.id.clone()).collect();
                let expected = observed.iter().map(|(observed, _)| &observed.gateway);
                let expected = expected.filter(|gateway| {
                    gateway.state == GatewayState::Active && gateway.cohorts.contains(cohort)
                });
                let mut expected: Vec<_> = expected.map(|gateway| gateway.id.clone()).collect();
                expected.sort();
                assert_eq!(listed, expected, "{cohort}");
                let sha256 = &head.catalogs[&name].sha256;
                for path in repository::target_paths(&name.path(), sha256) {
                    assert_eq!(Pin::of(1, &files[&path]).sha256, *sha256, "{path}");
                }
            }
        }
        self.world.assert_signed_once();
    }

    /// Asserts that every mirror, none of which was wiped, only ever went forward.
    pub fn assert_history(&self) {
        self.world.assert_history(after(self.seconds));
    }
}
