//! `/api/v1/people`.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Failure, json, json_body, limit};
use super::{NewPerson, Shared, form};
use crate::access::{Origin, PersonKey};
use crate::error::{Error, Kind, Result};
use crate::gate::PeopleChange;
use crate::store::{ListedPerson, PersonRow, Store};

/// Largest body of an enrolment: three pictures of 8 MiB in base64.
const BODY_BYTES: usize = 33 << 20;

/// People in one answer, unless asked otherwise and at most.
const LIMIT: (usize, usize) = (100, 500);

/// People read from the store at once.
const CHUNK: usize = 500;

/// People that one search looks at; `next` goes on from there.
const SEARCHED: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    after: Option<i64>,
    limit: Option<usize>,
    search: Option<String>,
}

/// `GET /api/v1/people`.
pub(super) async fn list(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = asked.map_err(|error| Failure::input(error.body_text()))?;
    let limit = limit(asked.limit, LIMIT)?;
    let after = asked.after.map(PersonRow);
    let wanted =
        asked.search.as_deref().map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
    let (people, next) = shared.read(move |store| page(store, after, limit, wanted.as_deref())).await?;
    Ok(json(&json!({ "people": people, "next": next })))
}

/// At most `limit` people after `after` that `wanted` is part of, and where to go on.
fn page(
    store: &Store,
    mut after: Option<PersonRow>,
    limit: usize,
    wanted: Option<&str>,
) -> Result<(Vec<Value>, Option<PersonRow>)> {
    let mut people = Vec::new();
    let mut looked_at = 0;
    let chunk = if wanted.is_some() { CHUNK } else { limit };
    loop {
        let listed = store.list_people(after, chunk)?;
        let all = listed.len() < chunk;
        for one in &listed {
            after = Some(one.row);
            if wanted.is_none_or(|wanted| matches(one, wanted)) {
                people.push(form::person(one));
                if people.len() == limit {
                    return Ok((people, after));
                }
            }
        }
        looked_at += listed.len();
        if all {
            return Ok((people, None));
        }
        if looked_at >= SEARCHED {
            return Ok((people, after));
        }
    }
}

/// Whether `wanted`, in lower case, is part of a person's name, id, code or card: an identity number is not searched for, it would be guessed digit by digit.
pub fn matches(listed: &ListedPerson, wanted: &str) -> bool {
    let person = &listed.person;
    [Some(&person.name), Some(&person.key.id), Some(&person.code), person.card.as_ref()]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(wanted))
}

fn key(path: Result<Path<(String, String)>, PathRejection>) -> Result<PersonKey, Failure> {
    let Path((origin, id)) = path.map_err(|error| Failure::input(error.body_text()))?;
    let origin = Origin::parse(&origin)
        .ok_or_else(|| Failure::input("the origin of a person is qyzn, terminal_ws or local"))?;
    Ok(PersonKey { origin, id })
}

/// `GET /api/v1/people/{origin}/{id}`.
pub(super) async fn show(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Failure> {
    let key = key(path)?;
    let found = shared.read(move |store| store.listed_person(&key)).await?;
    let listed = found.ok_or_else(|| Failure::not_found("there is no such person at this gate"))?;
    Ok(json(&form::person(&listed)))
}

/// `DELETE /api/v1/people/{origin}/{id}`.
pub(super) async fn remove(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Failure> {
    shared.gate.change_people(PeopleChange::Delete(vec![key(path)?])).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/v1/people`.
pub(super) async fn enrol(State(shared): State<Shared>, request: Request) -> Result<Response, Failure> {
    let _place = Arc::clone(&shared.enrollers)
        .try_acquire_owned()
        .map_err(|_| Failure::busy("people are being enrolled: send the next when one is answered"))?;
    let new: NewPerson = json_body(request, BODY_BYTES).await?;
    let (person, pictures) = (new.person()?, new.pictures()?);
    let (key, replace) = (person.key.clone(), new.replace);
    drop(new);
    let there = {
        let key = key.clone();
        shared.read(move |store| Ok(store.person(&key)?.is_some())).await?
    };
    if there && !replace {
        return Err(Error::new(
            Kind::Exists,
            "somebody with this id is enrolled: remove them, or ask to replace them",
        )
        .into());
    }
    shared.gate.change_people(PeopleChange::Put(person, pictures)).await?;
    let mut answer = json(&json!({ "origin": key.origin, "id": key.id }));
    *answer.status_mut() = if there { StatusCode::OK } else { StatusCode::CREATED };
    Ok(answer)
}
