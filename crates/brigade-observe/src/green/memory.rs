//! The memory of another process, read from outside.
//!
//! # Invariants
//!
//! 1. Places of one [`Memory::read`] are read in their order: one is read whole before the next is touched. The
//!    protocols of the readers rest on that; the kernel promises it (`process_vm_readv`, "array order").
//! 2. A place that cannot be read is none of the others' business.

use std::io;

/// A place in the memory of the other process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) bytes: usize,
}

/// Memory that can be read.
pub(crate) trait Memory {
    /// Reads each place; none where nothing can be read.
    ///
    /// # Errors
    ///
    /// The process is gone, or the kernel refuses.
    fn read(&self, places: &[Place]) -> io::Result<Vec<Option<Vec<u8>>>>;
}

/// Reads one place.
pub(crate) fn read_one(memory: &dyn Memory, address: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut read = memory.read(&[Place { address, bytes }])?;
    read.pop()
        .flatten()
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EFAULT))
}

/// The little word at this offset; none behind the end.
pub(crate) fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

/// The half word at this offset.
pub(crate) fn half(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// The memory of a process of this machine.
#[derive(Debug)]
pub(crate) struct ProcessMemory {
    pid: libc::pid_t,
}

/// Places that the kernel takes at a time.
const MOST_PLACES: usize = 1024;
/// More is not read at once.
const MOST_BYTES: usize = 1 << 20;

impl ProcessMemory {
    pub(crate) fn new(pid: u32) -> Option<ProcessMemory> {
        libc::pid_t::try_from(pid)
            .ok()
            .filter(|pid| *pid > 0)
            .map(|pid| ProcessMemory { pid })
    }

    /// Reads places until one fails; the number of bytes that were read.
    fn read_some(&self, places: &[Place], into: &mut [u8]) -> io::Result<usize> {
        let remote: Vec<libc::iovec> = places
            .iter()
            .map(|place| libc::iovec {
                iov_base: std::ptr::without_provenance_mut(place.address as usize),
                iov_len: place.bytes,
            })
            .collect();
        let local = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        // SAFETY: the local vector is one buffer that lives and is ours to write; the remote ones are addresses in
        // another address space, which the kernel checks.
        let read = unsafe {
            libc::process_vm_readv(
                self.pid,
                &raw const local,
                1,
                remote.as_ptr(),
                remote.len() as libc::c_ulong,
                0,
            )
        };
        match usize::try_from(read) {
            Ok(read) => Ok(read),
            Err(_) => {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EFAULT | libc::EINVAL) => Ok(0),
                    _ => Err(error),
                }
            }
        }
    }
}

impl Memory for ProcessMemory {
    fn read(&self, places: &[Place]) -> io::Result<Vec<Option<Vec<u8>>>> {
        let mut answers = Vec::with_capacity(places.len());
        while answers.len() < places.len() {
            let rest = &places[answers.len()..];
            let count = at_once(rest);
            let Some(batch) = rest.get(..count).filter(|_| count > 0) else {
                answers.push(None); // too large
                continue;
            };
            let mut buffer = vec![0; batch.iter().map(|place| place.bytes).sum()];
            let read = self.read_some(batch, &mut buffer)?;
            let mut from = 0;
            for place in batch {
                let to = from + place.bytes;
                if to > read {
                    // The next call begins behind the place that failed.
                    answers.push(None);
                    break;
                }
                answers.push(buffer.get(from..to).map(<[u8]>::to_vec));
                from = to;
            }
        }
        Ok(answers)
    }
}

/// How many of the places are read with one call.
fn at_once(places: &[Place]) -> usize {
    let mut bytes = 0_usize;
    places
        .iter()
        .take(MOST_PLACES)
        .take_while(|place| {
            bytes = bytes.saturating_add(place.bytes);
            bytes <= MOST_BYTES
        })
        .count()
}

#[cfg(test)]
pub(crate) mod fake {
    //! Memory that is anything: for tests with processes that lie.

    use super::{Memory, Place};
    use std::collections::BTreeMap;
    use std::io;

    /// Bytes at addresses.
    #[derive(Default)]
    pub(crate) struct Fake(pub(crate) BTreeMap<u64, Vec<u8>>);

    impl Memory for Fake {
        fn read(&self, places: &[Place]) -> io::Result<Vec<Option<Vec<u8>>>> {
            let one = |place: &Place| {
                let (start, bytes) = self.0.range(..=place.address).next_back()?;
                let from = usize::try_from(place.address - start).ok()?;
                Some(bytes.get(from..from.checked_add(place.bytes)?)?.to_vec())
            };
            Ok(places.iter().map(one).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_read_does_not_hide_the_others() {
        let known = [7_u8; 32];
        let place = Place {
            address: known.as_ptr().addr() as u64,
            bytes: known.len(),
        };
        let bad = |address| Place { address, bytes: 8 };
        let too_large = Place {
            bytes: MOST_BYTES + 1,
            ..place
        };
        let places = [bad(0), place, bad(u64::MAX), bad(1 << 63), too_large, place];
        let memory = ProcessMemory::new(std::process::id()).unwrap();
        let read = memory.read(&places).unwrap();
        let found: Vec<bool> = read.iter().map(Option::is_some).collect();
        assert_eq!(found, [false, true, false, false, false, true]);
        assert_eq!(read[1].as_deref(), Some(&known[..]));
    }

    #[test]
    fn more_places_than_the_kernel_takes_at_a_time_are_all_read() {
        let numbers: Vec<u64> = (0..3000).collect();
        let places: Vec<Place> = numbers
            .iter()
            .map(|number| Place {
                address: std::ptr::from_ref(number).addr() as u64,
                bytes: 8,
            })
            .collect();
        let memory = ProcessMemory::new(std::process::id()).unwrap();
        let read = memory.read(&places).unwrap();
        let read: Vec<u64> = read
            .iter()
            .filter_map(|bytes| word(bytes.as_ref()?, 0))
            .collect();
        assert_eq!(read, numbers);
    }

    #[test]
    fn words_behind_the_end_are_none() {
        assert_eq!(word(&[1; 8], 1), None);
        assert_eq!(word(&[1; 8], usize::MAX), None);
        assert_eq!(half(&[1; 8], 5), None);
        assert_eq!(
            half(&[1, 0, 0, 0], 0),
            Some(u32::from_ne_bytes([1, 0, 0, 0]))
        );
    }
}
