//! The report of locks that are taken in contradictory orders.

use std::fmt;
use std::panic::Location;

use crate::report::taken;
use crate::{LockKind, Mode, ThreadLabel};

/// Edges that a report keeps.
const KEPT: usize = 16;

/// Locks that are taken in contradictory orders: threads that do so at the same moment can deadlock.
///
/// The orders are those of *classes*: all locks made at one place in the source, or given one name, are one class. Its
/// `Display` is a text of several lines, the first of which says the whole thing.
///
/// A report has no memory of its own: it is made by a thread that holds locks, perhaps those of an allocator.
#[derive(Clone, PartialEq, Eq)]
pub struct OrderReport {
    kind: OrderKind,
    len: usize,
    edges: [OrderEdge; KEPT],
}

/// What an [`OrderReport`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OrderKind {
    /// Classes are taken in a circle.
    Inversion,
    /// Two locks of one class are held at once, and their ranks do not say in which order.
    SameClass,
    /// A thread reads a lock that it reads already: both wait if a writer comes in between.
    ReadTwice,
}

/// All locks that were made at one place, or given one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LockClass {
    /// Mutex, RwLock, ...
    pub kind: LockKind,
    /// The name, if the class is that of a name.
    pub name: Option<&'static str>,
    /// Where the first lock of the class was made.
    pub created: &'static Location<'static>,
}

/// A lock of a class, as somebody took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taking {
    /// The class of the lock.
    pub class: LockClass,
    /// For reading or exclusively.
    pub mode: Mode,
    /// Where.
    pub site: &'static Location<'static>,
    /// The rank of the lock within its class; 0 is none.
    pub rank: u16,
}

/// A thread took a lock while it held another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderEdge {
    /// Who.
    pub thread: ThreadLabel,
    /// What it held.
    pub held: Taking,
    /// What it took, or was going to take, besides.
    pub taken: Taking,
}

impl OrderReport {
    /// A report of one edge; the others come with [`OrderReport::push`].
    #[must_use]
    pub fn new(kind: OrderKind, first: OrderEdge) -> OrderReport {
        OrderReport {
            kind,
            len: 1,
            edges: [first; KEPT],
        }
    }

    /// Adds an edge. Beyond 16 edges are only counted.
    pub fn push(&mut self, edge: OrderEdge) {
        if let Some(slot) = self.edges.get_mut(self.len) {
            *slot = edge;
        }
        self.len += 1;
    }

    /// What was found.
    #[must_use]
    pub fn kind(&self) -> OrderKind {
        self.kind
    }

    /// Who took what while holding what; at least one. Each takes what the next one holds, the last takes what the first holds, and
    /// the first is the one that was seen last. In a report of another kind than [`OrderKind::Inversion`] there is one.
    pub fn edges(&self) -> &[OrderEdge] {
        &self.edges[..self.len.min(KEPT)]
    }

    /// How many edges of the circle there was no room for, between the last of [`OrderReport::edges`] and the first.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.len.saturating_sub(KEPT)
    }
}

impl LockClass {
    /// A class.
    #[must_use]
    pub fn new(
        kind: LockKind,
        name: Option<&'static str>,
        created: &'static Location<'static>,
    ) -> LockClass {
        LockClass {
            kind,
            name,
            created,
        }
    }
}

impl Taking {
    /// A lock of this class, taken at `site`, without a rank.
    #[must_use]
    pub fn new(class: LockClass, mode: Mode, site: &'static Location<'static>) -> Taking {
        Taking {
            class,
            mode,
            site,
            rank: 0,
        }
    }
}

impl OrderEdge {
    /// `thread` held one and took the other.
    #[must_use]
    pub fn new(thread: ThreadLabel, held: Taking, taken: Taking) -> OrderEdge {
        OrderEdge {
            thread,
            held,
            taken,
        }
    }
}

impl fmt::Display for LockClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(name) = self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, " ({})", self.created)
    }
}

impl fmt::Display for OrderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lock order: ")?;
        let first = self.edges[0].held.class;
        match self.kind {
            OrderKind::SameClass => {
                write!(f, "two locks of {first} are taken without rising ranks")?;
            }
            OrderKind::ReadTwice => {
                write!(
                    f,
                    "{first} is read twice at once; a writer in between stops it"
                )?;
            }
            OrderKind::Inversion => {
                for edge in self.edges() {
                    write!(f, "{} -> ", edge.held.class)?;
                }
                if self.omitted() != 0 {
                    write!(f, "({} more) -> ", self.omitted())?;
                }
                write!(f, "{first}")?;
            }
        }
        for edge in self.edges() {
            write!(f, "\n{edge}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for OrderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderReport")
            .field("kind", &self.kind)
            .field("edges", &self.edges())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for OrderEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}", self.thread)?;
        write!(f, "\n    held {}", self.held)?;
        write!(f, "\n    and took {}", self.taken)
    }
}

impl fmt::Display for Taking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.class)?;
        if self.rank != 0 {
            write!(f, " of rank {}", self.rank)?;
        }
        write!(f, "\n      {} at {}", taken(self.mode), self.site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taking(name: &'static str) -> Taking {
        let class = LockClass::new(LockKind::Mutex, Some(name), Location::caller());
        Taking::new(class, Mode::Exclusive, Location::caller())
    }

    #[test]
    fn an_inversion_names_the_circle_and_both_sites_of_each_edge() {
        let (a, b) = (taking("a"), taking("b"));
        let mut read = a;
        read.mode = Mode::Shared;
        let first = OrderEdge::new(ThreadLabel::new(1, None), a, b);
        let mut report = OrderReport::new(OrderKind::Inversion, first);
        report.push(OrderEdge::new(ThreadLabel::new(2, Some("two")), b, read));
        let text = report.to_string();
        let (at, site) = (a.class.created, a.site);
        let expected = [
            format!("lock order: Mutex \"a\" ({at}) -> Mutex \"b\" ({at}) -> Mutex \"a\" ({at})"),
            "  thread 1".to_owned(),
            format!("    held Mutex \"a\" ({at})"),
            format!("      taken at {site}"),
            format!("    and took Mutex \"b\" ({at})"),
            format!("      taken at {site}"),
            "  thread 2 \"two\"".to_owned(),
            format!("    held Mutex \"b\" ({at})"),
            format!("      taken at {site}"),
            format!("    and took Mutex \"a\" ({at})"),
            format!("      taken for reading at {site}"),
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn a_nesting_within_a_class_shows_the_ranks() {
        let (mut high, mut low) = (taking("account"), taking("account"));
        (high.rank, low.rank) = (2, 1);
        let edge = OrderEdge::new(ThreadLabel::new(1, None), high, low);
        let text = OrderReport::new(OrderKind::SameClass, edge).to_string();
        let at = high.class.created;
        assert!(text.starts_with(&format!(
            "lock order: two locks of Mutex \"account\" ({at}) are taken without rising ranks\n"
        )));
        assert!(text.contains(&format!("held Mutex \"account\" ({at}) of rank 2\n")));
        assert!(text.contains(&format!("and took Mutex \"account\" ({at}) of rank 1\n")));
    }

    #[test]
    fn edges_beyond_those_kept_are_counted_and_said() {
        let edge = OrderEdge::new(ThreadLabel::new(1, None), taking("a"), taking("b"));
        let mut report = OrderReport::new(OrderKind::Inversion, edge);
        for _ in 1..20 {
            report.push(edge);
        }
        assert_eq!((report.edges().len(), report.omitted()), (16, 4));
        assert!(
            report
                .to_string()
                .lines()
                .next()
                .unwrap()
                .contains("(4 more)")
        );
    }
}
