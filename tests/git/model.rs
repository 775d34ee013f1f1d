//! The protocol as a model: two replicas that may both act (a lease gives no fencing), crashes,
//! answers that get lost, people who push and who revert our revert. Every state that can be
//! reached is looked at. The whole protocol keeps its promise; without any one of its three
//! protections there is a way to break it.

use std::collections::{HashMap, HashSet, VecDeque};

/// A commit on top of the culprit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Commit {
    /// A person's, about something else.
    Other,
    /// Ours, with the trailer.
    Revert,
    /// A person's, that reverts our revert.
    Reapply,
}

/// Where a replica is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Replica {
    Idle,
    Fetched(Vec<Commit>),
    /// A commit is made for a branch of that length.
    Ready(usize),
    /// The push was sent, the answer is lost.
    Unknown,
    /// The revert is known to be there; not yet written to the status.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    branch: Vec<Commit>,
    replicas: [Replica; 2],
    recorded: bool,
    crashes: u8,
    people: u8,
    lost: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Fetch(usize),
    Decide(usize),
    Push(usize),
    PushAndLoseTheAnswer(usize),
    Record(usize),
    Crash(usize),
    PersonPushes,
    PersonReapplies,
}

/// Which protections are there.
#[derive(Clone, Copy, Debug)]
struct Protocol {
    trailer: bool,
    compare_and_swap: bool,
    read_again: bool,
}

const WHOLE: Protocol = Protocol { trailer: true, compare_and_swap: true, read_again: true };
const CRASHES: u8 = 4;
const PEOPLE: u8 = 3;
const LOST: u8 = 2;

impl Protocol {
    fn steps(world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        for (i, replica) in world.replicas.iter().enumerate() {
            match replica {
                Replica::Idle if !world.recorded => steps.push(Step::Fetch(i)),
                Replica::Fetched(_) => steps.push(Step::Decide(i)),
                Replica::Ready(_) => {
                    steps.push(Step::Push(i));
                    if world.lost < LOST {
                        steps.push(Step::PushAndLoseTheAnswer(i));
                    }
                }
                Replica::Unknown => steps.push(Step::Fetch(i)),
                Replica::Done if !world.recorded => steps.push(Step::Record(i)),
                Replica::Idle | Replica::Done => {}
            }
            if world.crashes < CRASHES && *replica != Replica::Idle {
                steps.push(Step::Crash(i));
            }
        }
        if world.people < PEOPLE {
            steps.push(Step::PersonPushes);
            let ours = world.branch.contains(&Commit::Revert);
            if ours && !world.branch.contains(&Commit::Reapply) {
                steps.push(Step::PersonReapplies);
            }
        }
        steps
    }

    /// The server takes a push, or does not.
    fn receive(self, world: &mut World, made_for: usize) -> bool {
        let takes = !self.compare_and_swap || world.branch.len() == made_for;
        if takes {
            world.branch.push(Commit::Revert);
        }
        takes
    }

    fn is_done(self, branch: &[Commit]) -> bool {
        if self.trailer {
            return branch.contains(&Commit::Revert);
        }
        // The content alone: is the old one back?
        branch.iter().rev().find(|c| **c != Commit::Other) == Some(&Commit::Revert)
    }

    fn after(self, world: &World, step: Step) -> World {
        let mut next = world.clone();
        match step {
            Step::Fetch(i) => {
                let again = world.replicas[i] != Replica::Unknown || self.read_again;
                next.replicas[i] = if again {
                    Replica::Fetched(world.branch.clone())
                } else {
                    Replica::Ready(world.branch.len())
                };
            }
            Step::Decide(i) => {
                if let Replica::Fetched(branch) = &world.replicas[i] {
                    let done = self.is_done(branch);
                    next.replicas[i] =
                        if done { Replica::Done } else { Replica::Ready(branch.len()) };
                }
            }
            Step::Push(i) => {
                if let Replica::Ready(made_for) = world.replicas[i] {
                    let taken = self.receive(&mut next, made_for);
                    next.replicas[i] = if taken { Replica::Done } else { Replica::Idle };
                }
            }
            Step::PushAndLoseTheAnswer(i) => {
                if let Replica::Ready(made_for) = world.replicas[i] {
                    self.receive(&mut next, made_for);
                    next.lost += 1;
                    next.replicas[i] = Replica::Unknown;
                }
            }
            Step::Record(_) => next.recorded = true,
            Step::Crash(i) => {
                next.crashes += 1;
                next.replicas[i] = Replica::Idle;
            }
            Step::PersonPushes => {
                next.people += 1;
                next.branch.push(Commit::Other);
            }
            Step::PersonReapplies => {
                next.people += 1;
                next.branch.push(Commit::Reapply);
            }
        }
        next
    }

    /// Looks at every reachable state. `Err`: the shortest way to one that breaks the promise.
    fn check(self) -> Result<usize, (String, Vec<Step>)> {
        let start = World {
            branch: Vec::new(),
            replicas: [Replica::Idle, Replica::Idle],
            recorded: false,
            crashes: 0,
            people: 0,
            lost: 0,
        };
        let mut came: HashMap<World, Option<(World, Step)>> =
            HashMap::from([(start.clone(), None)]);
        let mut queue = VecDeque::from([start]);
        let (mut backward, mut ends): (HashMap<World, Vec<World>>, Vec<World>) = Default::default();
        while let Some(world) = queue.pop_front() {
            if let Some(broken) = broken(&world) {
                return Err((broken.to_owned(), way(&came, world)));
            }
            if world.recorded {
                ends.push(world.clone());
            }
            for step in Self::steps(&world) {
                let next = self.after(&world, step);
                backward.entry(next.clone()).or_default().push(world.clone());
                if !came.contains_key(&next) {
                    came.insert(next.clone(), Some((world.clone(), step)));
                    queue.push_back(next);
                }
            }
        }
        // From everywhere the end can still be reached: nothing is stuck.
        let mut alive: HashSet<World> = ends.iter().cloned().collect();
        while let Some(world) = ends.pop() {
            for before in backward.get(&world).into_iter().flatten() {
                if alive.insert(before.clone()) {
                    ends.push(before.clone());
                }
            }
        }
        match came.keys().find(|world| !alive.contains(*world)) {
            Some(stuck) => Err(("the end is out of reach".into(), way(&came, stuck.clone()))),
            None => Ok(came.len()),
        }
    }
}

fn broken(world: &World) -> Option<&'static str> {
    let reverts = world.branch.iter().filter(|c| **c == Commit::Revert).count();
    if reverts > 1 {
        return Some("more than one revert");
    }
    (world.recorded && reverts == 0).then_some("recorded, but not on the branch")
}

fn way(came: &HashMap<World, Option<(World, Step)>>, mut world: World) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(Some((before, step))) = came.get(&world) {
        steps.push(*step);
        world = before.clone();
    }
    steps.reverse();
    steps
}

#[test]
fn the_whole_protocol_reverts_exactly_once() {
    let states = WHOLE.check().unwrap();
    assert!(states > 10_000, "only {states} states were reached");
}

#[test]
fn without_the_trailer_a_person_is_reverted_again() {
    let (what, way) = Protocol { trailer: false, ..WHOLE }.check().unwrap_err();
    assert_eq!(what, "more than one revert");
    assert!(way.contains(&Step::PersonReapplies), "{way:?}");
}

#[test]
fn without_compare_and_swap_two_replicas_both_push() {
    let (what, way) = Protocol { compare_and_swap: false, ..WHOLE }.check().unwrap_err();
    assert_eq!(what, "more than one revert");
    assert!(way.iter().any(|s| matches!(s, Step::Push(_) | Step::PushAndLoseTheAnswer(_))));
}

#[test]
fn without_reading_again_a_lost_answer_is_pushed_twice() {
    let (what, way) = Protocol { read_again: false, ..WHOLE }.check().unwrap_err();
    assert_eq!(what, "more than one revert");
    assert!(way.iter().any(|s| matches!(s, Step::PushAndLoseTheAnswer(_))), "{way:?}");
}
