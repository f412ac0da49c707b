//! Called parties that do what a script says, for tests and demonstrations.

use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::media::{Line, Media, Missed, Parameters, Report, Way};
use crate::error::{Error, Kind, Result};

/// What `sim` alone stands for.
const USUAL: &str = "ring,wait=2,answer,wait=3,open,wait=3,hangup";
/// Most steps of a script.
const STEPS: usize = 64;
/// Longest `wait`, in seconds.
const LONGEST_WAIT: f64 = 3600.0;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Ring,
    Wait(Duration),
    Answer,
    Open,
    HangUp,
    Missed(Missed),
    Pstn,
    Break,
}

/// The steps of each call: the first call does the first list, the next the second, and so on around.
///
/// Written as `STEP,STEP;STEP,STEP`. Steps: `ring`; `wait=SECONDS`; `answer`; `open` (the called party opens the
/// door); `hangup`; `reject`; `silence` (rings as long as it may); `offline`; `fail` (the app's or the telephone's
/// service fails); `pstn` (goes on with the next user who has a telephone); `break` (the provider itself fails).
/// After the last step whoever rings goes on ringing and whoever talks goes on talking.
#[derive(Debug, Clone, PartialEq)]
pub struct Script(Vec<Vec<Step>>);

impl FromStr for Script {
    type Err = Error;

    /// `Config` with the step that is none.
    fn from_str(text: &str) -> Result<Self> {
        let text = if text.trim().is_empty() { USUAL } else { text };
        let calls = text
            .split(';')
            .map(|call| {
                let steps = call.split(',').map(|step| parse(step.trim())).collect::<Result<Vec<_>>>()?;
                if steps.len() > STEPS {
                    return Err(Error::new(Kind::Config, format!("a call has at most {STEPS} steps")));
                }
                Ok(steps)
            })
            .collect::<Result<_>>()?;
        Ok(Self(calls))
    }
}

fn parse(step: &str) -> Result<Step> {
    let wrong = || {
        Error::new(
            Kind::Config,
            format!(
                "{step:?} is no step of a call: there are ring, wait=SECONDS, answer, open, hangup, reject, silence, \
                 offline, fail, pstn, break"
            ),
        )
    };
    Ok(match step {
        "ring" => Step::Ring,
        "answer" => Step::Answer,
        "open" => Step::Open,
        "hangup" => Step::HangUp,
        "reject" => Step::Missed(Missed::Rejected),
        "silence" => Step::Missed(Missed::Unanswered),
        "offline" => Step::Missed(Missed::Offline),
        "fail" => Step::Missed(Missed::Failed),
        "pstn" => Step::Pstn,
        "break" => Step::Break,
        other => {
            let seconds = other.strip_prefix("wait=").and_then(|seconds| seconds.parse::<f64>().ok());
            let seconds =
                seconds.filter(|seconds| (0.0..=LONGEST_WAIT).contains(seconds)).ok_or_else(wrong)?;
            Step::Wait(Duration::from_secs_f64(seconds))
        }
    })
}

/// The provider.
#[derive(Debug)]
pub struct SimulatedMedia {
    script: Script,
    calls: AtomicUsize,
}

impl SimulatedMedia {
    /// Whose called parties do what `script` says.
    pub fn new(script: Script) -> Self {
        Self { script, calls: AtomicUsize::new(0) }
    }
}

impl Media for SimulatedMedia {
    fn call(&self, parameters: Parameters, mut line: Line) -> BoxFuture<'static, Result<()>> {
        let lists = &self.script.0;
        let steps = lists[self.calls.fetch_add(1, Ordering::Relaxed) % lists.len()].clone();
        async move {
            let mut attempt = Attempt::new(parameters, &line).await;
            for step in steps {
                if attempt.skips(step) {
                    continue;
                }
                if attempt.take(step, &mut line).await? == Goes::Over {
                    return Ok(());
                }
            }
            if attempt.rings || attempt.talks {
                line.hung_up().await;
            }
            Ok(())
        }
        .boxed()
    }
}

/// Whether a call goes on after a step.
#[derive(PartialEq)]
enum Goes {
    On,
    Over,
}

/// What is being tried.
struct Attempt {
    parameters: Parameters,
    way: Way,
    user: Option<String>,
    /// The next of those called to try by telephone.
    next: usize,
    rings: bool,
    talks: bool,
    /// Nobody has the app: its steps are left out.
    without_app: bool,
}

impl Attempt {
    async fn new(parameters: Parameters, line: &Line) -> Self {
        let without_app = parameters.called.iter().all(|called| called.token.is_empty());
        if without_app {
            line.report(Report::Missed { way: Way::App, user: None, why: Missed::Offline }).await;
        }
        Self { parameters, way: Way::App, user: None, next: 0, rings: false, talks: false, without_app }
    }

    fn skips(&self, step: Step) -> bool {
        self.without_app && self.way == Way::App && step != Step::Pstn
    }

    async fn ring(&mut self, line: &Line) {
        if !self.rings && !self.talks {
            self.rings = true;
            line.report(Report::Ringing(self.way)).await;
        }
    }

    async fn missed(&mut self, why: Missed, line: &Line) {
        self.rings = false;
        line.report(Report::Missed { way: self.way, user: self.user.clone(), why }).await;
    }

    async fn take(&mut self, step: Step, line: &mut Line) -> Result<Goes> {
        match step {
            Step::Ring => self.ring(line).await,
            Step::Wait(time) => return Ok(wait(time, line).await),
            Step::Answer => {
                self.ring(line).await;
                (self.rings, self.talks) = (false, true);
                line.report(Report::Answered { way: self.way, user: self.user.clone() }).await;
            }
            Step::Open => line.report(Report::OpenDoor).await,
            Step::HangUp => return Ok(Goes::Over),
            Step::Missed(why) => {
                if matches!(why, Missed::Unanswered | Missed::Rejected) {
                    self.ring(line).await;
                }
                if why == Missed::Unanswered && wait(self.parameters.ring, line).await == Goes::Over {
                    return Ok(Goes::Over);
                }
                self.missed(why, line).await;
            }
            Step::Pstn => {
                (self.way, self.rings) = (Way::Pstn, false);
                let rest = self.parameters.called.iter().enumerate().skip(self.next);
                match rest.into_iter().find(|(_, called)| !called.phone.is_empty()) {
                    Some((at, called)) => (self.next, self.user) = (at + 1, Some(called.user.clone())),
                    None => {
                        self.user = None;
                        self.missed(Missed::Failed, line).await;
                        return Ok(Goes::Over);
                    }
                }
            }
            Step::Break => return Err(Error::new(Kind::Network, "the simulated intercom service is broken")),
        }
        Ok(Goes::On)
    }
}

/// Waits, or until the gate hangs up.
async fn wait(time: Duration, line: &mut Line) -> Goes {
    tokio::select! {
        () = tokio::time::sleep(time) => Goes::On,
        () = line.hung_up() => Goes::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_or_refused_by_its_step() {
        let script: Script = "ring, wait=0.5 ,answer;silence".parse().unwrap();
        assert_eq!(
            script.0,
            [
                vec![Step::Ring, Step::Wait(Duration::from_millis(500)), Step::Answer],
                vec![Step::Missed(Missed::Unanswered)]
            ]
        );
        assert_eq!("".parse::<Script>().unwrap(), USUAL.parse().unwrap());
        for bad in ["sing", "wait", "wait=-1", "wait=NaN", "wait=4000", "ring,,answer", "ring;"] {
            let error = bad.parse::<Script>().unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{bad}");
            assert!(error.message().contains("is no step of a call"), "{bad}");
        }
        assert!(vec!["ring"; STEPS + 1].join(",").parse::<Script>().is_err());
    }
}
