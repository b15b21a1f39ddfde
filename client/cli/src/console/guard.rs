//! Who may ask: pages of this console, and nobody who only made a browser ask.
//!
//! A foreign page can send requests to a loopback address, and a foreign name can be made to point there (DNS rebinding).
//! So `Host` has to be an address or a name that was allowed, and whatever changes something has to come with this
//! console's `Origin` and with the token that only its own pages hold. Answers forbid frames and foreign scripts.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;

/// The header that carries the token.
pub const TOKEN: &str = "x-zweig-token";

const POLICY: &str = "default-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; \
                      form-action 'none'; base-uri 'none'";

/// What is allowed.
#[derive(Debug)]
pub struct Guard {
    /// Names that `Host` may have beside addresses and `localhost`.
    pub names: Vec<String>,
    /// Whether anything may be changed.
    pub allow_writes: bool,
    /// What its own pages send with a change.
    pub token: String,
}

impl Guard {
    fn refuses(&self, method: &Method, headers: &HeaderMap) -> Option<Refusal> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(HOST).unwrap_or_default();
        if !self.knows(host) {
            let why = format!("'{host}' is not a name of this console; --allow-host allows names");
            return Some(Refusal::new(StatusCode::FORBIDDEN, why));
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        if !self.allow_writes {
            let why = "this console only reads; --allow-writes lets it change something";
            return Some(Refusal::new(StatusCode::FORBIDDEN, why));
        }
        let origin = text(ORIGIN);
        // A proxy in front may speak TLS.
        let own = |origin: &str| {
            let name = origin.strip_prefix("https://");
            name.or(origin.strip_prefix("http://")) == Some(host)
        };
        if origin.is_some_and(|origin| !own(origin)) {
            let why = "the request comes from another page";
            return Some(Refusal::new(StatusCode::FORBIDDEN, why));
        }
        let token = headers.get(TOKEN).map(HeaderValue::as_bytes);
        (token != Some(self.token.as_bytes())).then(|| {
            let why = "the token is missing or of a former life of this console: reload the page";
            Refusal::new(StatusCode::FORBIDDEN, why)
        })
    }

    fn knows(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok()
            || self
                .names
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The layer around everything.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let refused = guard.refuses(request.method(), request.headers());
    let mut response = match refused {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow_writes: bool) -> Guard {
        Guard {
            names: vec!["console.example".to_owned()],
            allow_writes,
            token: "secret".to_owned(),
        }
    }

    fn asked(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn only_addresses_and_allowed_names_are_hosts() {
        for host in [
            "127.0.0.1:8090",
            "localhost:1",
            "LOCALHOST",
            "[::1]:8090",
            "10.0.0.7:80",
            "console.example:8090",
        ] {
            assert!(
                guard(false)
                    .refuses(&Method::GET, &asked(&[("host", host)]))
                    .is_none(),
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:8090",
            "",
            "127.0.0.1.evil.example",
            "localhost.evil",
        ] {
            assert!(
                guard(false)
                    .refuses(&Method::GET, &asked(&[("host", host)]))
                    .is_some(),
                "{host}"
            );
        }
    }

    #[test]
    fn a_change_needs_permission_the_own_origin_and_the_token() {
        let whole = [
            ("host", "127.0.0.1:8090"),
            ("origin", "http://127.0.0.1:8090"),
            (TOKEN, "secret"),
        ];
        assert!(guard(true).refuses(&Method::POST, &asked(&whole)).is_none());
        assert!(
            guard(false)
                .refuses(&Method::POST, &asked(&whole))
                .is_some()
        );
        let proxied = [whole[0], ("origin", "https://127.0.0.1:8090"), whole[2]];
        assert!(
            guard(true)
                .refuses(&Method::PUT, &asked(&proxied))
                .is_none()
        );
        for origin in [
            "http://evil.example",
            "null",
            "127.0.0.1:8090",
            "http://127.0.0.1:8091",
        ] {
            let foreign = [whole[0], ("origin", origin), whole[2]];
            let refused = guard(true).refuses(&Method::DELETE, &asked(&foreign));
            assert!(refused.is_some(), "{origin}");
        }
        let other = [whole[0], whole[1], (TOKEN, "guess")];
        assert!(guard(true).refuses(&Method::PUT, &asked(&other)).is_some());
        assert!(
            guard(true)
                .refuses(&Method::PUT, &asked(&whole[..2]))
                .is_some()
        );
    }
}
