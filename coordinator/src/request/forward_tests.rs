use super::*;

fn forwarder() -> Forwarder {
    let mut forwarder = Forwarder::new(Window::default(), 0);
    for request in 1..=4 {
        forwarder.submit(request, 0, Bytes::from(vec![request as u8]));
    }
    forwarder
}

fn sent(forwarder: &mut Forwarder) -> Vec<(u64, u64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((_, run)) = forwarder.poll() {
        all.push((
            run.term,
            run.first,
            run.commands.iter().map(|command| command[0]).collect(),
        ));
    }
    all
}

#[test]
fn numbers_have_no_gaps_and_begin_anew_in_each_term() {
    let mut forwarder = forwarder();
    assert_eq!(sent(&mut forwarder), []);
    forwarder.set_target(Some((3, 1)));
    assert_eq!(sent(&mut forwarder), [(3, 1, vec![1, 2, 3, 4])]);
    forwarder.submit(5, 0, Bytes::from_static(&[5]));
    assert_eq!(sent(&mut forwarder), [(3, 5, vec![5])]);
    forwarder.applied(3, &[1, 2, 3, 4, 5]);
    assert!(forwarder.is_empty());
    forwarder.set_target(Some((4, 2)));
    forwarder.submit(6, 0, Bytes::from_static(&[6]));
    assert_eq!(sent(&mut forwarder), [(4, 1, vec![6])]);
}

#[test]
fn a_new_leader_gets_nothing_before_an_entry_of_its_term_was_applied() {
    let mut forwarder = forwarder();
    forwarder.set_target(Some((3, 1)));
    sent(&mut forwarder);
    forwarder.set_target(Some((4, 2)));
    forwarder.submit(5, 0, Bytes::from_static(&[5]));
    assert_eq!(
        sent(&mut forwarder),
        [],
        "1 to 4 may still be in the new leader's log"
    );
    forwarder.applied(3, &[1, 2]);
    assert_eq!(sent(&mut forwarder), []);
    forwarder.applied(4, &[]);
    assert_eq!(
        sent(&mut forwarder),
        [(4, 1, vec![3, 4, 5])],
        "what was not applied goes again, in order"
    );
}

#[test]
fn nothing_goes_out_in_a_term_that_is_over() {
    let mut forwarder = forwarder();
    forwarder.set_target(Some((3, 1)));
    sent(&mut forwarder);
    forwarder.applied(5, &[]);
    assert_eq!(sent(&mut forwarder), [], "raft has not told of term 5 yet");
    forwarder.set_target(Some((5, 1)));
    assert_eq!(sent(&mut forwarder), [(5, 1, vec![1, 2, 3, 4])]);
}

#[test]
fn a_renewed_stream_begins_with_the_first_not_applied() {
    let mut forwarder = forwarder();
    forwarder.set_target(Some((3, 1)));
    sent(&mut forwarder);
    forwarder.applied(3, &[1]);
    forwarder.link_renewed(2);
    assert_eq!(sent(&mut forwarder), [], "not the leader's link");
    forwarder.link_renewed(1);
    assert_eq!(sent(&mut forwarder), [(3, 2, vec![2, 3, 4])]);
    forwarder.rewind(2, 1);
    assert_eq!(sent(&mut forwarder), [], "an answer of another term");
    forwarder.rewind(3, 4);
    assert_eq!(sent(&mut forwarder), [(3, 4, vec![4])]);
}

#[test]
fn a_stream_renewed_while_no_leader_is_known_is_remembered() {
    let mut forwarder = forwarder();
    forwarder.set_target(Some((3, 1)));
    sent(&mut forwarder);
    forwarder.set_target(None);
    forwarder.link_renewed(1);
    forwarder.set_target(Some((3, 1)));
    assert_eq!(sent(&mut forwarder), [(3, 1, vec![1, 2, 3, 4])]);
}

#[test]
fn after_a_snapshot_what_was_sent_is_unknown_and_so_is_what_waits_behind_it() {
    let mut forwarder = forwarder();
    forwarder.set_target(Some((3, 1)));
    sent(&mut forwarder);
    forwarder.submit(5, 0, Bytes::from_static(&[5]));
    assert_eq!(forwarder.lose_track(6), [1, 2, 3, 4, 5]);
    forwarder.set_target(Some((6, 2)));
    assert_eq!(sent(&mut forwarder), [], "5 may be of the session of 4");
    forwarder.set_target(None);
    forwarder.submit(6, 0, Bytes::from_static(&[6]));
    assert!(
        forwarder.lose_track(7).is_empty(),
        "behind nothing that is lost"
    );
    forwarder.set_target(Some((7, 1)));
    assert_eq!(sent(&mut forwarder), [(7, 1, vec![6])]);
}

#[test]
fn numbers_given_up_leave_no_gap_at_the_leader() {
    let mut forwarder = forwarder();
    forwarder.set_target(Some((3, 1)));
    let (_, lost) = forwarder.poll().unwrap();
    forwarder.lose_track(3);
    forwarder.submit(5, 0, Bytes::from_static(&[5]));
    let (_, next) = forwarder.poll().unwrap();
    assert_eq!((next.base, next.first), (5, 5));
    let mut intake = Intake::default();
    intake.set_term(Some(3));
    assert_eq!(intake.offer((2, 77), &next, |_| Admission::Take).taken, 1);
    assert_eq!(
        intake.offer((2, 77), &lost, |_| Admission::Take).taken,
        0,
        "too late"
    );
}

#[test]
fn only_unsent_commands_expire() {
    let mut forwarder = Forwarder::new(
        Window {
            commands: 1,
            ..Window::default()
        },
        0,
    );
    forwarder.submit(1, 100, Bytes::from_static(&[1]));
    forwarder.submit(2, 100, Bytes::from_static(&[2]));
    forwarder.submit(3, 0, Bytes::from_static(&[3]));
    forwarder.submit(4, 200, Bytes::from_static(&[4]));
    forwarder.set_target(Some((1, 1)));
    assert_eq!(sent(&mut forwarder), [(1, 1, vec![1])]);
    assert_eq!(forwarder.expire(99), [0_u64; 0]);
    // They may be of one session, and must not be done without the second.
    assert_eq!(forwarder.expire(100), [2, 3, 4]);
    forwarder.submit(5, 0, Bytes::from_static(&[5]));
    assert_eq!(forwarder.give_up(), [5]);
    assert_eq!(forwarder.len(), 1);
}

#[test]
fn a_run_is_bounded_in_commands_and_bytes() {
    let window = Window {
        commands: 100,
        run_commands: 2,
        run_bytes: 10,
    };
    let mut forwarder = Forwarder::new(window, 0);
    for (request, bytes) in [(1, 1), (2, 1), (3, 1), (4, 20), (5, 1)] {
        forwarder.submit(request, 0, Bytes::from(vec![request as u8; bytes]));
    }
    forwarder.set_target(Some((1, 1)));
    assert_eq!(
        sent(&mut forwarder),
        [
            (1, 1, vec![1, 2]),
            (1, 3, vec![3]),
            (1, 4, vec![4]),
            (1, 5, vec![5])
        ]
    );
}

fn run(term: u64, first: u64, count: u8) -> Forward {
    let commands = (0..count)
        .map(|at| Bytes::from(vec![first as u8 + at]))
        .collect();
    Forward {
        term,
        base: 1,
        first,
        commands,
    }
}

#[test]
fn the_leader_takes_each_number_once_and_in_order() {
    let mut intake = Intake::default();
    intake.set_term(Some(3));
    let mut taken = Vec::new();
    let mut offer = |intake: &mut Intake, run: &Forward| {
        intake.offer((2, 77), run, |command| {
            taken.push(command[0]);
            Admission::Take
        })
    };
    assert_eq!(offer(&mut intake, &run(3, 1, 2)).taken, 2);
    assert_eq!(
        offer(&mut intake, &run(3, 1, 3)).taken,
        1,
        "1 and 2 are repeats"
    );
    assert_eq!(offer(&mut intake, &run(2, 4, 1)).taken, 0, "another term");
    assert_eq!(offer(&mut intake, &run(3, 5, 1)).taken, 0, "4 is missing");
    assert_eq!(intake.rewinds(), [(2, 77, 4)]);
    assert_eq!(intake.rewinds(), []);
    assert_eq!(offer(&mut intake, &run(3, 4, 2)).taken, 2);
    assert_eq!(taken, [1, 2, 3, 4, 5]);
}

#[test]
fn a_full_leader_blocks_everything_behind() {
    let mut intake = Intake::default();
    intake.set_term(Some(3));
    let mut room = 2;
    let accepted = intake.offer((2, 77), &run(3, 1, 4), |_| {
        room -= 1;
        if room < 0 {
            Admission::Full
        } else {
            Admission::Take
        }
    });
    assert_eq!(accepted.taken, 2);
    assert_eq!(intake.rewinds(), [(2, 77, 3)]);
}

#[test]
fn a_refusal_is_told_again_to_an_origin_that_resends() {
    let mut intake = Intake::default();
    intake.set_term(Some(3));
    let admit = |command: &Bytes| {
        if command[0] == 2 {
            Admission::Refuse
        } else {
            Admission::Take
        }
    };
    assert_eq!(intake.offer((2, 77), &run(3, 1, 3), admit).refused, [2]);
    assert_eq!(
        intake.offer((2, 77), &run(3, 2, 2), admit),
        Accepted {
            taken: 0,
            refused: vec![2]
        }
    );
    assert_eq!(
        intake.offer((2, 77), &run(3, 3, 2), admit).refused,
        [0_u64; 0]
    );

    let mut forwarder = forwarder();
    forwarder.set_target(Some((3, 1)));
    sent(&mut forwarder);
    assert_eq!(forwarder.refused(3, &[2, 9]), [2]);
    assert_eq!(forwarder.refused(3, &[2]), [0_u64; 0]);
    forwarder.link_renewed(1);
    assert_eq!(
        sent(&mut forwarder),
        [(3, 1, vec![1]), (3, 3, vec![3, 4])],
        "a run has no gaps"
    );
}

#[test]
fn what_was_refused_unheard_does_not_go_behind_its_successors() {
    let mut forwarder = forwarder();
    forwarder.set_target(Some((3, 1)));
    sent(&mut forwarder);
    // The leader refused 2 and took the others; its word of that was lost, and so was it.
    assert_eq!(forwarder.applied(3, &[1, 3]), [2]);
    forwarder.set_target(Some((4, 2)));
    assert_eq!(forwarder.applied(4, &[]), [0_u64; 0]);
    assert_eq!(sent(&mut forwarder), [(4, 1, vec![4])]);
}
