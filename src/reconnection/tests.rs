use std::sync::Mutex;

use super::*;
use crate::options::connect::ConnectOptions;
use crate::sync::lock;

const SECOND: Duration = Duration::from_secs(1);

fn pauses(policy: &Reconnection, random: f64) -> Vec<f64> {
    (1..6).map(|attempt| policy.pause(attempt, random).as_secs_f64()).collect()
}

#[test]
fn pauses_double_up_to_the_longest() {
    let policy = Reconnection::new();
    assert_eq!(pauses(&policy, 0.5), [1.0, 2.0, 3.5, 3.75, 3.75]);
    assert_eq!(pauses(&policy, 0.0), [0.5, 1.0, 2.0, 2.5, 2.5]);
    assert_eq!(pauses(&policy, 1.0), [1.5, 3.0, 5.0, 5.0, 5.0]);
    assert_eq!(pauses(&policy.randomization_factor(f64::NAN), 1.0), [1.0, 2.0, 4.0, 5.0, 5.0]);
}

#[test]
fn pauses_do_not_overflow() {
    let policy = Reconnection::new().delay(Duration::MAX).max_delay(Duration::MAX);
    assert_eq!(policy.pause(u32::MAX, 1.0), Duration::MAX);
    assert_eq!(Reconnection::new().pause(u32::MAX, 1.0), 5 * SECOND);
}

#[test]
fn chance_stays_in_its_range() {
    assert!((0..1000).map(|_| random()).all(|r| (0.0..=1.0).contains(&r)));
    assert_ne!(random(), random());
}

fn told(policy: Reconnection) -> (Reconnection, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    (policy.randomization_factor(0.0).on_event(move |event| lock(&log).push(event.to_string())), told)
}

#[test]
fn attempts_go_on_until_one_succeeds() {
    let (policy, told) = told(Reconnection::new());
    let mut answers = [Err(Error::connection("no")), Ok(())].into_iter();
    policy.run(|| true, |_| true, |_| answers.next().unwrap(), |_| {}).unwrap();
    let expected = [
        "connecting again in 1.0s (attempt 1)",
        "attempt 1 to connect again failed: no",
        "connecting again in 2.0s (attempt 2)",
        "connected again at attempt 2",
    ];
    assert_eq!(*lock(&told), expected);
}

#[test]
fn attempts_end_at_their_number() {
    let (policy, told) = told(Reconnection::new().max_attempts(2));
    let last = policy.run(|| true, |_| true, |_| Err(Error::connection("no")), |_| {}).unwrap_err();
    assert_eq!(last.unwrap().to_string(), "no");
    assert_eq!(lock(&told).last().unwrap(), "gave up after 2 attempt(s) to connect again");
}

#[test]
fn attempts_are_prepared() {
    let (policy, told) = told(Reconnection::new().before_attempt(|upcoming| match upcoming.attempt() {
        1 => {
            assert!(upcoming.last_error().is_none());
            Err(std::io::Error::other("no token"))
        }
        2 => {
            assert!(upcoming.last_error().unwrap().to_string().contains("no token"));
            panic!("no idea")
        }
        3 => Ok(NextAttempt::connect("http://h?token=secret", ConnectOptions::new())),
        4 => Ok(NextAttempt::Repeat),
        _ => Ok(NextAttempt::Stop),
    }));
    let mut seen = Vec::new();
    let connect = |next: NextAttempt| {
        seen.push(format!("{next:?}"));
        Err(Error::connection("no"))
    };
    let last = policy.run(|| true, |_| true, connect, |_| {}).unwrap_err();
    assert_eq!(last.unwrap().to_string(), "no");
    assert!(seen[0].starts_with("Connect") && !seen[0].contains("secret"), "{seen:?}");
    assert_eq!(seen[1..], ["Repeat"]);
    let told = lock(&told);
    let told: Vec<_> = told.iter().filter(|event| !event.starts_with("connecting again in")).collect();
    let expected = [
        "attempt 1 to connect again failed: preparing the attempt failed: no token",
        "attempt 2 to connect again failed: preparing the attempt panicked: no idea",
        "attempt 3 to connect again failed: no",
        "attempt 4 to connect again failed: no",
        "gave up after 4 attempt(s) to connect again",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_decision_of_the_user_during_the_preparation_is_the_end() {
    let wanted = Arc::new(Mutex::new(true));
    let decide = wanted.clone();
    let (policy, told) = told(Reconnection::new().before_attempt(move |_| {
        *lock(&decide) = false;
        Ok::<_, Error>(NextAttempt::Repeat)
    }));
    let ended = policy.run(|| true, |_| *lock(&wanted), |_| unreachable!(), |_| {});
    assert!(matches!(ended, Err(None)));
    assert_eq!(lock(&told).last().unwrap(), "connecting again was cancelled after 0 attempt(s)");
}

#[test]
fn an_interrupted_pause_is_the_end() {
    let (policy, told) = told(Reconnection::new());
    assert!(matches!(policy.run(|| true, |_| false, |_| unreachable!(), |_| {}), Err(None)));
    let expected =
        ["connecting again in 1.0s (attempt 1)", "connecting again was cancelled after 0 attempt(s)"];
    assert_eq!(*lock(&told), expected);
}

#[test]
fn nothing_is_announced_that_does_not_come() {
    let (policy, told) = told(Reconnection::new());
    let wanted = std::cell::Cell::new(true);
    let connect = |_| {
        wanted.set(false);
        Err(Error::connection("ended by disconnect"))
    };
    policy.run(|| wanted.get(), |_| true, connect, |_| {}).unwrap_err();
    let expected = [
        "connecting again in 1.0s (attempt 1)",
        "attempt 1 to connect again failed: ended by disconnect",
        "connecting again was cancelled after 1 attempt(s)",
    ];
    assert_eq!(*lock(&told), expected);
}
