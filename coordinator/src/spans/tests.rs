use bytes::BytesMut;
use zweig_monitoring::trace::{Kept, Service};

use super::*;
use crate::clock;
use crate::request::{ReplyTo, Response};
use crate::session::SessionId;
use crate::state_machine::Reply;

fn spans(sample: f64) -> (Spans, Kept) {
    let kept = Kept::default();
    let service = Service {
        name: "test",
        instance: "1".to_owned(),
        version: "0",
    };
    let tracer = Tracer::over(kept.clone(), &service, sample);
    (Spans::new(tracer), kept)
}

fn command(request: u64) -> Command {
    Command {
        origin: Origin {
            node: 1,
            boot: 2,
            request,
        },
        session: SessionId(9),
        attach: 1,
        auth: Vec::new(),
        deadline_ms: clock::wall_clock_ms(),
        trace: [0; 16],
        op: Op::SetData {
            path: "/a".to_owned(),
            data: None,
            version: -1,
        },
    }
}

fn encoded(command: &Command) -> Bytes {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    bytes.freeze()
}

fn outcome(command: &Command) -> Outcome {
    Outcome {
        origin: command.origin,
        trace: command.trace,
        deadline_ms: command.deadline_ms,
        session: command.session,
        zxid: Zxid(5),
        result: Ok(Reply::Done),
        changes: Vec::new(),
        session_change: None,
    }
}

fn parent() -> TraceContext {
    TraceContext::from_ids(&[7; 16], &[8; 8]).expect("ids")
}

fn answer_to(reply: ReplyTo) {
    reply(Answer {
        zxid: Zxid(5),
        result: Ok(Response::Written(Reply::Done)),
    });
}

/// Name, parent and id of what was told.
fn told(spans: &Spans, kept: &Kept) -> Vec<(String, SpanId, SpanId)> {
    spans.stop();
    let all = kept.take();
    let what = |span: zweig_monitoring::trace::SpanData| {
        let id = span.span_context.span_id();
        (span.name.into_owned(), span.parent_span_id, id)
    };
    all.into_iter().map(what).collect()
}

#[test]
fn leader_and_others_tell_theirs_below_the_one_that_serves() {
    let (spans, kept) = spans(0.0);
    let arrived = spans.arrived(Some(parent())).expect("it is followed");
    let mut command = command(1);
    let reply = spans.follow(&arrived, &mut command, Box::new(|_| ()));
    assert_eq!(command.trace, [7; 16]);
    spans.taken(3, [&encoded(&command)]);
    let followed: Vec<_> = Followed::of(&outcome(&command)).into_iter().collect();
    spans.applied(&followed, (10, 3), now());
    answer_to(reply);
    let told = told(&spans, &kept);
    let names: Vec<_> = told.iter().map(|(name, ..)| &**name).collect();
    assert_eq!(names, ["apply", "agree", "setData"]);
    let serves = told[2].2;
    assert_eq!(told[2].1, parent().span);
    assert_eq!((told[0].1, told[1].1), (serves, serves));
}

#[test]
fn who_took_a_command_and_did_not_lead_for_it_agreed_on_nothing() {
    let (spans, kept) = spans(0.0);
    let mut command = command(1);
    command.trace = [7; 16];
    spans.taken_own(3, &[command.clone()]);
    let followed: Vec<_> = Followed::of(&outcome(&command)).into_iter().collect();
    spans.applied(&followed, (10, 4), now());
    let told = told(&spans, &kept);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "apply");
}

#[test]
fn what_is_not_followed_or_of_long_ago_is_not_told() {
    let (spans, _kept) = spans(0.0);
    assert!(spans.arrived(None).is_none());
    let mut command = command(1);
    assert!(Followed::of(&outcome(&command)).is_none());
    command.trace = [7; 16];
    assert!(Followed::of(&outcome(&command)).is_some());
    command.deadline_ms -= NEWS_MS + 10_000;
    assert!(
        Followed::of(&outcome(&command)).is_none(),
        "applied anew after a start"
    );
    let off = Spans::default();
    assert!(off.arrived(Some(parent())).is_none());
}

#[test]
fn by_chance_others_are_followed_too() {
    let (spans, kept) = spans(1.0);
    let arrived = spans.arrived(None).expect("chosen");
    let mut command = command(1);
    answer_to(spans.follow(&arrived, &mut command, Box::new(|_| ())));
    assert_ne!(command.trace, [0; 16]);
    assert_eq!(
        told(&spans, &kept)[0].1,
        SpanId::INVALID,
        "it begins the trace"
    );
}

#[test]
fn what_is_taken_and_never_applied_does_not_pile_up() {
    let (spans, _kept) = spans(0.0);
    for request in 0..10 * TAKEN as u64 {
        let mut command = command(request);
        command.trace = [7; 16];
        spans.taken(3, [&encoded(&command)]);
    }
    assert!(spans.taken.lock().len() <= TAKEN);
}

#[test]
fn an_encoded_command_shows_its_trace() {
    let mut command = command(4);
    command.auth.push(crate::tree::AuthId {
        scheme: "digest".to_owned(),
        id: "a:b".to_owned(),
    });
    command.trace = [7; 16];
    let peeked = Command::peek(encoded(&command)).expect("its head");
    assert_eq!(peeked, (command.origin, command.trace));
    assert!(Command::peek(encoded(&command).slice(..20)).is_err());
}
