use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Moment;
use crate::net::{LastActivity, TimeLeft};

/// A step of a dial: a lookup, a TCP connection, a TLS handshake or the opening of a tunnel.
///
/// On a slow line its packets may have to wait behind a request that the same connection is sending. So its
/// time begins anew while that request moves.
#[derive(Clone)]
pub(in crate::net) struct Step {
    started: Moment,
    limit: Duration,
    /// The limit for all steps together, if the user's agent sets one.
    end: Option<Instant>,
    activity: Arc<LastActivity>,
}

impl Step {
    pub(super) fn new(limit: Duration, end: Option<Instant>, activity: &Arc<LastActivity>) -> Self {
        Step { started: Moment::now(), limit, end, activity: activity.clone() }
    }

    /// A step that begins now and takes at most half of the time that is left to this one.
    pub(super) fn half(&self) -> Self {
        Step { started: Moment::now(), limit: self.time_left() / 2, ..self.clone() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.time_left().is_zero()
    }
}

impl TimeLeft for Step {
    fn time_left(&self) -> Duration {
        let since = self.started.max(self.activity.uploaded());
        let left = self.limit.saturating_sub(Moment::now().since(since));
        let end = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        end.map_or(left, |end| end.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_a_limit_and_so_have_all_steps_together() {
        let minute = Duration::from_secs(60);
        let (activity, end) = (Arc::new(LastActivity::new()), Some(Instant::now() + minute));
        let left = |limit, end| Step::new(limit, end, &activity).time_left();
        assert!(left(minute * 2, end) <= minute && left(minute * 2, end) > minute / 2);
        assert!(left(minute / 2, end) <= minute / 2);
        // The longest limit overflows nothing.
        assert!(left(Duration::MAX, None) > minute);
        let step = Step::new(minute, None, &activity);
        assert!(step.half().time_left() <= minute / 2 && !step.is_over());
        assert!(Step::new(minute, Some(Instant::now()), &activity).is_over());
    }

    #[test]
    fn a_step_begins_anew_while_a_request_moves() {
        let (activity, limit) = (Arc::new(LastActivity::new()), Duration::from_millis(20));
        let step = Step::new(limit, None, &activity);
        std::thread::sleep(limit);
        assert!(step.is_over());
        // The request moves until a minute from now.
        activity.mark_uploaded(Moment::now() + Duration::from_secs(60));
        assert!(!step.is_over() && step.time_left() == limit);
    }
}
