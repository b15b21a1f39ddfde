//! Where in which trace a request is, and how the next process is told (W3C Trace Context, level 1).

use opentelemetry::Context;
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, WithContext,
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use sha1::{Digest, Sha1};

/// A trace that is followed, and the span in it under which the next one hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The parent of the next span; [`SpanId::INVALID`] where there is none yet.
    pub span: SpanId,
}

/// What a request says of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It belongs to this one.
    Followed(TraceContext),
    /// Whoever began it chose not to have it followed.
    NotFollowed,
    /// Nothing that can be read.
    Nothing,
}

impl TraceContext {
    /// The name of the header, of records as of HTTP.
    pub const HEADER: &str = "traceparent";

    /// The length of its value in version 00, which later ones begin with.
    pub const HEADER_BYTES: usize = 55;

    /// A trace that begins here.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            trace: RandomIdGenerator::default().new_trace_id(),
            span: SpanId::INVALID,
        }
    }

    /// What a `traceparent` says.
    #[must_use]
    pub fn of_traceparent(value: &[u8]) -> Said {
        read(value).map_or(Said::Nothing, |(context, followed)| match followed {
            true => Said::Followed(context),
            false => Said::NotFollowed,
        })
    }

    /// The ids as they cross our own wires; nothing for zeros or another length.
    #[must_use]
    pub fn from_ids(trace: &[u8], span: &[u8]) -> Option<Self> {
        let trace = TraceId::from_bytes(trace.try_into().ok()?);
        let span = SpanId::from_bytes(span.try_into().ok()?);
        (trace != TraceId::INVALID && span != SpanId::INVALID).then_some(Self { trace, span })
    }

    /// The one that the code running now belongs to; see [`Self::scope`].
    #[must_use]
    pub fn current() -> Option<Self> {
        let context = Context::current();
        let span = context.span().span_context().clone();
        (span.is_valid() && span.is_sampled()).then(|| Self {
            trace: span.trace_id(),
            span: span.span_id(),
        })
    }

    /// As a header says it: version 00, followed.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }

    /// A future whose code belongs to this trace: clients that know of OpenTelemetry, as ours of the ensemble does, hand it
    /// on with what they send.
    pub fn scope<F: Future>(self, future: F) -> WithContext<F> {
        let remote = SpanContext::new(
            self.trace,
            self.span,
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        future.with_context(Context::new().with_remote_span_context(remote))
    }
}

/// The parts of a well-formed `traceparent`. The library's own reader takes ids of any length.
fn read(value: &[u8]) -> Option<(TraceContext, bool)> {
    let (known, rest) = value.split_at_checked(TraceContext::HEADER_BYTES)?;
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let well_formed = known.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => hex(byte),
    });
    let text = std::str::from_utf8(known).ok().filter(|_| well_formed)?;
    let (version, flags) = (&text[..2], &text[53..]);
    match version {
        "ff" => return None,
        "00" if !rest.is_empty() => return None,
        // Later versions may add fields.
        _ if !rest.is_empty() && rest[0] != b'-' => return None,
        _ => {}
    }
    let trace = TraceId::from_hex(&text[3..35]).ok()?;
    let span = SpanId::from_hex(&text[36..52]).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let valid = trace != TraceId::INVALID && span != SpanId::INVALID;
    valid.then_some((TraceContext { trace, span }, flags & 1 == 1))
}

/// The id of a span that several processes know without telling each other: the same for the same trace and parts.
#[must_use]
pub fn derived(trace: TraceId, parts: &[&[u8]]) -> SpanId {
    let mut hash = Sha1::new_with_prefix(trace.to_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    SpanId::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLLOWED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn followed(text: &str) -> TraceContext {
        match TraceContext::of_traceparent(text.as_bytes()) {
            Said::Followed(context) => context,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_traceparent_goes_in_and_out() {
        let context = followed(FOLLOWED);
        assert_eq!(context.traceparent(), FOLLOWED);
        let ids = (context.trace.to_bytes(), context.span.to_bytes());
        assert_eq!(TraceContext::from_ids(&ids.0, &ids.1), Some(context));
        let later = FOLLOWED.replacen("00", "01", 1) + "-more";
        assert_eq!(followed(&later), context);
        let other_flags = FOLLOWED.replace("-01", "-03");
        assert_eq!(followed(&other_flags), context);
    }

    #[test]
    fn whoever_says_no_is_told_from_whoever_says_nothing() {
        let not_followed = FOLLOWED.replace("-01", "-00");
        let said = TraceContext::of_traceparent(not_followed.as_bytes());
        assert_eq!(said, Said::NotFollowed);
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let bad = [
            String::new(),
            "00-1-1-01".to_owned(),
            FOLLOWED[..54].to_owned(),
            FOLLOWED.to_owned() + "-more",
            FOLLOWED.to_owned() + "0",
            FOLLOWED.replacen("00", "ff", 1),
            FOLLOWED.replace(trace, &"0".repeat(32)),
            FOLLOWED.replace(trace, &trace.to_uppercase()),
            FOLLOWED.replace(trace, &trace.replacen('0', "+", 1)),
            FOLLOWED.replace("b7ad6b7169203331", &"0".repeat(16)),
            "é".repeat(30),
        ];
        for bad in bad {
            let said = TraceContext::of_traceparent(bad.as_bytes());
            assert_eq!(said, Said::Nothing, "{bad}");
        }
        assert_eq!(TraceContext::of_traceparent(&[0xff; 55]), Said::Nothing);
        assert_eq!(TraceContext::from_ids(&[1; 16], &[0; 8]), None);
        assert_eq!(TraceContext::from_ids(&[1; 15], &[1; 8]), None);
    }

    #[tokio::test]
    async fn code_knows_the_trace_that_it_runs_in() {
        let context = followed(FOLLOWED);
        assert_eq!(TraceContext::current(), None);
        let seen = async {
            tokio::task::yield_now().await;
            TraceContext::current()
        };
        assert_eq!(context.scope(seen).await, Some(context));
        assert_eq!(TraceContext::current(), None);
    }

    #[test]
    fn a_derived_id_tells_its_parts_apart() {
        let (one, other) = (TraceContext::begin().trace, TraceContext::begin().trace);
        assert_eq!(derived(one, &[b"ab", b"c"]), derived(one, &[b"ab", b"c"]));
        assert_ne!(derived(one, &[b"ab", b"c"]), derived(one, &[b"a", b"bc"]));
        assert_ne!(derived(one, &[b"a"]), derived(other, &[b"a"]));
    }
}
