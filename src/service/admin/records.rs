//! `/api/v1/records`.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Failure, json, limit};
use super::{Shared, form};
use crate::error::Result;
use crate::store::{PictureKind, RecordId};

/// Records in one answer, unless asked otherwise and at most.
const LIMIT: (usize, usize) = (50, 500);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    before: Option<i64>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedPicture {
    kind: Option<PictureKind>,
}

/// `GET /api/v1/records`.
pub(super) async fn list(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = asked.map_err(|error| Failure::input(error.body_text()))?;
    let limit = limit(asked.limit, LIMIT)?;
    let before = asked.before.map(RecordId);
    let records = shared.read(move |store| store.list_records(before, limit)).await?;
    let next = if records.len() < limit { None } else { records.last().map(|record| record.id) };
    let records: Vec<Value> = records.iter().map(form::record).collect();
    Ok(json(&json!({ "records": records, "next": next })))
}

fn id(path: Result<Path<i64>, PathRejection>) -> Result<RecordId, Failure> {
    path.map(|Path(id)| RecordId(id)).map_err(|_| Failure::input("a record is named by its number"))
}

/// `GET /api/v1/records/{id}`.
pub(super) async fn show(
    State(shared): State<Shared>,
    path: Result<Path<i64>, PathRejection>,
) -> Result<Response, Failure> {
    let id = id(path)?;
    let record = shared.read(move |store| store.record(id)).await?;
    let record =
        record.ok_or_else(|| Failure::not_found("there is no such record, or it has been removed"))?;
    Ok(json(&form::record(&record)))
}

/// `GET /api/v1/records/{id}/picture`.
pub(super) async fn picture(
    State(shared): State<Shared>,
    path: Result<Path<i64>, PathRejection>,
    asked: Result<Query<AskedPicture>, QueryRejection>,
) -> Result<Response, Failure> {
    let id = id(path)?;
    let Query(asked) = asked.map_err(|error| Failure::input(error.body_text()))?;
    let kind = asked.kind.unwrap_or(PictureKind::Snap);
    let picture = shared.read(move |store| store.record_picture(id, kind)).await?;
    let picture = picture.ok_or_else(|| Failure::not_found("this record has no such picture"))?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], picture).into_response())
}
