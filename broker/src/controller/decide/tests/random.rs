//! Random deaths and returns of brokers, and what leaders and operators do meanwhile, over the model.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    Register {
        id: i32,
        intact: bool,
    },
    Gone(i32),
    Stopping(i32),
    /// The leader lets all registered replicas in.
    Expand(i32),
    /// The leader throws one member out.
    Shrink(i32, i32),
    /// Everybody tells the end of its log.
    Tell,
    Prefer,
    /// An operator wants a leader for one partition, whatever it costs.
    Unclean,
    Settle,
}

fn event() -> impl Strategy<Value = Event> {
    let id = 1..=4i32;
    prop_oneof![
        4 => (id.clone(), any::<bool>()).prop_map(|(id, intact)| Event::Register { id, intact }),
        3 => id.clone().prop_map(Event::Gone),
        1 => id.clone().prop_map(Event::Stopping),
        3 => (0..2i32).prop_map(Event::Expand),
        1 => (0..2i32, id).prop_map(|(p, id)| Event::Shrink(p, id)),
        1 => Just(Event::Tell),
        1 => Just(Event::Prefer),
        1 => Just(Event::Unclean),
        6 => Just(Event::Settle),
    ]
}

fn happen(world: &mut World, event: &Event) {
    let leader_of = |world: &World, topic: &str, index: i32| {
        let partition = world.image.partition(topic, index)?.clone();
        let leader = partition.leader?;
        world
            .image
            .leads(&partition, leader)
            .then_some((leader, partition))
    };
    match *event {
        Event::Register { id, intact } => world.register(id, intact),
        Event::Gone(id) => world.gone(id),
        Event::Stopping(id) => world.stopping(id),
        Event::Expand(index) => {
            for topic in ["safe", "unclean"] {
                if let Some((_, partition)) = leader_of(world, topic, index) {
                    let replicas = partition.replicas.iter().copied();
                    let here: Vec<i32> = replicas
                        .filter(|id| world.image.broker(*id).is_some())
                        .collect();
                    world.alter_isr(topic, index, &here);
                }
            }
        }
        Event::Shrink(index, out) => {
            if let Some((leader, partition)) = leader_of(world, "safe", index)
                && leader != out
            {
                let kept = partition.isr.iter().copied();
                let kept: Vec<i32> = kept
                    .filter(|id| *id != out && world.image.broker(*id).is_some())
                    .collect();
                world.alter_isr("safe", index, &kept);
            }
        }
        Event::Tell => {
            let brokers: Vec<i32> = world.image.brokers.keys().copied().collect();
            for id in brokers {
                for index in 0..2 {
                    world.tell_log_end("safe", index, id, (1, i64::from(id)));
                }
            }
        }
        Event::Prefer => world.ask(ElectionKind::Preferred, &[("safe", 0), ("unclean", 1)]),
        Event::Unclean => world.ask(ElectionKind::Unclean, &[("safe", 1)]),
        Event::Settle => {
            world.settle();
            world.check_available();
            let asked = [ElectionKind::Preferred, ElectionKind::Unclean];
            for kind in asked {
                assert_eq!(*world.asked(kind), None, "nothing is left to be done");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn never_two_leaders_in_an_epoch_and_none_outside_the_rules(
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut world = World::default();
        for id in 1..=3 {
            world.register(id, false);
        }
        world.topic("safe", &[(0, vec![1, 2, 3]), (1, vec![2, 3, 4])]);
        world.topic("unclean", &[(0, vec![3, 1]), (1, vec![1, 4])]);
        world.allow_unclean("unclean");
        for event in &events {
            happen(&mut world, event);
        }
        happen(&mut world, &Event::Settle);
    }
}
