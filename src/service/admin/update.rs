//! `/api/v1/update` and `/api/v1/health`: new versions.

use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::answer::{Failure, json};
use crate::error::{Error, Kind};
use crate::update::{self, Age, Updates};

/// How long the next piece of a package may take.
const PIECE_WITHIN: Duration = Duration::from_secs(30);

/// What is still taken, and thrown away, of a package that is refused: a client that sends hears the answer only
/// when it has sent.
const REFUSED_BYTES: usize = 4 << 30;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Install {
    age: Option<String>,
}

fn updates(shared: &Shared) -> Result<&Updates, Failure> {
    shared.updates.get().ok_or_else(|| Error::new(Kind::NotFound, "this agent installs nothing").into())
}

fn text(request: &Request, name: header::HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

/// `GET /api/v1/update`.
pub(super) async fn show(State(shared): State<Shared>) -> Result<Response, Failure> {
    let mut standing = json!(updates(&shared)?.standing().await);
    let told = shared.gate.events().standing().into_iter().find(|event| event.kind == "update");
    standing["last"] = json!(told.as_deref());
    Ok(json(&standing))
}

/// `POST /api/v1/update/package`: 202 when the installer has accepted it.
pub(super) async fn install(
    State(shared): State<Shared>,
    Query(asked): Query<Install>,
    request: Request,
) -> Result<Response, Failure> {
    let updates = updates(&shared)?;
    let age = match asked.age.as_deref() {
        None | Some("not_older") => Age::NotOlder,
        Some("newer") => Age::Newer,
        Some("any") => Age::Any,
        Some(other) => return Err(Failure::input(format!("age: {other:?} is not newer, not_older or any"))),
    };
    let is_package = text(&request, header::CONTENT_TYPE) == Some("application/octet-stream");
    let length = text(&request, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    // A form of another site cannot send this type without asking before.
    if !is_package {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "input",
            "send the package with Content-Type: application/octet-stream",
        ));
    }
    let mut pieces = request.into_body().into_data_stream();
    let taken = async {
        let mut offer = updates.offer(length).await.map_err(failure)?;
        loop {
            match tokio::time::timeout(PIECE_WITHIN, pieces.next()).await {
                Ok(Some(Ok(piece))) => offer.write(&piece).await.map_err(failure)?,
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Failure::input("the package broke off on its way")),
                Err(_) => {
                    return Err(Failure::new(
                        StatusCode::REQUEST_TIMEOUT,
                        "timeout",
                        format!("no piece of the package came within {} s", PIECE_WITHIN.as_secs()),
                    ));
                }
            }
        }
        offer.install(age).await.map_err(failure)
    };
    let accepted = match taken.await {
        Ok(accepted) => accepted,
        Err(failure) => {
            let mut rest = 0;
            while let Ok(Some(Ok(piece))) = tokio::time::timeout(PIECE_WITHIN, pieces.next()).await {
                rest += piece.len();
                if rest > REFUSED_BYTES {
                    break;
                }
            }
            return Err(failure);
        }
    };
    tracing::info!(version = accepted.version, "a package was brought to the admin service");
    let mut answer = json(&json!({ "version": accepted.version, "running": accepted.running }));
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

/// `POST /api/v1/update/confirm`.
pub(super) async fn confirm(State(shared): State<Shared>) -> Result<Response, Failure> {
    updates(&shared)?.confirm().await?;
    Ok(json(&json!({ "confirmed": true })))
}

/// `GET /api/v1/health`.
pub(super) async fn health(State(shared): State<Shared>) -> Result<Response, Failure> {
    let mut health = json!(updates(&shared)?.health(&shared.gate).await);
    health["run"] = json!(shared.run);
    health["uptime_s"] = json!(shared.started.elapsed().as_secs());
    Ok(json(&health))
}

/// Told whole: whoever may bring a package may know why it is refused.
fn failure(failure: update::Failure) -> Failure {
    let text = failure.text();
    match failure {
        update::Failure::Busy => Failure::busy(text),
        update::Failure::Differs(_) | update::Failure::Unsigned(_) => Failure::input(text),
        update::Failure::NoInstaller(_) => Failure::new(StatusCode::BAD_REQUEST, "config", text),
        update::Failure::Download(error) if error.kind() == Kind::Full => {
            Failure::new(StatusCode::INSUFFICIENT_STORAGE, "full", text)
        }
        update::Failure::Unreachable(error)
        | update::Failure::Download(error)
        | update::Failure::Gate(error) => error.into(),
    }
}
