//! What a technician looks after a gate with: its log, what is wrong with it, the diagnosis, the factory reset.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Failure, json, json_body};
use super::{Shared, status};
use crate::gate::OrderedBy;
use crate::store::erase;
use crate::{diagnosis, doctor, log};

/// Largest body.
const BODY_BYTES: usize = 4096;

/// The word that a reset must come with: no order that went astray resets a gate.
pub const RESET_WORD: &str = "RESET";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedLog {
    /// Lines after this number; 0 or nothing is all that are kept.
    after: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmed {
    confirm: String,
}

/// `GET /api/v1/log`.
pub(super) async fn log(asked: Result<Query<AskedLog>, QueryRejection>) -> Result<Response, Failure> {
    let Query(asked) = asked.map_err(|error| Failure::input(error.body_text()))?;
    let (lines, last) = log::recent::after(asked.after.unwrap_or(0));
    let lines: Vec<Value> = lines.iter().map(log::recent::Line::form).collect();
    Ok(json(&json!({ "lines": lines, "last": last })))
}

/// `GET /api/v1/doctor`.
pub(super) async fn doctor(State(shared): State<Shared>) -> Result<Response, Failure> {
    let said = status::view(&shared).await?;
    let config = Arc::clone(&shared.config);
    let findings = shared.read(move |_| Ok(doctor::examine(&config, doctor::Agent::Running(&said)))).await?;
    Ok(json(&json!(findings)))
}

/// `GET /api/v1/diagnosis`: the files of the bundle.
pub(super) async fn diagnosis(State(shared): State<Shared>) -> Result<Response, Failure> {
    let said = status::view(&shared).await?;
    let (config, settings) = (Arc::clone(&shared.config), shared.gate.settings());
    let files = shared
        .read(move |store| {
            let lines: Vec<Value> = log::recent::after(0).0.iter().map(log::recent::Line::form).collect();
            diagnosis::gather(&diagnosis::Sources {
                config: &config,
                store: Some(store),
                settings: Some(&settings),
                status: Some(&said),
                lines: &lines,
            })
        })
        .await?;
    Ok(json(&json!({ "files": files })))
}

/// `POST /api/v1/factory-reset`. Ok when it is on the disk that the next start resets, and that start is ordered.
pub(super) async fn factory_reset(
    State(shared): State<Shared>,
    request: Request,
) -> Result<Response, Failure> {
    let confirmed: Confirmed = json_body(request, BODY_BYTES).await?;
    if confirmed.confirm != RESET_WORD {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "input",
            format!("a reset is confirmed with {{\"confirm\": \"{RESET_WORD}\"}}"),
        ));
    }
    let options = Arc::clone(&shared.options);
    shared.read(move |_| erase::order(&options)).await?;
    if let Err(error) = shared.gate.restart(OrderedBy::Technician).await {
        let options = Arc::clone(&shared.options);
        shared.read(move |_| erase::withdraw(&options)).await?;
        return Err(error.into());
    }
    tracing::warn!("a technician ordered a factory reset: the next start begins with it");
    Ok(json(&json!({ "ordered": true })))
}
