//! Why a thread waits.

use std::fmt;

/// Why a thread waits. Each place in Brigade that can block has its own reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum WaitReason {
    /// The thread does not wait.
    None = 0,
    /// `thread::park` or `thread::park_timeout`.
    Park,
    /// `thread::sleep` or `thread::sleep_until`.
    Sleep,
    /// `JoinHandle::join`.
    Join,
    /// The end of `thread::scope`, which waits for the threads of the scope.
    Scope,
    /// A `FUTEX_WAIT`: a lock, condition variable, channel or park of std, parking_lot and the like.
    Futex,
    /// A descriptor that is to become readable.
    Read,
    /// A descriptor that is to become writable.
    Write,
    /// `poll`, `select`, `epoll_wait`.
    Poll,
    /// The end of a child process.
    Child,
    /// `Mutex::lock` and its variants with a deadline.
    Mutex,
    /// `RwLock::read` and its variants with a deadline.
    RwLockRead,
    /// `RwLock::write` and its variants with a deadline.
    RwLockWrite,
    /// `Condvar::wait` and its variants.
    Condvar,
    /// `Semaphore::acquire` and its variants.
    Semaphore = 40,
    /// `Once::call_once` and what is built on it, while another thread initialises.
    Once = 41,
    /// `Once::wait` and `OnceLock::wait`, until somebody has initialised.
    OnceWait = 42,
    /// `Barrier::wait` and its variants.
    Barrier = 43,
    /// `WaitGroup::wait` and its variants.
    WaitGroup = 44,
    /// `Event::wait` and its variants.
    Event = 45,
    /// `InterpreterLock::enter`, and what enters it again.
    InterpreterLock = 75,
    /// A channel that is to take a message.
    Send = 30,
    /// A channel that is to have a message.
    Recv = 31,
    /// A select over several channels.
    Select = 32,
    /// `task::block_on`: a future that a waker is to go on with.
    BlockOn = 50,
    /// A thread that polls tasks and has none to poll.
    Tasks = 51,
    /// The result of a job of a pool.
    PoolJob = 65,
    /// A thread of a pool that has no job.
    PoolIdle = 66,
    /// Room in the queue of a pool.
    PoolRoom = 67,
    /// The end of the jobs of a pool that shuts down.
    PoolShutdown = 68,
    /// The end of a scope of a pool, which waits for its jobs.
    PoolScope = 69,
    /// The thread that calls the wakers of futures, until there is one to call.
    Alarm = 55,
}

impl WaitReason {
    /// The reason stored as `value`; unknown values read as [`WaitReason::None`].
    #[must_use]
    pub fn from_u8(value: u8) -> WaitReason {
        match value {
            1 => WaitReason::Park,
            2 => WaitReason::Sleep,
            3 => WaitReason::Join,
            4 => WaitReason::Scope,
            5 => WaitReason::Futex,
            6 => WaitReason::Read,
            7 => WaitReason::Write,
            8 => WaitReason::Poll,
            9 => WaitReason::Child,
            10 => WaitReason::Mutex,
            11 => WaitReason::RwLockRead,
            12 => WaitReason::RwLockWrite,
            13 => WaitReason::Condvar,
            40 => WaitReason::Semaphore,
            41 => WaitReason::Once,
            42 => WaitReason::OnceWait,
            43 => WaitReason::Barrier,
            44 => WaitReason::WaitGroup,
            45 => WaitReason::Event,
            75 => WaitReason::InterpreterLock,
            30 => WaitReason::Send,
            31 => WaitReason::Recv,
            32 => WaitReason::Select,
            50 => WaitReason::BlockOn,
            51 => WaitReason::Tasks,
            65 => WaitReason::PoolJob,
            66 => WaitReason::PoolIdle,
            67 => WaitReason::PoolRoom,
            68 => WaitReason::PoolShutdown,
            69 => WaitReason::PoolScope,
            55 => WaitReason::Alarm,
            _ => WaitReason::None,
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WaitReason::None => "none",
            WaitReason::Park => "park",
            WaitReason::Sleep => "sleep",
            WaitReason::Join => "join",
            WaitReason::Scope => "scope",
            WaitReason::Futex => "futex",
            WaitReason::Read => "read",
            WaitReason::Write => "write",
            WaitReason::Poll => "poll",
            WaitReason::Child => "child",
            WaitReason::Mutex => "mutex",
            WaitReason::RwLockRead => "rwlock (read)",
            WaitReason::RwLockWrite => "rwlock (write)",
            WaitReason::Condvar => "condvar",
            WaitReason::Semaphore => "semaphore",
            WaitReason::Once => "once",
            WaitReason::OnceWait => "once wait",
            WaitReason::Barrier => "barrier",
            WaitReason::WaitGroup => "wait group",
            WaitReason::Event => "event",
            WaitReason::InterpreterLock => "interpreter lock",
            WaitReason::Send => "send",
            WaitReason::Recv => "recv",
            WaitReason::Select => "select",
            WaitReason::BlockOn => "block_on",
            WaitReason::Tasks => "tasks",
            WaitReason::PoolJob => "pool (job)",
            WaitReason::PoolIdle => "pool (idle)",
            WaitReason::PoolRoom => "pool (room)",
            WaitReason::PoolShutdown => "pool (shutdown)",
            WaitReason::PoolScope => "pool (scope)",
            WaitReason::Alarm => "alarm",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::WaitReason;

    #[test]
    fn every_reason_survives_its_byte() {
        for reason in [
            WaitReason::None,
            WaitReason::Park,
            WaitReason::Sleep,
            WaitReason::Join,
            WaitReason::Scope,
            WaitReason::Futex,
            WaitReason::Read,
            WaitReason::Write,
            WaitReason::Poll,
            WaitReason::Child,
            WaitReason::Mutex,
            WaitReason::RwLockRead,
            WaitReason::RwLockWrite,
            WaitReason::Condvar,
            WaitReason::Semaphore,
            WaitReason::Once,
            WaitReason::OnceWait,
            WaitReason::Barrier,
            WaitReason::WaitGroup,
            WaitReason::Event,
            WaitReason::InterpreterLock,
            WaitReason::Send,
            WaitReason::Recv,
            WaitReason::Select,
            WaitReason::BlockOn,
            WaitReason::Tasks,
            WaitReason::PoolJob,
            WaitReason::PoolIdle,
            WaitReason::PoolRoom,
            WaitReason::PoolShutdown,
            WaitReason::PoolScope,
            WaitReason::Alarm,
        ] {
            assert_eq!(WaitReason::from_u8(reason as u8), reason);
        }
        assert_eq!(WaitReason::from_u8(200), WaitReason::None);
    }
}
