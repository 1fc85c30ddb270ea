//! Counts requests for a subnet that follow each other immediately, as Docker's overlap loop sends them
//! (P12).
//!
//! In that loop dockerd keeps the subnets that it got and requests another one within milliseconds, one
//! request at a time, until it accepts one. Requests for separate networks look different: Engine 27 and
//! later call GetDefaultAddressSpaces first, a script takes longer between them, and parallel requests
//! overlap here.
//!
//! Promises: only counts, per listener; the plan decides what a count means.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::plan::prefix::Family;
use crate::plan::request::{Space, SubnetRequest};

/// The longest pause between an answer and the next request of a loop.
const PAUSE: Duration = Duration::from_millis(50);

/// The properties that all requests of a loop share.
type Group = (Space, Family, BTreeMap<String, String>);

/// The count of one listener.
#[derive(Debug, Default)]
pub struct Streak(Mutex<StreakCount>);

#[derive(Debug, Default)]
struct StreakCount {
    group: Option<Group>,
    /// Number of consecutive requests before the next one.
    before: u32,
    /// Requests that are not answered yet.
    open: u32,
    answered: Option<Instant>,
}

/// A request in progress; dropped once it is answered.
#[derive(Debug)]
pub struct Open<'a>(&'a Streak);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Ok(mut count) = self.0.0.lock() {
            count.open = count.open.saturating_sub(1);
            count.answered = Some(Instant::now());
        }
    }
}

impl Streak {
    /// Counts a request. Returns how many came right before it, and a guard to keep until it is answered.
    pub fn begin(&self, request: &SubnetRequest) -> (u32, Open<'_>) {
        (self.note(request, Instant::now()), Open(self))
    }

    /// Ends the series: the next request is for another network.
    pub fn interrupt(&self) {
        if let Ok(mut count) = self.0.lock() {
            count.group = None;
        }
    }

    fn note(&self, request: &SubnetRequest, now: Instant) -> u32 {
        let Ok(mut count) = self.0.lock() else { return 0 };
        let same = count.group.as_ref().is_some_and(|(space, family, options)| {
            (*space, *family, options) == (request.space, request.family, &request.options)
        });
        let at_once = count.answered.is_some_and(|at| now.saturating_duration_since(at) <= PAUSE);
        if same && at_once && count.open == 0 {
            count.before = count.before.saturating_add(1);
        } else {
            count.before = 0;
            count.group = Some((request.space, request.family, request.options.clone()));
        }
        count.open += 1;
        count.before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::request::Wanted;

    fn request(option: Option<&str>) -> SubnetRequest {
        SubnetRequest {
            space: Space::Local,
            family: Family::V4,
            wanted: Wanted::Any { size: None },
            range: None,
            options: option.map(|word| ("key".to_owned(), word.to_owned())).into_iter().collect(),
            pools: None,
            in_use: Default::default(),
            in_a_row: 0,
            dead: Default::default(),
            cannot: Default::default(),
        }
    }

    #[test]
    fn p12_requests_that_follow_each_other_at_once_are_a_loop() {
        let streak = Streak::default();
        let counted: Vec<u32> = (0..4).map(|_| streak.begin(&request(None)).0).collect();
        assert_eq!(counted, [0, 1, 2, 3]);
    }

    #[test]
    fn parallel_requests_other_options_a_new_network_and_a_pause_are_not_a_loop() {
        let streak = Streak::default();
        drop(streak.begin(&request(None)));
        let (_, first) = streak.begin(&request(None));
        assert_eq!(streak.begin(&request(None)).0, 0, "the first one has no answer yet");
        drop(first);
        assert_eq!(streak.begin(&request(None)).0, 1);
        assert_eq!(streak.begin(&request(Some("web"))).0, 0, "another set of options");
        assert_eq!(streak.begin(&request(Some("web"))).0, 1);
        streak.interrupt();
        assert_eq!(streak.begin(&request(Some("web"))).0, 0, "GetDefaultAddressSpaces came in between");
        let later = Instant::now() + PAUSE + Duration::from_millis(1);
        assert_eq!(streak.note(&request(Some("web")), later), 0, "a pause");
    }
}
