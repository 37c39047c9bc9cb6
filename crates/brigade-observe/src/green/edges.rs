//! Who waits for whom, and who does so in a circle.
//!
//! The owner of a lock is read from the lock, which its waiters borrow: what was read counts if one of them still waits
//! for it afterwards. A circle is looked at twice: threads whose waits have the same numbers at both looks have not run
//! in between, so all of them were stopped at once, and each waits for something that only the next can give.

use std::collections::{BTreeSet, HashMap};
use std::io;

use brigade_event::outside::Word;
use brigade_event::{LockKind, WaitReason};

use super::entries::{Reader, SiteId};
use super::memory::{Place, word};

/// A lock that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) kind: Option<LockKind>,
    pub(crate) name: Option<String>,
    pub(crate) created_at: Option<SiteId>,
    /// Address of the owner's entry; 0 for none, or for readers.
    owner: u64,
}

/// What the threads wait for.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    /// By address.
    pub(crate) locks: HashMap<u64, Lock>,
    /// For each thread, the one that it waits for.
    pub(crate) targets: Vec<Option<usize>>,
    /// Threads that wait for each other, each for the next and the last for the first.
    pub(crate) circles: Vec<Vec<usize>>,
}

fn is_lock(reason: WaitReason) -> bool {
    matches!(
        reason,
        WaitReason::Mutex
            | WaitReason::RwLockRead
            | WaitReason::RwLockWrite
            | WaitReason::Once
            | WaitReason::OnceWait
            | WaitReason::InterpreterLock
    )
}

pub(crate) fn find(reader: &mut Reader<'_>) -> io::Result<Edges> {
    let locks = locks(reader)?;
    let by_entry: HashMap<u64, usize> = reader
        .seen
        .iter()
        .enumerate()
        .map(|(index, seen)| (seen.entry, index))
        .collect();
    let target = |index: usize| {
        let wait = reader.seen[index].wait?;
        let entry = match wait.reason {
            WaitReason::Join => wait.object,
            reason if is_lock(reason) => locks.get(&wait.object)?.owner,
            _ => return None,
        };
        by_entry.get(&entry).copied()
    };
    let targets: Vec<Option<usize>> = (0..reader.seen.len()).map(target).collect();
    let mut circles = circles(&targets, |index| {
        reader.seen[index].wait.is_some_and(|wait| !wait.timed)
    });
    let mut certain = Vec::new();
    for circle in circles.drain(..) {
        if is_certain(reader, &circle, &locks)? {
            certain.push(circle);
        }
    }
    Ok(Edges {
        locks,
        targets,
        circles: certain,
    })
}

/// The locks that are waited for.
fn locks(reader: &mut Reader<'_>) -> io::Result<HashMap<u64, Lock>> {
    let mut witnesses: HashMap<u64, (u64, u64)> = HashMap::new();
    for seen in &reader.seen {
        if let Some(wait) = seen.wait.filter(|wait| is_lock(wait.reason)) {
            witnesses.insert(wait.object, (seen.entry, wait.word));
        }
    }
    let (addresses, waits): (Vec<u64>, Vec<(u64, u64)>) = witnesses.into_iter().unzip();
    let bytes = reader.header.size(Word::TagSize);
    let places: Vec<Place> = addresses
        .iter()
        .map(|address| Place {
            address: *address,
            bytes,
        })
        .collect();
    let tags = reader.memory.read(&places)?;
    let mut locks = HashMap::new();
    let described: Vec<Option<Lock>> = tags
        .iter()
        .map(|tag| match tag {
            Some(tag) => describe(reader, tag).map(Some),
            None => Ok(None),
        })
        .collect::<io::Result<_>>()?;
    let valid = reader.still_wait(&waits)?;
    for ((address, lock), is_valid) in addresses.into_iter().zip(described).zip(valid) {
        if let Some(lock) = lock.filter(|_| is_valid) {
            locks.insert(address, lock);
        }
    }
    Ok(locks)
}

fn describe(reader: &mut Reader<'_>, tag: &[u8]) -> io::Result<Lock> {
    let at = |of: Word| reader.header.size(of);
    let kind = tag
        .get(at(Word::TagKind))
        .and_then(|kind| LockKind::from_u8(*kind));
    let owner = word(tag, at(Word::TagOwner)).unwrap_or(0);
    let created = word(tag, at(Word::TagCreated)).unwrap_or(0);
    let name = reader.text(tag, at(Word::TagName))?;
    Ok(Lock {
        kind,
        name,
        created_at: reader.site(created)?,
        owner,
    })
}

/// The circles among edges of which each thread has at most one.
fn circles(targets: &[Option<usize>], waits_for_good: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    // The walk in which a thread was met first; 0 is none.
    let mut met_in = vec![0_usize; targets.len()];
    for start in 0..targets.len() {
        let walk = start + 1;
        let mut path = Vec::new();
        let mut next = Some(start);
        while let Some(at) = next.filter(|at| met_in[*at] == 0 && waits_for_good(*at)) {
            met_in[at] = walk;
            path.push(at);
            next = targets[at];
        }
        let closed = next.filter(|at| met_in[*at] == walk);
        if let Some(first) = closed.and_then(|at| path.iter().position(|one| *one == at)) {
            found.push(path.split_off(first));
        }
    }
    found
}

/// The second look at a circle.
fn is_certain(
    reader: &Reader<'_>,
    circle: &[usize],
    locks: &HashMap<u64, Lock>,
) -> io::Result<bool> {
    let waits: Vec<_> = circle
        .iter()
        .filter_map(|index| reader.seen.get(*index))
        .filter_map(|seen| Some((seen, seen.wait?)))
        .collect();
    let wanted: BTreeSet<u64> = waits.iter().map(|(_, wait)| wait.object).collect();
    let mut owned = true;
    for (address, lock) in wanted.iter().filter_map(|at| Some((at, locks.get(at)?))) {
        let place = address.wrapping_add(reader.header.get(Word::TagOwner));
        let owner = reader.try_read(place, 8)?;
        owned &= owner.and_then(|owner| word(&owner, 0)) == Some(lock.owner);
    }
    let words: Vec<(u64, u64)> = waits
        .iter()
        .map(|(seen, wait)| (seen.entry, wait.word))
        .collect();
    let still = reader.still_wait(&words)?;
    Ok(owned && words.len() == circle.len() && still.into_iter().all(|still| still))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_circle_is_found_once_and_tails_are_no_part_of_it() {
        // 0 -> 1 -> 2 -> 1, 3 -> 3, 4 -> 0, 5 waits for nobody, 6 -> 5.
        let targets = [Some(1), Some(2), Some(1), Some(3), Some(0), None, Some(5)];
        assert_eq!(circles(&targets, |_| true), [vec![1, 2], vec![3]]);
    }

    #[test]
    fn a_wait_with_a_deadline_is_no_part_of_a_circle() {
        let targets = [Some(1), Some(0)];
        assert_eq!(
            circles(&targets, |index| index != 1),
            Vec::<Vec<usize>>::new()
        );
        assert_eq!(circles(&targets, |_| true).len(), 1);
    }
}
