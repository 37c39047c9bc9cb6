//! The graph as plain data, without threads: which edges close a circle.

use super::*;
use crate::order::classes::NO_CLASS;
use brigade_event::{LockKind, LockTag};

/// A graph, and locks with letters for names.
struct Board(&'static LockOrder);

impl Board {
    fn new() -> Board {
        Board(Box::leak(new_boxed()))
    }

    fn lock(&self, name: &'static str) -> Taken {
        let tag = LockTag::new(LockKind::Mutex).with_name(name);
        Taken {
            class: self.0.classes.number_of(&tag).unwrap(),
            address: tag.address(),
            rank: 0,
            mode: Mode::Exclusive,
            site: Location::caller(),
        }
    }

    fn look(&self, held: &Taken, taken: &Taken) -> Option<OrderReport> {
        match self.0.look(held, taken, ThreadLabel::new(1, None)) {
            Finding::Fine => None,
            Finding::Report(report) => Some(report),
            Finding::NoRoom { .. } => panic!("no room"),
        }
    }

    /// Each lock is taken while the one before it is held.
    fn chain(&self, names: &[&'static str]) -> Vec<OrderReport> {
        names
            .windows(2)
            .filter_map(|pair| self.look(&self.lock(pair[0]), &self.lock(pair[1])))
            .collect()
    }
}

/// The graph is too large for a stack.
fn new_boxed() -> Box<LockOrder> {
    static FRESH: LockOrder = LockOrder::new();
    let mut memory = Box::<LockOrder>::new_uninit();
    // SAFETY: a fresh graph is plain data that nobody changes, and the copy has as much room as the original.
    unsafe {
        memory.as_mut_ptr().copy_from_nonoverlapping(&FRESH, 1);
        memory.assume_init()
    }
}

fn names(report: &OrderReport) -> Vec<(&'static str, &'static str)> {
    let name = |taking: &Taking| taking.class.name.unwrap();
    report
        .edges()
        .iter()
        .map(|edge| (name(&edge.held), name(&edge.taken)))
        .collect()
}

#[test]
fn two_orders_of_two_classes_are_reported_with_both_edges() {
    let board = Board::new();
    assert!(board.chain(&["a", "b"]).is_empty());
    let reports = board.chain(&["b", "a"]);
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].kind(), OrderKind::Inversion);
    assert_eq!(names(&reports[0]), [("b", "a"), ("a", "b")]);
}

#[test]
fn each_edge_is_reported_with_the_sites_of_its_first_taking() {
    let board = Board::new();
    let (a, b) = (board.lock("a"), board.lock("b"));
    assert!(board.look(&a, &b).is_none());
    let (late_a, late_b) = (board.lock("a"), board.lock("b"));
    assert!(board.look(&late_a, &late_b).is_none());
    let report = board.look(&late_b, &late_a).unwrap();
    let sites: Vec<_> = report
        .edges()
        .iter()
        .map(|edge| (edge.held.site, edge.taken.site))
        .collect();
    assert_eq!(sites, [(late_b.site, late_a.site), (a.site, b.site)]);
}

#[test]
fn circles_of_three_and_of_ten_classes_are_found_at_their_last_edge() {
    let board = Board::new();
    assert!(board.chain(&["x", "y", "z"]).is_empty());
    let reports = board.chain(&["z", "x"]);
    assert_eq!(names(&reports[0]), [("z", "x"), ("x", "y"), ("y", "z")]);

    let ten = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    assert!(board.chain(&ten).is_empty());
    let reports = board.chain(&["j", "a"]);
    assert_eq!(reports[0].edges().len(), 10);
    assert_eq!(reports[0].omitted(), 0);
}

#[test]
fn the_shortest_way_back_is_told() {
    let board = Board::new();
    board.chain(&["a", "b", "c", "d"]);
    board.chain(&["a", "d"]);
    let reports = board.chain(&["d", "a"]);
    assert_eq!(names(&reports[0]), [("d", "a"), ("a", "d")]);
}

#[test]
fn a_circle_of_twenty_classes_is_reported_with_those_edges_that_have_room() {
    let board = Board::new();
    let all: Vec<&'static str> = (0..20)
        .map(|number: u32| &*Box::leak(number.to_string().into_boxed_str()))
        .collect();
    assert!(board.chain(&all).is_empty());
    let reports = board.chain(&["19", "0"]);
    assert_eq!((reports[0].edges().len(), reports[0].omitted()), (16, 4));
}

#[test]
fn diamonds_and_trees_are_fine() {
    let board = Board::new();
    for chain in [
        &["top", "left", "bottom"][..],
        &["top", "right", "bottom"],
        &["top", "bottom"],
        &["right", "left"],
        &["other", "bottom"],
    ] {
        assert!(board.chain(chain).is_empty(), "{chain:?}");
    }
}

#[test]
fn each_circle_is_reported_once_however_often_it_is_gone_round() {
    let board = Board::new();
    let mut reports = Vec::new();
    for _ in 0..100 {
        reports.extend(board.chain(&["a", "b", "a"]));
    }
    assert_eq!(reports.len(), 1);
}

#[test]
fn an_edge_counts_as_known_only_in_its_own_direction() {
    let board = Board::new();
    let (a, b) = (board.lock("a"), board.lock("b"));
    assert!(!board.0.is_known(a.class, b.class));
    board.look(&a, &b);
    assert!(board.0.is_known(a.class, b.class));
    assert!(!board.0.is_known(b.class, a.class));
}

#[test]
fn locks_of_one_class_without_ranks_are_reported_once() {
    let board = Board::new();
    let first = board.lock("account");
    let second = Taken {
        address: first.address + 64,
        ..first
    };
    let report = board.look(&first, &second).unwrap();
    assert_eq!(report.kind(), OrderKind::SameClass);
    assert!(board.look(&first, &second).is_none());
}

#[test]
fn locks_of_one_class_in_rising_ranks_are_fine_and_in_others_are_not() {
    let ranked = |low: u16, high: u16| {
        let board = Board::new();
        let first = board.lock("account");
        let mut second = Taken {
            address: first.address + 64,
            ..first
        };
        second.rank = high;
        board.look(&Taken { rank: low, ..first }, &second)
    };
    assert!(ranked(1, 2).is_none());
    for (low, high) in [(2, 1), (1, 1), (0, 1), (1, 0)] {
        let report = ranked(low, high);
        assert_eq!(report.unwrap().kind(), OrderKind::SameClass, "{low} {high}");
    }
}

#[test]
fn a_lock_read_twice_is_reported_and_one_taken_twice_is_left_to_the_search_for_deadlocks() {
    let board = Board::new();
    let write = board.lock("table");
    let read = Taken {
        mode: Mode::Shared,
        ..write
    };
    assert!(board.look(&write, &write).is_none());
    assert!(board.look(&read, &write).is_none());
    let report = board.look(&read, &read).unwrap();
    assert_eq!(report.kind(), OrderKind::ReadTwice);
    assert!(board.look(&read, &read).is_none());
}

#[test]
fn reading_counts_as_writing() {
    let board = Board::new();
    let read = |name| Taken {
        mode: Mode::Shared,
        ..board.lock(name)
    };
    assert!(board.look(&read("a"), &read("b")).is_none());
    assert!(board.look(&read("b"), &read("a")).is_some());
}

#[test]
fn when_the_table_is_full_it_is_said_once_and_what_is_known_stays_known() {
    let board = Board::new();
    let side = MAX_EDGES.isqrt();
    let locks: Vec<Taken> = (0..=side)
        .map(|number| board.lock(Box::leak(number.to_string().into_boxed_str())))
        .collect();
    let mut answers = [0; 3];
    for (index, held) in locks.iter().enumerate() {
        for taken in locks.iter().skip(index + 1).chain(&locks[..index]) {
            match board.0.look(held, taken, ThreadLabel::new(1, None)) {
                Finding::NoRoom { first: true } => answers[0] += 1,
                Finding::NoRoom { first: false } => answers[1] += 1,
                _ => answers[2] += 1,
            }
        }
    }
    assert_eq!(answers[0], 1);
    assert_eq!(answers[2], MAX_EDGES);
    assert_eq!(answers[1], (side + 1) * side - MAX_EDGES - 1);
    assert!(board.0.is_known(locks[0].class, locks[1].class));
    assert_ne!(locks[0].class, NO_CLASS);
}
