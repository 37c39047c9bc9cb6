//! The waits of a token.
//!
//! Each is the wait with a deadline that the primitive has anyway. While it is under way the thread has a seat in the
//! token's list, so that the end of the token makes that wait give up; then the token is asked why. A wait that gave up
//! for no reason is made again.

use std::io;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use brigade_runtime::WaitReason;
use brigade_runtime::cancel::Seat;
use brigade_runtime::clock;

use super::{CancelToken, Cancelled, JoinError, LockError, RecvError, SendError};
use crate::sync::channel::{
    Receiver, RecvTimeoutError, Select, SelectedOperation, SendTimeoutError, Sender, TryRecvError,
    TrySendError,
};
use crate::sync::{
    Barrier, BarrierWaitResult, Condvar, Event, Mutex, MutexGuard, RwLock, RwLockReadGuard,
    RwLockWriteGuard, Semaphore, SemaphorePermit, TryLockError, WaitGroup,
};
use crate::thread::{self, JoinHandle};

/// Two centuries: later than any wait ends.
const FAR: Duration = Duration::from_secs(200 * 365 * 24 * 3600);

/// A wait under way; its seat is taken.
struct Waiting<'a> {
    token: &'a CancelToken,
    reason: WaitReason,
}

impl<'a> Waiting<'a> {
    /// Takes the seat.
    ///
    /// # Safety
    ///
    /// The seat was not taken before, is that of the current thread, and is dropped before the function returns that
    /// calls this, in which no other seat was taken before and is still.
    unsafe fn begin(
        token: &'a CancelToken,
        seat: Pin<&Seat<'_>>,
        reason: WaitReason,
    ) -> Result<Waiting<'a>, Cancelled> {
        // SAFETY: the caller's contract.
        match unsafe { seat.take_for_operation() } {
            Ok(()) => Ok(Waiting { token, reason }),
            Err(ended) => Err(Cancelled::new(ended, reason)),
        }
    }

    /// Until when the wait lasts if nobody cancels it.
    fn limit(&self) -> Instant {
        let now = Instant::now();
        let remaining = self.token.remaining().unwrap_or(FAR);
        now.checked_add(remaining.min(FAR)).unwrap_or(now)
    }

    /// Until when the wait lasts if nobody cancels it, in nanoseconds of `CLOCK_MONOTONIC`.
    fn limit_ns(&self) -> u64 {
        self.token.deadline_ns().min(clock::NEVER - 1)
    }

    /// After the wait gave up: an error if that was because the token has ended.
    fn check(&self) -> Result<(), Cancelled> {
        self.token.check_for(self.reason)
    }
}

impl CancelToken {
    /// Sleeps for `duration`, unless the token ends first.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::CancelToken;
    /// use std::time::Duration;
    ///
    /// let token = CancelToken::new();
    /// assert!(token.sleep(Duration::from_millis(1)).is_ok());
    /// token.cancel();
    /// assert!(token.sleep(Duration::from_secs(3600)).is_err());
    /// ```
    #[track_caller]
    pub fn sleep(&self, duration: Duration) -> Result<(), Cancelled> {
        self.sleep_until_ns(clock::deadline_after(duration))
    }

    /// Sleeps until `deadline` has passed, unless the token ends first.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first.
    #[track_caller]
    pub fn sleep_until(&self, deadline: Instant) -> Result<(), Cancelled> {
        self.sleep_until_ns(clock::deadline_at(deadline))
    }

    #[track_caller]
    fn sleep_until_ns(&self, deadline_ns: u64) -> Result<(), Cancelled> {
        let Some(token) = &self.token else {
            brigade_runtime::sleep_until(deadline_ns);
            return Ok(());
        };
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Sleep)? };
        brigade_runtime::sleep_until(deadline_ns.min(waiting.limit_ns()));
        // A sleep that lasted as long as it was to has succeeded, even if the token ended at the same time.
        if clock::now_ns() >= deadline_ns {
            return Ok(());
        }
        waiting.check()
    }

    /// Blocks until the token of [`thread::park`] is there, and takes it, unless this token ends first.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first. A token of `park` that comes later is there for the next one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{cancel::CancelToken, thread};
    ///
    /// let token = CancelToken::new();
    /// thread::current().unpark();
    /// assert!(token.park().is_ok());
    /// token.cancel();
    /// assert!(token.park().is_err());
    /// ```
    #[track_caller]
    pub fn park(&self) -> Result<(), Cancelled> {
        let Some(token) = &self.token else {
            thread::park();
            return Ok(());
        };
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Park)? };
        while !brigade_runtime::park_for_token(waiting.limit_ns()) {
            waiting.check()?;
        }
        Ok(())
    }

    /// Waits until the thread has ended and returns its value, unless the token ends first.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first; the error has the handle. Otherwise what [`JoinHandle::join`] returns is inside of the
    /// `Ok`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{cancel::CancelToken, thread};
    ///
    /// let token = CancelToken::new();
    /// assert_eq!(token.join(thread::spawn(|| 1)).unwrap().unwrap(), 1);
    /// token.cancel();
    /// let error = token.join(thread::spawn(|| 2)).unwrap_err();
    /// assert_eq!(error.into_handle().join().unwrap(), 2);
    /// ```
    #[track_caller]
    pub fn join<T>(&self, mut handle: JoinHandle<T>) -> Result<thread::Result<T>, JoinError<T>> {
        let Some(token) = &self.token else {
            return Ok(handle.join());
        };
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = match unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Join) } {
            Ok(waiting) => waiting,
            Err(cancelled) => return Err(JoinError { handle, cancelled }),
        };
        loop {
            handle = match handle.join_until(waiting.limit_ns()) {
                Ok(result) => return Ok(result),
                Err(handle) => handle,
            };
            if let Err(cancelled) = waiting.check() {
                return Err(JoinError { handle, cancelled });
            }
        }
    }

    /// Takes the lock, unless the token ends first. See [`Mutex::lock`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first, or the mutex is poisoned.
    #[track_caller]
    pub fn lock<'a, T: ?Sized>(
        &self,
        mutex: &'a Mutex<T>,
    ) -> Result<MutexGuard<'a, T>, LockError<MutexGuard<'a, T>>> {
        let Some(token) = &self.token else {
            return Ok(mutex.lock()?);
        };
        self.check_for(WaitReason::Mutex)?;
        match mutex.try_lock() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned.into()),
            Err(TryLockError::WouldBlock) => {}
        }
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Mutex)? };
        loop {
            match mutex.try_lock_until(waiting.limit()) {
                Ok(guard) => return Ok(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned.into()),
                Err(TryLockError::WouldBlock) => waiting.check()?,
            }
        }
    }

    /// Takes the lock for reading, unless the token ends first. See [`RwLock::read`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first, or the lock is poisoned.
    #[track_caller]
    pub fn read<'a, T: ?Sized>(
        &self,
        lock: &'a RwLock<T>,
    ) -> Result<RwLockReadGuard<'a, T>, LockError<RwLockReadGuard<'a, T>>> {
        let Some(token) = &self.token else {
            return Ok(lock.read()?);
        };
        self.check_for(WaitReason::RwLockRead)?;
        match lock.try_read() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned.into()),
            Err(TryLockError::WouldBlock) => {}
        }
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::RwLockRead)? };
        loop {
            match lock.try_read_until(waiting.limit()) {
                Ok(guard) => return Ok(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned.into()),
                Err(TryLockError::WouldBlock) => waiting.check()?,
            }
        }
    }

    /// Takes the lock for writing, unless the token ends first. See [`RwLock::write`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first, or the lock is poisoned.
    #[track_caller]
    pub fn write<'a, T: ?Sized>(
        &self,
        lock: &'a RwLock<T>,
    ) -> Result<RwLockWriteGuard<'a, T>, LockError<RwLockWriteGuard<'a, T>>> {
        let Some(token) = &self.token else {
            return Ok(lock.write()?);
        };
        self.check_for(WaitReason::RwLockWrite)?;
        match lock.try_write() {
            Ok(guard) => return Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned.into()),
            Err(TryLockError::WouldBlock) => {}
        }
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::RwLockWrite)? };
        loop {
            match lock.try_write_until(waiting.limit()) {
                Ok(guard) => return Ok(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned.into()),
                Err(TryLockError::WouldBlock) => waiting.check()?,
            }
        }
    }

    /// Gives the mutex back, waits until it is notified, and takes the mutex again, unless the token ends first. May wake
    /// for no reason, as [`Condvar::wait`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only. To take the mutex again it waits as long as others hold it, even if the token has
    /// ended.
    ///
    /// # Errors
    ///
    /// The token ended first, or the mutex is poisoned. A thread whose wait was cancelled has used no notification up;
    /// the guard is gone, and the mutex is free for others.
    #[track_caller]
    pub fn wait_notified<'a, T: ?Sized>(
        &self,
        condvar: &Condvar,
        guard: MutexGuard<'a, T>,
    ) -> Result<MutexGuard<'a, T>, LockError<MutexGuard<'a, T>>> {
        match self.wait_once(condvar, guard)? {
            (guard, Ok(())) => Ok(guard),
            (_, Err(cancelled)) => Err(cancelled.into()),
        }
    }

    /// As [`wait_notified`](CancelToken::wait_notified), as long as `condition` is true. It looks at the value with the
    /// mutex held, before it waits and after; when it is false, the wait has succeeded, even if the token has ended.
    ///
    /// # Blocking
    ///
    /// As [`wait_notified`](CancelToken::wait_notified).
    ///
    /// # Errors
    ///
    /// As [`wait_notified`](CancelToken::wait_notified).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::CancelToken;
    /// use brigade::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    ///
    /// let (is_ready, changed) = (Mutex::new(false), Condvar::new());
    /// let token = CancelToken::with_timeout(Duration::from_millis(1));
    /// let guard = is_ready.lock().unwrap();
    /// let waited = token.wait_while(&changed, guard, |is_ready| !*is_ready);
    /// assert!(waited.unwrap_err().is_cancelled());
    /// ```
    #[track_caller]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        condvar: &Condvar,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'a, T>, LockError<MutexGuard<'a, T>>> {
        while condition(&mut *guard) {
            let (again, waited) = self.wait_once(condvar, guard)?;
            guard = again;
            if let Err(cancelled) = waited {
                return if condition(&mut *guard) {
                    Err(cancelled.into())
                } else {
                    Ok(guard)
                };
            }
        }
        Ok(guard)
    }

    /// Waits once; with the mutex held again it says whether the token ended first.
    #[track_caller]
    #[expect(clippy::type_complexity, reason = "it is said once")]
    fn wait_once<'a, T: ?Sized>(
        &self,
        condvar: &Condvar,
        guard: MutexGuard<'a, T>,
    ) -> Result<(MutexGuard<'a, T>, Result<(), Cancelled>), LockError<MutexGuard<'a, T>>> {
        let Some(token) = &self.token else {
            return Ok((condvar.wait(guard)?, Ok(())));
        };
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = match unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Condvar) } {
            Ok(waiting) => waiting,
            Err(cancelled) => return Ok((guard, Err(cancelled))),
        };
        let time = waiting.limit().saturating_duration_since(Instant::now());
        match condvar.wait_timeout(guard, time) {
            Ok((guard, result)) if result.timed_out() => Ok((guard, waiting.check())),
            Ok((guard, _)) => Ok((guard, Ok(()))),
            Err(poisoned) => {
                let (guard, _) = poisoned.into_inner();
                Err(LockError::Poisoned(std::sync::PoisonError::new(guard)))
            }
        }
    }

    /// Receives a message, unless the token ends first. See [`Receiver::recv`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first, or the channel is empty and no sender is left.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::CancelToken;
    /// use brigade::sync::channel;
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// let token = CancelToken::new();
    /// sender.send(1).unwrap();
    /// assert_eq!(token.recv(&receiver), Ok(1));
    /// token.cancel();
    /// assert!(token.recv(&receiver).unwrap_err().is_cancelled());
    /// ```
    #[track_caller]
    pub fn recv<T>(&self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        let Some(token) = &self.token else {
            return receiver.recv().map_err(|_| RecvError::Disconnected);
        };
        self.check_for(WaitReason::Recv)?;
        match receiver.try_recv() {
            Ok(message) => return Ok(message),
            Err(TryRecvError::Disconnected) => return Err(RecvError::Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Recv)? };
        loop {
            match receiver.recv_deadline(waiting.limit()) {
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Disconnected) => return Err(RecvError::Disconnected),
                Err(RecvTimeoutError::Timeout) => waiting.check()?,
            }
        }
    }

    /// Sends a message, unless the token ends first. See [`Sender::send`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first, or no receiver is left. The error has the message.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::CancelToken;
    /// use brigade::sync::channel;
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// let token = CancelToken::new();
    /// assert!(token.send(&sender, "one").is_ok());
    /// token.cancel();
    /// assert_eq!(token.send(&sender, "two").unwrap_err().into_inner(), "two");
    /// # drop(receiver);
    /// ```
    #[track_caller]
    pub fn send<T>(&self, sender: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        let Some(token) = &self.token else {
            let sent = sender.send(message);
            return sent.map_err(|error| SendError::Disconnected(error.into_inner()));
        };
        if let Err(cancelled) = self.check_for(WaitReason::Send) {
            return Err(SendError::Cancelled(cancelled, message));
        }
        let mut message = match sender.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(message)) => {
                return Err(SendError::Disconnected(message));
            }
            Err(TrySendError::Full(message)) => message,
        };
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = match unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Send) } {
            Ok(waiting) => waiting,
            Err(cancelled) => return Err(SendError::Cancelled(cancelled, message)),
        };
        loop {
            message = match sender.send_deadline(message, waiting.limit()) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Disconnected(message)) => {
                    return Err(SendError::Disconnected(message));
                }
                Err(SendTimeoutError::Timeout(message)) => message,
            };
            if let Err(cancelled) = waiting.check() {
                return Err(SendError::Cancelled(cancelled, message));
            }
        }
    }

    /// Waits until one of the operations of `select` is ready, unless the token ends first. See [`Select::select`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::CancelToken;
    /// use brigade::sync::channel::{Select, unbounded};
    ///
    /// let (one, other) = (unbounded::<i32>(), unbounded::<i32>());
    /// let mut select = Select::new();
    /// select.recv(&one.1);
    /// let index = select.recv(&other.1);
    /// let token = CancelToken::new();
    /// other.0.send(2).unwrap();
    /// let operation = token.select(&mut select).unwrap();
    /// assert_eq!((operation.index(), operation.recv(&other.1)), (index, Ok(2)));
    /// token.cancel();
    /// assert!(token.select(&mut select).is_err());
    /// ```
    #[track_caller]
    pub fn select<'a>(&self, select: &mut Select<'a>) -> Result<SelectedOperation<'a>, Cancelled> {
        let Some(token) = &self.token else {
            return Ok(select.select());
        };
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Select)? };
        loop {
            match select.select_deadline(waiting.limit()) {
                Ok(operation) => return Ok(operation),
                Err(_) => waiting.check()?,
            }
        }
    }

    /// Acquires a permit, unless the token ends first. See [`Semaphore::acquire`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first; no permit was taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::CancelToken;
    /// use brigade::sync::Semaphore;
    ///
    /// let (token, semaphore) = (CancelToken::new(), Semaphore::new(1));
    /// drop(token.acquire(&semaphore).unwrap());
    /// token.cancel();
    /// assert!(token.acquire(&semaphore).is_err());
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    #[track_caller]
    pub fn acquire<'a>(&self, semaphore: &'a Semaphore) -> Result<SemaphorePermit<'a>, Cancelled> {
        self.acquire_many(semaphore, 1)
    }

    /// Acquires `count` permits together, unless the token ends first. See [`Semaphore::acquire_many`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first; no permit was taken.
    ///
    /// # Panics
    ///
    /// As [`Semaphore::acquire_many`].
    #[track_caller]
    pub fn acquire_many<'a>(
        &self,
        semaphore: &'a Semaphore,
        count: usize,
    ) -> Result<SemaphorePermit<'a>, Cancelled> {
        let Some(token) = &self.token else {
            return Ok(semaphore.acquire_many(count));
        };
        self.check_for(WaitReason::Semaphore)?;
        if let Some(permit) = semaphore.try_acquire_many(count) {
            return Ok(permit);
        }
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Semaphore)? };
        loop {
            match semaphore.acquire_many_deadline(count, waiting.limit()) {
                Some(permit) => return Ok(permit),
                None => waiting.check()?,
            }
        }
    }

    /// Blocks until the event is set, unless the token ends first. See [`Event::wait`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first.
    #[track_caller]
    pub fn wait(&self, event: &Event) -> Result<(), Cancelled> {
        let Some(token) = &self.token else {
            event.wait();
            return Ok(());
        };
        self.check_for(WaitReason::Event)?;
        if event.is_set() {
            return Ok(());
        }
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Event)? };
        while !event.wait_deadline(waiting.limit()) {
            waiting.check()?;
        }
        Ok(())
    }

    /// Blocks until as many threads as the barrier is for have arrived, unless the token ends first. See
    /// [`Barrier::wait`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first; it is as if the thread had not come.
    #[track_caller]
    pub fn wait_barrier(&self, barrier: &Barrier) -> Result<BarrierWaitResult, Cancelled> {
        let Some(token) = &self.token else {
            return Ok(barrier.wait());
        };
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::Barrier)? };
        loop {
            match barrier.wait_deadline(waiting.limit()) {
                Some(result) => return Ok(result),
                None => waiting.check()?,
            }
        }
    }

    /// Drops the handle of a group and blocks until all others are gone, unless the token ends first. See
    /// [`WaitGroup::wait`].
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first. The handle, which belongs to the group as before, is in the error.
    #[track_caller]
    pub fn wait_group(&self, mut group: WaitGroup) -> Result<(), (Cancelled, WaitGroup)> {
        let Some(token) = &self.token else {
            group.wait();
            return Ok(());
        };
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        let waiting = match unsafe { Waiting::begin(self, seat.as_ref(), WaitReason::WaitGroup) } {
            Ok(waiting) => waiting,
            Err(cancelled) => return Err((cancelled, group)),
        };
        loop {
            group = match group.wait_deadline(waiting.limit()) {
                Ok(()) => return Ok(()),
                Err(group) => group,
            };
            if let Err(cancelled) = waiting.check() {
                return Err((cancelled, group));
            }
        }
    }

    /// Calls `operation`, ordinary blocking code, whose waits for descriptors fail when the token ends.
    ///
    /// They are those of sockets and pipes (read, write, accept, connect), of `poll` and its kin, and for the end of a
    /// child process. The call that waits fails with the error number `ECANCELED`, which goes through `operation` as any
    /// other error of the system does, and comes out of `io` as [`Cancelled`]. What was read or written before is not
    /// lost: a write that had written a part says how much.
    ///
    /// Other waits in `operation` go on as if there were no token; so does all of it on a kernel thread, where only the
    /// end of the token before the call counts.
    ///
    /// # Blocking
    ///
    /// As `operation`.
    ///
    /// # Errors
    ///
    /// Those of `operation`, which is not called if the token has ended before. See [`Cancelled::of`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::{CancelToken, Cancelled};
    /// use std::io::Read;
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let token = CancelToken::new();
    /// let theirs = token.clone();
    /// let server = brigade::thread::spawn(move || theirs.io(|| listener.accept()));
    /// token.cancel();
    /// let error = server.join().unwrap().unwrap_err();
    /// assert!(Cancelled::of(&error).is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn io<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(token) = &self.token else {
            return operation();
        };
        let seat = pin!(Seat::new(token));
        // SAFETY: the seat is this function's only one, and is dropped with it.
        if let Err(ended) = unsafe { seat.as_ref().take_for_io() } {
            return Err(Cancelled::new(ended, WaitReason::Poll).into());
        }
        let result = operation();
        match (result, token.ended()) {
            (Err(error), Some(ended)) if error.raw_os_error() == Some(libc::ECANCELED) => {
                Err(Cancelled::new(ended, WaitReason::Poll).into())
            }
            (result, _) => result,
        }
    }
}
