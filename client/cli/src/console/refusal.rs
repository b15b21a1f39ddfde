//! An error as a page gets it: a status, and JSON that says what and what to do.

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use zweig_client::ensemble::{ConnectError, Error};
use zweig_client::kafka::KafkaError;

use crate::failure::{Code, Failure};
use crate::kafka;

/// See the module.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: String,
    hint: Option<Cow<'static, str>>,
}

impl Refusal {
    /// With a status and what is wrong.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            hint: None,
        }
    }

    /// What was asked for makes no sense.
    pub fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    fn of(code: Code, error: String, hint: Option<Cow<'static, str>>) -> Self {
        let status = match code {
            Code::Usage => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Conflict => StatusCode::CONFLICT,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
            Code::NotAllowed => StatusCode::FORBIDDEN,
            Code::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            status,
            error,
            hint,
        }
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        let Failure {
            code,
            message,
            hint,
        } = Failure::of(&error);
        Self::of(code, message, hint)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<ConnectError> for Refusal {
    fn from(error: ConnectError) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<KafkaError> for Refusal {
    fn from(error: KafkaError) -> Self {
        kafka::failed(&error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.error, "hint": self.hint });
        (self.status, Json(body)).into_response()
    }
}
