//! Goal: the breaker opens when it should, lets one call through when it should, and is not moved by calls of another era.
//! Method: cases by hand, then random traces against a model that keeps every call and the whole history.

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const OPTIONS: BreakerOptions = BreakerOptions {
    failure_threshold: 3,
    failure_deadline: Micros::from_secs(10),
    cool_down: Micros::from_secs(60),
};

fn breaker() -> Breaker {
    Breaker::new("redis", OPTIONS)
}

fn after(seconds: u64) -> Timestamp {
    START.saturating_add(Micros::from_secs(seconds))
}

fn fail(breaker: &Breaker, now: Timestamp) -> Option<BreakerState> {
    let admission = breaker.admit(now).unwrap();
    breaker.failed(admission, &StoreError::Timeout, now).map(|status| status.state)
}

fn opened() -> Breaker {
    let breaker = breaker();
    for _ in 0..OPTIONS.failure_threshold {
        fail(&breaker, START);
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

#[test]
fn so_many_failures_in_a_row_open_it_and_a_success_in_between_counts_anew() {
    let breaker = breaker();
    assert_eq!((fail(&breaker, START), fail(&breaker, START)), (None, None));
    let admission = breaker.admit(START).unwrap();
    assert_eq!(breaker.succeeded(admission, START), None);
    assert_eq!((fail(&breaker, START), fail(&breaker, START)), (None, None));
    assert_eq!(fail(&breaker, START), Some(BreakerState::Open));
    assert_eq!(breaker.admit(START), None);
    let status = breaker.status(after(1));
    assert_eq!((status.consecutive_failures, status.transitions, status.rejected), (3, 1, 1));
    assert_eq!((status.opened_at, status.next_attempt_in), (Some(START), Some(Micros::from_secs(59))));
    assert_eq!(status.last_error, Some(StoreError::Timeout));
}

#[test]
fn few_failures_over_a_long_time_open_it_too() {
    let breaker = breaker();
    assert_eq!(fail(&breaker, START), None);
    assert_eq!(fail(&breaker, after(10)), Some(BreakerState::Open));
    let breaker = self::breaker();
    assert_eq!((fail(&breaker, START), fail(&breaker, after(9))), (None, None));
}

#[test]
fn after_the_cool_down_one_call_decides() {
    for succeeds in [true, false] {
        let breaker = opened();
        assert_eq!(breaker.tick(after(59)), None);
        assert_eq!(breaker.tick(after(60)).unwrap().state, BreakerState::HalfOpen);
        let trial = breaker.admit(after(60)).unwrap();
        assert_eq!(breaker.admit(after(60)), None, "one at a time");
        let change = if succeeds {
            breaker.succeeded(trial, after(61))
        } else {
            breaker.failed(trial, &StoreError::Timeout, after(61))
        };
        let status = change.unwrap();
        if succeeds {
            assert_eq!((status.state, status.consecutive_failures), (BreakerState::Closed, 0));
            assert_eq!((status.opened_at, status.next_attempt_in), (None, None));
            assert!(breaker.admit(after(61)).is_some());
        } else {
            assert_eq!((status.state, status.consecutive_failures), (BreakerState::Open, 4));
            assert_eq!(status.opened_at, Some(START), "it has been down since then");
            assert_eq!(status.next_attempt_in, Some(Micros::from_secs(60)));
        }
    }
}

#[test]
fn a_probe_that_is_answered_ends_the_cool_down() {
    let breaker = opened();
    breaker.probe_due_at(after(1));
    assert_eq!(breaker.status(START).next_attempt_in, Some(Micros::from_secs(1)));
    assert_eq!(breaker.probe_answered(after(1)).unwrap().state, BreakerState::HalfOpen);
    assert_eq!(breaker.probe_answered(after(1)), None);
    assert!(breaker.admit(after(1)).is_some());
    assert_eq!(self::breaker().probe_answered(START), None, "a closed one is not moved");
}

#[test]
fn a_trial_that_nobody_waited_for_makes_room_for_the_next() {
    let breaker = opened();
    breaker.probe_answered(START);
    let abandoned = breaker.admit(START).unwrap();
    breaker.abandoned(abandoned);
    let silent = breaker.admit(START).unwrap();
    assert_eq!(breaker.tick(after(59)), None);
    assert_eq!(breaker.admit(after(59)), None);
    breaker.tick(after(60));
    let third = breaker.admit(after(60)).unwrap();
    assert_eq!(breaker.succeeded(silent, after(60)), None, "too late to say anything");
    assert_eq!(breaker.succeeded(third, after(60)).unwrap().state, BreakerState::Closed);
}

#[test]
fn results_of_an_earlier_era_are_ignored() {
    let breaker = breaker();
    let (late_success, late_failure) = (breaker.admit(START).unwrap(), breaker.admit(START).unwrap());
    for _ in 0..3 {
        fail(&breaker, START);
    }
    breaker.probe_answered(START);
    assert_eq!(breaker.succeeded(late_success, START), None);
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "a success from before the outage closes nothing");
    assert_eq!(breaker.failed(late_failure, &StoreError::Timeout, START), None);
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "and a failure opens nothing");
}

#[test]
fn calls_that_fail_together_are_one_failure() {
    let breaker = breaker();
    let together: Vec<_> = (0..64).filter_map(|_| breaker.admit(START)).collect();
    let lost = after(1);
    for admission in together {
        breaker.failed(admission, &StoreError::Timeout, lost);
    }
    assert_eq!((breaker.state(), breaker.status(lost).consecutive_failures), (BreakerState::Closed, 1));
}

#[derive(Clone, Debug)]
enum Event {
    Begin,
    End { which: usize, how: How },
    Wait(u64),
    Probe,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Well,
    Badly,
    Abandoned,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let how = prop_oneof![2 => Just(How::Well), 4 => Just(How::Badly), 1 => Just(How::Abandoned)];
    let event = prop_oneof![
        6 => Just(Event::Begin),
        6 => (0..8_usize, how).prop_map(|(which, how)| Event::End { which, how }),
        2 => (0..40_u64).prop_map(Event::Wait),
        1 => Just(Event::Probe),
    ];
    prop::collection::vec(event, 0..200)
}

/// What the breaker should be, told from its history: when it last changed, and how the calls since then ended.
struct Model {
    state: BreakerState,
    changed_at: u64,
    changes: u64,
    /// When each failure since the last success was.
    failed_at: Vec<u64>,
    /// Half-open: the call under way and when it began.
    trial: Option<(u64, u64)>,
}

impl Model {
    fn become_state(&mut self, state: BreakerState, now: u64) {
        (self.state, self.changed_at, self.trial) = (state, now, None);
        self.changes += 1;
    }

    fn wait(&mut self, now: u64) {
        let cool_down = OPTIONS.cool_down.as_micros() / 1_000_000;
        if self.state == BreakerState::Open && now - self.changed_at >= cool_down {
            self.become_state(BreakerState::HalfOpen, now);
        }
        if self.trial.is_some_and(|(_, began)| now - began >= cool_down) {
            self.trial = None;
        }
    }

    fn begin(&mut self, call: u64, now: u64) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::HalfOpen if self.trial.is_none() => {
                self.trial = Some((call, now));
                true
            }
            _ => false,
        }
    }

    fn end(&mut self, (call, began): (u64, u64), changes_then: u64, how: How, now: u64) {
        let counts = match self.state {
            BreakerState::HalfOpen => self.trial.is_some_and(|(trial, _)| trial == call),
            _ => changes_then == self.changes,
        };
        match how {
            _ if !counts => {}
            How::Abandoned => self.trial = None,
            How::Well => {
                self.failed_at.clear();
                if self.state == BreakerState::HalfOpen {
                    self.become_state(BreakerState::Closed, now);
                }
            }
            // Under way together, failed together.
            How::Badly if self.state == BreakerState::Closed && self.failed_at.last() > Some(&began) => {}
            How::Badly => {
                self.failed_at.push(now);
                let lasting = now - self.failed_at[0] >= 10 && self.failed_at.len() > 1;
                if self.state == BreakerState::HalfOpen || self.failed_at.len() >= 3 || lasting {
                    self.become_state(BreakerState::Open, now);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(events in events()) {
        let breaker = breaker();
        let mut model =
            Model { state: BreakerState::Closed, changed_at: 0, changes: 0, failed_at: vec![], trial: None };
        let (mut now, mut begun, mut open_calls) = (0, 0, Vec::new());
        for event in events {
            match event {
                Event::Wait(seconds) => {
                    now += seconds;
                    breaker.tick(after(now));
                    model.wait(now);
                }
                Event::Probe => {
                    let changed = breaker.probe_answered(after(now)).is_some();
                    prop_assert_eq!(changed, model.state == BreakerState::Open);
                    if changed {
                        model.become_state(BreakerState::HalfOpen, now);
                    }
                }
                Event::Begin => {
                    begun += 1;
                    let admission = breaker.admit(after(now));
                    prop_assert_eq!(admission.is_some(), model.begin(begun, now));
                    if let Some(admission) = admission {
                        open_calls.push(((begun, now), model.changes, admission));
                    }
                }
                Event::End { which, how } if which < open_calls.len() => {
                    let (call, changes_then, admission) = open_calls.swap_remove(which);
                    match how {
                        How::Well => drop(breaker.succeeded(admission, after(now))),
                        How::Badly => drop(breaker.failed(admission, &StoreError::Timeout, after(now))),
                        How::Abandoned => breaker.abandoned(admission),
                    }
                    model.end(call, changes_then, how, now);
                }
                Event::End { .. } => {}
            }
            prop_assert_eq!(breaker.state(), model.state);
            let status = breaker.status(after(now));
            prop_assert_eq!(status.consecutive_failures as usize, model.failed_at.len());
            prop_assert_eq!(status.transitions, model.changes);
        }
    }
}
