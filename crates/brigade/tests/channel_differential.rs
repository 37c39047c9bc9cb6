//! Channels answer as crossbeam-channel's do, operation by operation.

use brigade::sync::channel as ours;
use crossbeam_channel as theirs;
use proptest::prelude::*;

/// One step of a script. The number chooses among the handles that there are.
#[derive(Clone, Debug)]
enum Step {
    Send(usize, u16),
    SendInNoTime(usize, u16),
    Recv(usize),
    RecvInNoTime(usize),
    Drain(usize),
    CloneSender(usize),
    CloneReceiver(usize),
    DropSender(usize),
    DropReceiver(usize),
    Select(usize, usize, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..8_usize;
    prop_oneof![
        8 => (n.clone(), any::<u16>()).prop_map(|(n, message)| Step::Send(n, message)),
        2 => (n.clone(), any::<u16>()).prop_map(|(n, message)| Step::SendInNoTime(n, message)),
        8 => n.clone().prop_map(Step::Recv),
        2 => n.clone().prop_map(Step::RecvInNoTime),
        1 => n.clone().prop_map(Step::Drain),
        1 => n.clone().prop_map(Step::CloneSender),
        1 => n.clone().prop_map(Step::CloneReceiver),
        1 => n.clone().prop_map(Step::DropSender),
        1 => n.clone().prop_map(Step::DropReceiver),
        3 => (n.clone(), n, any::<u16>()).prop_map(|(r, s, message)| Step::Select(r, s, message)),
    ]
}

/// The handles of a channel, in the order in which they were made.
struct Ends<S, R> {
    senders: Vec<S>,
    receivers: Vec<R>,
}

impl<S: Clone, R: Clone> Ends<S, R> {
    fn sender(&self, n: usize) -> Option<&S> {
        self.senders.get(n % self.senders.len().max(1))
    }

    fn receiver(&self, n: usize) -> Option<&R> {
        self.receivers.get(n % self.receivers.len().max(1))
    }

    /// What changes the handles; true: it was such a step.
    fn change(&mut self, step: &Step) -> bool {
        match *step {
            Step::CloneSender(n) => self.senders.extend(self.sender(n).cloned()),
            Step::CloneReceiver(n) => self.receivers.extend(self.receiver(n).cloned()),
            Step::DropSender(n) if !self.senders.is_empty() => {
                self.senders.swap_remove(n % self.senders.len());
            }
            Step::DropReceiver(n) if !self.receivers.is_empty() => {
                self.receivers.swap_remove(n % self.receivers.len());
            }
            _ => return false,
        }
        true
    }
}

type Ours = Ends<ours::Sender<u16>, ours::Receiver<u16>>;
type Theirs = Ends<theirs::Sender<u16>, theirs::Receiver<u16>>;

/// What can be seen of a channel without changing it.
type View = Option<(usize, bool, bool, Option<usize>)>;

fn our_step(ends: &mut Ours, step: &Step) -> String {
    if ends.change(step) {
        return String::new();
    }
    let now = std::time::Instant::now();
    match *step {
        Step::Send(n, message) => {
            let sent = ends.sender(n).map(|s| {
                s.try_send(message)
                    .map_err(|e| (e.is_full(), e.is_disconnected(), e.into_inner()))
            });
            format!("{sent:?}")
        }
        Step::SendInNoTime(n, message) => {
            let sent = ends.sender(n).map(|s| {
                s.send_deadline(message, now)
                    .map_err(|e| (e.is_timeout(), e.is_disconnected(), e.into_inner()))
            });
            format!("{sent:?}")
        }
        Step::Recv(n) => format!("{:?}", ends.receiver(n).map(|r| r.try_recv())),
        Step::RecvInNoTime(n) => format!("{:?}", ends.receiver(n).map(|r| r.recv_deadline(now))),
        Step::Drain(n) => {
            let drained = ends.receiver(n).map(|r| r.try_iter().collect::<Vec<_>>());
            format!("{drained:?}")
        }
        Step::Select(r, s, message) => {
            // One operation at a time, so that the choice is the same.
            let received = ends.receiver(r).map(|r| {
                brigade::select! {
                    recv(r) -> message => format!("{message:?}"),
                    default => "nothing".to_owned(),
                }
            });
            let sent = ends.sender(s).map(|s| {
                brigade::select! {
                    send(s, message) -> sent => format!("{:?}", sent.map_err(|e| e.into_inner())),
                    default => "nothing".to_owned(),
                }
            });
            format!("{received:?} {sent:?}")
        }
        _ => String::new(),
    }
}

fn their_step(ends: &mut Theirs, step: &Step) -> String {
    if ends.change(step) {
        return String::new();
    }
    let now = std::time::Instant::now();
    match *step {
        Step::Send(n, message) => {
            let sent = ends.sender(n).map(|s| {
                s.try_send(message)
                    .map_err(|e| (e.is_full(), e.is_disconnected(), e.into_inner()))
            });
            format!("{sent:?}")
        }
        Step::SendInNoTime(n, message) => {
            let sent = ends.sender(n).map(|s| {
                s.send_deadline(message, now)
                    .map_err(|e| (e.is_timeout(), e.is_disconnected(), e.into_inner()))
            });
            format!("{sent:?}")
        }
        Step::Recv(n) => format!("{:?}", ends.receiver(n).map(|r| r.try_recv())),
        Step::RecvInNoTime(n) => format!("{:?}", ends.receiver(n).map(|r| r.recv_deadline(now))),
        Step::Drain(n) => {
            let drained = ends.receiver(n).map(|r| r.try_iter().collect::<Vec<_>>());
            format!("{drained:?}")
        }
        Step::Select(r, s, message) => {
            let received = ends.receiver(r).map(|r| {
                crossbeam_channel::select! {
                    recv(r) -> message => format!("{message:?}"),
                    default => "nothing".to_owned(),
                }
            });
            let sent = ends.sender(s).map(|s| {
                crossbeam_channel::select! {
                    send(s, message) -> sent => format!("{:?}", sent.map_err(|e| e.into_inner())),
                    default => "nothing".to_owned(),
                }
            });
            format!("{received:?} {sent:?}")
        }
        _ => String::new(),
    }
}

fn our_view(ends: &Ours) -> (View, View) {
    (
        ends.sender(0)
            .map(|s| (s.len(), s.is_empty(), s.is_full(), s.capacity())),
        ends.receiver(0)
            .map(|r| (r.len(), r.is_empty(), r.is_full(), r.capacity())),
    )
}

fn their_view(ends: &Theirs) -> (View, View) {
    (
        ends.sender(0)
            .map(|s| (s.len(), s.is_empty(), s.is_full(), s.capacity())),
        ends.receiver(0)
            .map(|r| (r.len(), r.is_empty(), r.is_full(), r.capacity())),
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_script_has_the_same_answers(
        capacity in prop_oneof![Just(None), (0..6_usize).prop_map(Some), Just(Some(64))],
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let (our_sender, our_receiver) = capacity.map_or_else(ours::unbounded, ours::bounded);
        let (sender, receiver) = capacity.map_or_else(theirs::unbounded, theirs::bounded);
        let mut ours = Ends { senders: vec![our_sender], receivers: vec![our_receiver] };
        let mut theirs = Ends { senders: vec![sender], receivers: vec![receiver] };
        for (at, step) in steps.iter().enumerate() {
            let (answer, expected) = (our_step(&mut ours, step), their_step(&mut theirs, step));
            prop_assert_eq!(answer, expected, "step {} {:?}", at, step);
            if ours.receivers.is_empty() {
                // The messages are dropped; theirs still counts those of a ring, ours does not.
                prop_assert!(ours.senders.iter().all(|sender| sender.is_empty()));
                continue;
            }
            prop_assert_eq!(our_view(&ours), their_view(&theirs), "after step {} {:?}", at, step);
        }
    }
}
