//! `/api/v1/call`: the intercom.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::answer::{Failure, json, json_body};
use crate::intercom::{self, Intercom};

/// Largest body of a call.
const BODY_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dialled {
    room: String,
}

fn intercom(shared: &Shared) -> Result<&Intercom, Failure> {
    shared.intercom.get().ok_or_else(|| intercom::missing().into())
}

/// `GET /api/v1/call`.
pub(super) async fn show(State(shared): State<Shared>) -> Result<Response, Failure> {
    Ok(json(&json!(intercom(&shared)?.view())))
}

/// `POST /api/v1/call`.
pub(super) async fn dial(State(shared): State<Shared>, request: Request) -> Result<Response, Failure> {
    let dialled: Dialled = json_body(request, BODY_BYTES).await?;
    let view = intercom(&shared)?.dial(&dialled.room)?;
    let mut answer = json(&json!(view));
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

/// `DELETE /api/v1/call`. The call ends a moment later.
pub(super) async fn hang_up(State(shared): State<Shared>) -> Result<Response, Failure> {
    let intercom = intercom(&shared)?;
    intercom.hang_up()?;
    Ok(json(&json!(intercom.view())))
}
