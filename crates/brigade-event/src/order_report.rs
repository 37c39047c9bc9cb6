//! The report of locks that are taken in contradictory orders.

use std::fmt;
use std::panic::Location;

use crate::report::taken;
use crate::{LockKind, Mode, ThreadLabel};

/// Locks that are taken in contradictory orders: threads that do so at the same moment can deadlock.
///
/// The orders are those of *classes*: all locks made at one place in the source, or given one name, are one class. Its
/// `Display` is a text of several lines, the first of which says the whole thing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderReport {
    /// What was found.
    pub kind: OrderKind,
    /// Who took what while holding what. Each takes what the next one holds, the last takes what the first holds, and
    /// the first is the one that was seen last. With [`OrderKind::SameClass`] there is one.
    pub edges: Vec<OrderEdge>,
}

/// What an [`OrderReport`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OrderKind {
    /// Classes are taken in a circle.
    Inversion,
    /// Two locks of one class are held at once, and their ranks do not say in which order.
    SameClass,
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// A report of these edges; see the fields.
    #[must_use]
    pub fn new(kind: OrderKind, edges: Vec<OrderEdge>) -> OrderReport {
        OrderReport { kind, edges }
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
        match (self.kind, self.edges.first()) {
            (OrderKind::SameClass, Some(edge)) => {
                let class = edge.held.class;
                write!(f, "two locks of {class} are taken without rising ranks")?;
            }
            (_, first) => {
                for edge in &self.edges {
                    write!(f, "{} -> ", edge.held.class)?;
                }
                if let Some(first) = first {
                    write!(f, "{}", first.held.class)?;
                }
            }
        }
        for edge in &self.edges {
            write!(f, "\n{edge}")?;
        }
        Ok(())
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
        let edges = vec![
            OrderEdge::new(ThreadLabel::new(1), a, b),
            OrderEdge::new(ThreadLabel::new(2).with_name("two"), b, read),
        ];
        let text = OrderReport::new(OrderKind::Inversion, edges).to_string();
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
        let edge = OrderEdge::new(ThreadLabel::new(1), high, low);
        let text = OrderReport::new(OrderKind::SameClass, vec![edge]).to_string();
        let at = high.class.created;
        assert!(text.starts_with(&format!(
            "lock order: two locks of Mutex \"account\" ({at}) are taken without rising ranks\n"
        )));
        assert!(text.contains(&format!("held Mutex \"account\" ({at}) of rank 2\n")));
        assert!(text.contains(&format!("and took Mutex \"account\" ({at}) of rank 1\n")));
    }
}
