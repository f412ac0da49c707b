//! `/api/v1/incidents`, and `/api/v1/input`, which makes some where the inputs are simulated.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Shared;
use super::answer::{Failure, json, json_body, limit};
use crate::device::input::Input;
use crate::store::IncidentId;

/// Incidents in one answer, unless asked otherwise and at most.
const LIMIT: (usize, usize) = (50, 500);

/// Largest body, in bytes.
const BODY_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    before: Option<i64>,
    limit: Option<usize>,
}

/// `GET /api/v1/incidents`.
pub(super) async fn list(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = asked.map_err(|error| Failure::input(error.body_text()))?;
    let limit = limit(asked.limit, LIMIT)?;
    let before = asked.before.map(IncidentId);
    let incidents = shared.read(move |store| store.list_incidents(before, limit)).await?;
    let next = if incidents.len() < limit { None } else { incidents.last().map(|incident| incident.id) };
    Ok(json(&json!({ "incidents": incidents, "next": next })))
}

/// The body of `POST /api/v1/input`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputOrder {
    /// Which.
    pub input: Input,
    /// Whether it is pressed, or open.
    pub active: bool,
}

/// `POST /api/v1/input`. It answers when the input has been moved; what comes of it the events tell.
pub(super) async fn set(State(shared): State<Shared>, request: Request) -> Result<Response, Failure> {
    let order: InputOrder = json_body(request, BODY_BYTES).await?;
    shared.gate.set_input(order.input, order.active)?;
    Ok(json(&json!({ "input": order.input, "state": order.input.state(order.active) })))
}
