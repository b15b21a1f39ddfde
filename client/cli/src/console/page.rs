//! The page's files, within the binary.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};

use super::Console;
use super::refusal::Refusal;

const HTML: &str = include_str!("assets/index.html");

/// Name, type and content.
const FILES: [(&str, &str, &str); 10] = [
    ("style.css", "text/css", include_str!("assets/style.css")),
    ("main.js", SCRIPT, include_str!("assets/main.js")),
    ("dom.js", SCRIPT, include_str!("assets/dom.js")),
    ("overview.js", SCRIPT, include_str!("assets/overview.js")),
    ("topics.js", SCRIPT, include_str!("assets/topics.js")),
    ("groups.js", SCRIPT, include_str!("assets/groups.js")),
    ("history.js", SCRIPT, include_str!("assets/history.js")),
    ("tree.js", SCRIPT, include_str!("assets/tree.js")),
    ("records.js", SCRIPT, include_str!("assets/records.js")),
    ("tour.js", SCRIPT, include_str!("assets/tour.js")),
];

const SCRIPT: &str = "text/javascript";

/// `GET /`: the page, with what it needs to know of this console.
pub async fn index(State(console): State<Arc<Console>>) -> Html<String> {
    let guard = &console.guard;
    let token = if guard.allow_writes {
        guard.token.as_str()
    } else {
        ""
    };
    let dev = if console.orders.is_some() { "dev" } else { "" };
    Html(HTML.replace("{{token}}", token).replace("{{dev}}", dev))
}

/// `GET /assets/{name}`
pub async fn asset(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, content)) => {
            ([(CONTENT_TYPE, format!("{kind}; charset=utf-8"))], *content).into_response()
        }
        None => Refusal::new(StatusCode::NOT_FOUND, "there is no such file").into_response(),
    }
}
