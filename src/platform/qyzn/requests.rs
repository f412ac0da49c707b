//! What other parts of the gate ask the platform: a handle that is there before any link is, and that outlives a
//! link that failed.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::code::Answer;
use crate::error::{Error, Kind, Result};

/// Requests that wait for the link to take them.
const WAITING: usize = 64;

/// A request of another part of the gate to the platform.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) message: String,
    pub(crate) data: Value,
    pub(crate) version: u8,
    pub(crate) reply: oneshot::Sender<Result<Answer>>,
}

/// Where other parts of the gate ask the platform something. Cheap to clone; all clones use the same link.
#[derive(Clone, Default)]
pub struct Requests {
    /// Where the link takes them; `None` before there is one.
    link: Arc<ArcSwapOption<mpsc::Sender<Asked>>>,
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("linked", &self.link.load().is_some()).finish()
    }
}

impl Requests {
    /// Sends a request of `version` and waits for its answer, whatever its result. `Network` without a platform:
    /// nothing was sent. `Timeout` when the line was lost before the answer came, or when the platform answers
    /// others and not this one ([`is_unanswered`] tells which): it may have got the request. `Busy` when too many
    /// requests are under way. Whoever drops this waits no longer, and the request is not repeated.
    pub async fn request(&self, message: &str, data: Value, version: u8) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        let asked = Asked { message: message.to_owned(), data, version, reply };
        let Some(link) = self.link.load_full() else { return Err(not_connected()) };
        link.try_send(asked).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(Kind::Busy, "too many requests to the QYZN platform are under way")
            }
            mpsc::error::TrySendError::Closed(_) => not_connected(),
        })?;
        answer.await.unwrap_or_else(|_| {
            Err(Error::new(Kind::Timeout, "the line to the QYZN platform was lost before its answer came"))
        })
    }

    /// Takes the requests from now on; whoever served them before gets no more.
    pub(crate) fn serve(&self) -> mpsc::Receiver<Asked> {
        let (sender, asked) = mpsc::channel(WAITING);
        self.link.store(Some(Arc::new(sender)));
        asked
    }
}

/// The gate is not logged in; nothing was sent.
pub(super) fn not_connected() -> Error {
    Error::new(Kind::Network, "the gate is not logged in at the QYZN platform")
}

/// The platform has left this request unanswered, with all its repetitions, while it answered others.
pub(crate) fn unanswered() -> Error {
    Error::caused(Kind::Timeout, "a request to the QYZN platform was not answered", Unanswered)
}

/// Whether a request failed because the platform, on a line that is alive, does not answer it.
pub fn is_unanswered(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Unanswered>())
}

#[derive(Debug)]
struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the platform answers other requests and not this one")
    }
}

impl std::error::Error for Unanswered {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_handle_is_there_before_its_link_and_outlives_it() {
        let requests = Requests::default();
        let ask = |requests: &Requests| {
            let requests = requests.clone();
            tokio::spawn(async move { requests.request("device_call_param", json!({}), 5).await })
        };
        assert_eq!(ask(&requests).await.unwrap().unwrap_err().kind(), Kind::Network);
        let mut first = requests.serve();
        let asking = ask(&requests);
        let asked = first.recv().await.unwrap();
        assert_eq!((asked.message.as_str(), asked.version), ("device_call_param", 5));
        drop(asked);
        assert_eq!(asking.await.unwrap().unwrap_err().kind(), Kind::Timeout);
        drop(first);
        assert_eq!(ask(&requests).await.unwrap().unwrap_err().kind(), Kind::Network);
        let mut second = requests.serve();
        let asking = ask(&requests);
        second.recv().await.unwrap().reply.send(Ok(Answer::success())).unwrap();
        assert_eq!(asking.await.unwrap().unwrap().result, 0);
    }
}
