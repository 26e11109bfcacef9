//! Stops asking a remote that is in trouble.
//!
//! A pure state machine: time is handed in. Closed, every request goes. After some failures in a row it opens for a while, and nothing goes.
//! Then one request goes as a probe: when it succeeds everything goes again, when it fails the pause doubles.
//! [`Gate`] shares one between requests and gives a probe back that was dropped without a result.

use crate::error::{ErrorKind, RemoteError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When to open, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// So many failures in a row open it.
    pub failures: u32,
    /// The first pause.
    pub pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
    /// The pause after a request was forbidden, where that closes the way for all ([`Gate::forbid`]).
    pub forbidden_pause: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 5, pause: Duration::from_secs(5), max_pause: Duration::from_secs(120), forbidden_pause: Duration::from_secs(300) }
    }
}

/// The state machine.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration, why: String, forbidden: bool },
    HalfOpen { pause: Duration, why: String },
}

/// How a request was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As one of many.
    Normal,
    /// To find out whether the remote is well again.
    Probe,
}

/// What a request says about the remote's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered; a refusal is an answer.
    Well,
    /// It is in trouble.
    Ill,
    /// Nothing: the request never got that far, or was given up.
    Unknown,
}

impl Verdict {
    /// What an error says.
    pub fn of(error: &RemoteError) -> Self {
        match error.kind() {
            kind if kind.trips_breaker() => Self::Ill,
            ErrorKind::Throttled | ErrorKind::BreakerOpen | ErrorKind::NoCredentials | ErrorKind::Disk => Self::Unknown,
            _ => Self::Well,
        }
    }
}

impl Breaker {
    /// A closed one.
    pub const fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 } }
    }

    /// Lets a request through, or says how long nothing goes and why. Every admission is answered by one [`Self::record`].
    pub fn admit(&mut self, now: Instant) -> Result<Admission, RemoteError> {
        match &mut self.state {
            State::Closed { .. } => Ok(Admission::Normal),
            State::Open { until, pause, why, .. } if *until <= now => {
                self.state = State::HalfOpen { pause: *pause, why: std::mem::take(why) };
                Ok(Admission::Probe)
            }
            State::Open { until, why, forbidden, .. } => Err(refusal_until(*until - now, why, *forbidden)),
            State::HalfOpen { why, .. } => Err(refusal_meanwhile(why)),
        }
    }

    /// Whether [`Self::admit`] would refuse, and how long that may last.
    pub fn refusal(&self, now: Instant) -> Option<(RemoteError, Duration)> {
        match &self.state {
            State::Open { until, why, forbidden, .. } if *until > now => Some((refusal_until(*until - now, why, *forbidden), *until - now)),
            State::HalfOpen { pause, why } => Some((refusal_meanwhile(why), *pause)),
            _ => None,
        }
    }

    /// Ends a pause now: the next request is a probe.
    pub fn shorten(&mut self, now: Instant) {
        if let State::Open { until, .. } = &mut self.state {
            *until = now.min(*until);
        }
    }

    /// Takes the result of a request. Once open, only the probe's counts.
    pub fn record(&mut self, admission: Admission, verdict: Verdict, why: &str, now: Instant) {
        match (&mut self.state, admission, verdict) {
            (State::Closed { failures }, _, Verdict::Well) => *failures = 0,
            (State::Closed { failures }, _, Verdict::Ill) => {
                *failures += 1;
                if *failures >= self.policy.failures {
                    self.open(now, self.policy.pause, why);
                }
            }
            (State::HalfOpen { .. }, Admission::Probe, Verdict::Well) => self.state = State::Closed { failures: 0 },
            (State::HalfOpen { pause, .. }, Admission::Probe, Verdict::Ill) => {
                let pause = (*pause * 2).min(self.policy.max_pause);
                self.open(now, pause, why);
            }
            (State::HalfOpen { pause, why }, Admission::Probe, Verdict::Unknown) => {
                self.state = State::Open { until: now, pause: *pause, why: std::mem::take(why), forbidden: false };
            }
            _ => {}
        }
    }

    /// Opens it for the pause of a forbidden request.
    pub fn forbid(&mut self, why: &str, now: Instant) {
        let (until, pause) = (now + self.policy.forbidden_pause, self.policy.pause);
        self.state = State::Open { until, pause, why: why.to_owned(), forbidden: true };
    }

    /// `closed`, `open`, or `half_open`: the next request is a probe, or one is under way.
    pub fn state_name(&self, now: Instant) -> &'static str {
        match &self.state {
            State::Closed { .. } => "closed",
            State::Open { until, .. } if *until > now => "open",
            State::Open { .. } | State::HalfOpen { .. } => "half_open",
        }
    }

    fn open(&mut self, now: Instant, pause: Duration, why: &str) {
        self.state = State::Open { until: now + pause, pause, why: why.to_owned(), forbidden: false };
    }
}

fn refusal_until(left: Duration, why: &str, forbidden: bool) -> RemoteError {
    let detail = format!("not tried for another {} s, because: {why}", left.as_secs_f64().ceil());
    let error = RemoteError::new(ErrorKind::BreakerOpen, detail);
    if forbidden { error.because(ErrorKind::Forbidden) } else { error }
}

fn refusal_meanwhile(why: &str) -> RemoteError {
    let detail = format!("not tried while another request finds out whether the remote is well again, because: {why}");
    RemoteError::new(ErrorKind::BreakerOpen, detail)
}

/// A breaker that requests share.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Mutex<Breaker>>);

/// A request that was let through. Dropped without a result, it says nothing about the remote.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
    admission: Admission,
    reported: bool,
}

impl Gate {
    pub(crate) fn new(policy: BreakerPolicy) -> Self {
        Self(Arc::new(Mutex::new(Breaker::new(policy))))
    }

    pub(crate) fn check(&self) -> Result<(), RemoteError> {
        self.refusal().map_or(Ok(()), |(error, _)| Err(error))
    }

    pub(crate) fn refusal(&self) -> Option<(RemoteError, Duration)> {
        self.lock().refusal(Instant::now())
    }

    pub(crate) fn shorten(&self) {
        self.lock().shorten(Instant::now());
    }

    pub(crate) fn pass(&self) -> Result<Pass, RemoteError> {
        let admission = self.lock().admit(Instant::now())?;
        Ok(Pass { gate: self.clone(), admission, reported: false })
    }

    pub(crate) fn forbid(&self, why: &str) {
        self.lock().forbid(why, Instant::now());
    }

    pub(crate) fn state_name(&self) -> &'static str {
        self.lock().state_name(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The remote did what it was asked, or refused in an orderly way.
    pub(crate) fn well(mut self) {
        self.report(Verdict::Well, "");
    }

    /// The request failed.
    pub(crate) fn failed(mut self, error: &RemoteError) {
        self.report(Verdict::of(error), &error.to_string());
    }

    fn report(&mut self, verdict: Verdict, why: &str) {
        if !std::mem::replace(&mut self.reported, true) {
            self.gate.lock().record(self.admission, verdict, why, Instant::now());
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.report(Verdict::Unknown, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures: 3,
        pause: Duration::from_secs(10),
        max_pause: Duration::from_secs(15),
        forbidden_pause: Duration::from_secs(300),
    };

    enum Step {
        Request(Verdict),
        Refused,
        After(u64),
        State(&'static str),
    }
    use Step::{After, Refused, Request, State as Is};
    use Verdict::{Ill, Unknown, Well};

    fn check(steps: &[Step]) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(POLICY);
        for (index, step) in steps.iter().enumerate() {
            match step {
                Request(verdict) => {
                    let admission = breaker.admit(now).unwrap_or_else(|error| panic!("step {index}: {error}"));
                    breaker.record(admission, *verdict, "it broke", now);
                }
                Refused => {
                    let (error, _) = breaker.refusal(now).unwrap_or_else(|| panic!("step {index} would be admitted"));
                    assert_eq!((error.kind(), error.cause()), (ErrorKind::BreakerOpen, ErrorKind::BreakerOpen));
                    assert!(error.to_string().contains("it broke"), "{error}");
                    assert!(breaker.admit(now).is_err(), "step {index}");
                }
                After(seconds) => now += Duration::from_secs(*seconds),
                Is(name) => assert_eq!(breaker.state_name(now), *name, "step {index}"),
            }
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        check(&[Is("closed"), Request(Ill), Request(Ill), Is("closed"), Request(Ill), Is("open"), Refused]);
        check(&[Request(Ill), Request(Ill), Request(Well), Request(Ill), Request(Ill), Is("closed")]);
        check(&[Request(Ill), Request(Unknown), Request(Ill), Request(Unknown), Is("closed"), Request(Ill), Is("open")]);
        let open = || vec![Request(Ill), Request(Ill), Request(Ill), After(9), Refused, After(1), Is("half_open")];
        let then = |more: Vec<Step>| check(&open().into_iter().chain(more).collect::<Vec<_>>());
        then(vec![Request(Well), Is("closed"), Request(Ill), Request(Ill), Is("closed")]);
        then(vec![Request(Ill), Is("open"), After(14), Refused, After(1), Request(Ill), After(14), Refused, After(1), Request(Well)]);
        then(vec![Request(Unknown), Is("half_open"), Request(Unknown), Request(Well), Is("closed")]);
    }

    #[test]
    fn one_probe_at_a_time_and_stragglers_do_not_count() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY);
        let straggler = breaker.admit(now).unwrap();
        for _ in 0..3 {
            breaker.record(Admission::Normal, Ill, "it broke", now);
        }
        breaker.record(straggler, Well, "", now);
        assert_eq!(breaker.state_name(now), "open");
        let later = now + POLICY.pause;
        assert_eq!(breaker.admit(later).unwrap(), Admission::Probe);
        assert!(breaker.admit(later).is_err());
        breaker.record(straggler, Well, "", later);
        assert!(breaker.admit(later).is_err());
        breaker.record(Admission::Probe, Well, "", later);
        assert_eq!(breaker.admit(later).unwrap(), Admission::Normal);
    }

    #[test]
    fn forbidden_pauses_at_once_and_for_longer() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY);
        breaker.forbid("no permission", now);
        let error = breaker.admit(now + Duration::from_secs(299)).unwrap_err();
        assert!(error.to_string().contains("no permission"), "{error}");
        assert_eq!((error.kind(), error.cause()), (ErrorKind::BreakerOpen, ErrorKind::Forbidden));
        assert_eq!(breaker.admit(now + Duration::from_secs(300)).unwrap(), Admission::Probe);
    }

    #[test]
    fn only_trouble_with_the_remote_itself_counts() {
        for kind in ErrorKind::ALL {
            let verdict = Verdict::of(&RemoteError::new(*kind, "…"));
            let ill = ["connect", "tls", "timeout", "stalled", "reset", "truncated", "server"].contains(&kind.name());
            assert_eq!(verdict == Ill, ill, "{kind:?}");
        }
        assert_eq!(Verdict::of(&RemoteError::new(ErrorKind::Forbidden, "…")), Well);
    }

    #[test]
    fn a_dropped_probe_lets_the_next_one_through() {
        let gate = Gate::new(BreakerPolicy { pause: Duration::ZERO, ..POLICY });
        for _ in 0..3 {
            gate.pass().unwrap().failed(&RemoteError::new(ErrorKind::Reset, "it broke"));
        }
        let probe = gate.pass().unwrap();
        assert!(gate.pass().is_err() && gate.check().is_err());
        drop(probe);
        gate.pass().unwrap().well();
        assert_eq!(gate.state_name(), "closed");
    }
}
