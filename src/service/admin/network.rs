//! `/api/v1/network`: the addresses of the network cards.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::Shared;
use super::answer::{Failure, json, json_body};
use crate::device::system::{NetworkOrder, NetworkSettings};
use crate::gate::network::{TRIAL, reach_any};

/// Largest body of an order.
const BODY_BYTES: usize = 4096;

/// `GET /api/v1/network`.
pub(super) async fn show(State(shared): State<Shared>) -> Result<Response, Failure> {
    let view = shared.gate.network().await?;
    let trial = view.trial.map(|(order, left)| json!({ "settings": order, "seconds_left": left }));
    Ok(json(&json!({ "cards": view.cards, "kept": view.kept, "trial": trial })))
}

/// `POST /api/v1/network`.
pub(super) async fn set(State(shared): State<Shared>, request: Request) -> Result<Response, Failure> {
    let order: NetworkOrder = json_body(request, BODY_BYTES).await?;
    let settings = NetworkSettings::of(&order)?;
    shared.gate.use_network(settings, reach_any(shared.about.servers())).await?;
    let mut answer = json(&json!({ "trial_s": TRIAL.as_secs() }));
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}

/// `POST /api/v1/network/confirm`.
pub(super) async fn confirm(State(shared): State<Shared>) -> Result<Response, Failure> {
    shared.gate.decide_network(true)?;
    Ok(json(&json!({ "ordered": true })))
}

/// `POST /api/v1/network/put_back`.
pub(super) async fn put_back(State(shared): State<Shared>) -> Result<Response, Failure> {
    shared.gate.decide_network(false)?;
    Ok(json(&json!({ "ordered": true })))
}
