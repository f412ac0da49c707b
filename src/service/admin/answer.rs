//! Answers of the API: JSON, and one form for everything that goes wrong.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Kind};

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Something that went wrong: `{"error": {"kind": …, "text": …}}` with its status code.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    kind: &'static str,
    text: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, kind: &'static str, text: impl Into<String>) -> Self {
        Self { status, kind, text: text.into() }
    }

    /// What the client sent cannot be used.
    pub(super) fn input(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "input", text)
    }

    /// It does not exist.
    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", text)
    }

    /// Too much at once.
    pub(super) fn busy(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
    }

    /// The agent is going down.
    pub(super) fn stopped() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", "the agent is shutting down")
    }
}

/// How many rows a list has: what was `asked` for, else the usual number; from 1 to the most.
pub(super) fn limit(asked: Option<usize>, (usual, most): (usize, usize)) -> Result<usize, Failure> {
    let limit = asked.unwrap_or(usual);
    match (1..=most).contains(&limit) {
        true => Ok(limit),
        false => Err(Failure::input(format!("limit must be 1 to {most}"))),
    }
}

/// The word of a kind in answers of the API.
pub(super) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Config => "config",
        Kind::Input => "input",
        Kind::Face => "face",
        Kind::NotFound => "not_found",
        Kind::Exists => "exists",
        Kind::Busy => "busy",
        Kind::Timeout => "timeout",
        Kind::Model => "model",
        Kind::Device => "device",
        Kind::Store => "store",
        Kind::Full => "full",
        Kind::Network => "network",
        Kind::Io => "io",
        Kind::Stopped => "stopped",
    }
}

/// The reverse of [`word`].
pub(super) fn kind(word: &str) -> Option<Kind> {
    use Kind::{
        Busy, Config, Device, Exists, Face, Full, Input, Io, Model, Network, NotFound, Stopped, Store,
        Timeout,
    };
    [Config, Input, Face, NotFound, Exists, Busy, Timeout, Model, Device, Store, Full, Network, Io, Stopped]
        .into_iter()
        .find(|kind| self::word(*kind) == word)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            Kind::Config | Kind::Input => StatusCode::BAD_REQUEST,
            Kind::Face => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Exists => StatusCode::CONFLICT,
            Kind::Busy | Kind::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
            Kind::Model | Kind::Device | Kind::Store | Kind::Network | Kind::Io => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        // What is wrong with the request is told whole; what is wrong with the gate names paths, which belong
        // in its log.
        let text = if status.is_server_error() {
            tracing::error!(%error, "a request to the admin service failed");
            error.message().to_owned()
        } else {
            error.to_string()
        };
        Self { status, kind: word(error.kind()), text }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = json(&json!({ "error": { "kind": self.kind, "text": self.text } }));
        *response.status_mut() = self.status;
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Bearer realm=\"menshen\""),
            );
        }
        response
    }
}

/// A JSON answer.
pub(super) fn json(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// A whole body of at most `limit` bytes that arrives in time.
pub(super) async fn body(request: Request, limit: usize) -> Result<Bytes, Failure> {
    let too_large = || {
        Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is larger than the {limit} bytes that are taken here"),
        )
    };
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let body: Body = request.into_body();
    match tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // Too long without saying so, or the client went away: then nobody reads this answer.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!("the body did not arrive within {} s", BODY_WITHIN.as_secs()),
        )),
    }
}

/// A JSON body.
pub(super) async fn json_body<T: DeserializeOwned>(request: Request, limit: usize) -> Result<T, Failure> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    // A form of another site can send neither this type nor ask for it without a preflight.
    if essence != Some("application/json") {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "input",
            "send JSON with Content-Type: application/json",
        ));
    }
    let bytes = body(request, limit).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::input(format!("the body cannot be used: {error}")))
}

pub(super) async fn nothing_there() -> Failure {
    Failure::not_found("there is nothing at this address: see GET /api/v1/status for what the gate knows")
}

pub(super) async fn wrong_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this address takes another method")
}
