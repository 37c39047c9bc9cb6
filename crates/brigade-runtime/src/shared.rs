//! What the carriers of one runtime share: processors, the global queue, the idle set, the spare carriers.
//!
//! # Life of a runtime
//!
//! `OPEN` -> `CLOSING` (no spawns from outside; live threads go on and may spawn) -> `STOPPED` (no live thread
//! is left; carriers and monitor end). The step to `STOPPED` is made by whoever sees, while `CLOSING`, that as
//! many threads have finished as were spawned. `finished` is summed before `spawned`: both only grow and
//! finished <= spawned at any moment, so equality means that no thread was alive in between.
//!
//! A runtime may have a *daemon*: a thread that serves the others, and would wait for ever. Who sees, while `CLOSING`,
//! that one thread is left wakes the daemon, which ends if it is that one.
//!
//! # Lock order
//!
//! `idle` < `spares` < `registry`; `global`, mail and timer locks are leaves. No lock is held over a switch.

use std::any::Any;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use brigade_context::{SizeClass, fork_generation};
use brigade_event::{Counter, Metrics};

use crate::carrier::Carrier;
use crate::idle::IdleSet;
use crate::prim::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Lock, Ordering, futex_wait, futex_wake,
};
use crate::processor::Processor;
use crate::queue::List;
use crate::reactor::Reactor;
use crate::roster;
use crate::task::{Task, TaskRef};

const OPEN: u32 = 0;
const CLOSING: u32 = 1;
const STOPPED: u32 = 2;

/// How green threads map to kernel threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// Many green threads on a few kernel threads, with hand-off: nothing freezes. The default.
    ManyToMany,
    /// All green threads on one kernel thread. A thread that blocks or computes stops all others: for
    /// comparison, and for programs that must use one kernel thread.
    ManyToOne,
    /// One kernel thread per thread.
    OneToOne,
}

/// The function of a carrier's kernel thread.
pub(crate) type CarrierMain = extern "C" fn(*mut c_void) -> *mut c_void;

/// A raw carrier pointer in a list.
pub(crate) struct CarrierPtr(pub(crate) *mut Carrier);
// SAFETY: carriers are shared records; the pointer is valid while the carrier is registered.
unsafe impl Send for CarrierPtr {}

/// What a layer above keeps for a runtime: the executor of its tasks.
pub trait Extension: Any + Send + Sync {
    /// The runtime is closing: what waits only for new work is to end. Runs on any thread, several times; first while the
    /// runtime is still open, so that threads that are needed to the end can be started.
    fn closing(&self);
}

/// The shared part of a runtime; see the module.
pub(crate) struct Shared {
    pub(crate) model: Model,
    pub(crate) processors: Box<[Processor<Carrier>]>,
    pub(crate) idle: IdleSet,
    pub(crate) reactor: Reactor,
    /// With one kernel thread per thread: whether one was started that polls the reactor.
    pub(crate) has_poller: AtomicBool,
    pub(crate) spares: Lock<Vec<CarrierPtr>>,
    pub(crate) registry: Lock<Vec<CarrierPtr>>,
    pub(crate) class: SizeClass,
    pub(crate) explicit_stack: Option<usize>,
    pub(crate) max_carriers: usize,
    /// What a new carrier's kernel thread runs.
    pub(crate) carrier_main: CarrierMain,
    pub(crate) migrate: bool,
    pub(crate) generation: u32,
    /// Null, or a boxed reference that lives as long as this.
    extension: AtomicPtr<Arc<dyn Extension>>,
    /// A thread that ends when it is the last one: it is woken then. No other thread counts on it.
    daemon: Lock<Option<TaskRef>>,
    /// What the layer of futures keeps for the threads of this runtime.
    pub(crate) futures: AtomicPtr<()>,
    /// The runtime itself, as the `Arc` knows it.
    home: AtomicPtr<Shared>,
    global: Lock<List<Task>>,
    global_len: AtomicUsize,
    state: AtomicU32,
    /// Carriers and monitor that have not ended; a futex for those who wait for the end.
    pub(crate) kernel_threads: AtomicU32,
    /// 0 while the monitor sleeps until it is woken, else 1.
    pub(crate) monitor_word: AtomicU32,
    /// Records of carriers that have ended, for re-use.
    pub(crate) free_carriers: Lock<Vec<CarrierPtr>>,
    pub(crate) outside_spawned: Counter,
    pub(crate) outside_finished: Counter,
    /// Parks of threads that had no processor.
    pub(crate) adrift_parks: Counter,
    pub(crate) handoffs: Counter,
    pub(crate) carriers_started: Counter,
}

/// What a runtime is made with.
pub(crate) struct Config {
    pub(crate) model: Model,
    pub(crate) workers: usize,
    pub(crate) class: SizeClass,
    pub(crate) explicit_stack: Option<usize>,
    pub(crate) max_carriers: usize,
    pub(crate) carrier_main: CarrierMain,
    pub(crate) migrate: bool,
}

impl Shared {
    pub(crate) fn new(config: &Config) -> Arc<Shared> {
        let shared = Arc::new(Shared {
            model: config.model,
            processors: (0..config.workers).map(Processor::new).collect(),
            idle: IdleSet::new(config.workers),
            reactor: Reactor::new(),
            has_poller: AtomicBool::new(false),
            spares: Lock::new(Vec::new()),
            registry: Lock::new(Vec::new()),
            class: config.class,
            explicit_stack: config.explicit_stack,
            max_carriers: config.max_carriers,
            carrier_main: config.carrier_main,
            migrate: config.migrate,
            generation: fork_generation(),
            extension: AtomicPtr::new(std::ptr::null_mut()),
            daemon: Lock::new(None),
            futures: AtomicPtr::new(std::ptr::null_mut()),
            home: AtomicPtr::new(std::ptr::null_mut()),
            global: Lock::new(List::new()),
            global_len: AtomicUsize::new(0),
            state: AtomicU32::new(OPEN),
            kernel_threads: AtomicU32::new(0),
            monitor_word: AtomicU32::new(1),
            free_carriers: Lock::new(Vec::new()),
            outside_spawned: Counter::new(),
            outside_finished: Counter::new(),
            adrift_parks: Counter::new(),
            handoffs: Counter::new(),
            carriers_started: Counter::new(),
        });
        let home = Arc::as_ptr(&shared).cast_mut();
        // ORDER: Relaxed: nobody else knows the runtime yet.
        shared.home.store(home, Ordering::Relaxed);
        shared
    }

    /// The pointer from which references can be counted.
    pub(crate) fn home(&self) -> *const Shared {
        // ORDER: Relaxed: written before anybody knew the runtime.
        self.home.load(Ordering::Relaxed)
    }

    /// May another kernel thread be started, or is a spare one there?
    pub(crate) fn can_start_carrier(&self) -> bool {
        // ORDER: Relaxed: a limit, not an exact one.
        let alive = self.kernel_threads.load(Ordering::Relaxed) as usize;
        alive <= self.max_carriers || !self.spares.lock().is_empty()
    }

    /// Appends a thread to the global queue. The caller then wakes a processor.
    pub(crate) fn push_global(&self, task: *mut Task) {
        let mut list = List::new();
        list.push(task);
        self.push_global_list(list);
    }

    pub(crate) fn push_global_list(&self, tasks: List<Task>) {
        let mut global = self.global.lock();
        global.append(tasks);
        // ORDER: SeqCst: visible before the look at the idle processors that follows (idle.rs, invariant 1).
        self.global_len.store(global.len(), Ordering::SeqCst);
    }

    #[inline(always)]
    pub(crate) fn global_len(&self) -> usize {
        // ORDER: SeqCst: read by a sleeper after it published its processor (idle.rs, invariant 1).
        self.global_len.load(Ordering::SeqCst)
    }

    /// Takes the first of the global queue, and up to `extra` more through `more`.
    pub(crate) fn pop_global(&self, extra: usize, mut more: impl FnMut(*mut Task)) -> *mut Task {
        if self.global_len() == 0 {
            return std::ptr::null_mut();
        }
        let mut global = self.global.lock();
        let first = global.pop();
        if !first.is_null() {
            for _ in 0..extra {
                let task = global.pop();
                if task.is_null() {
                    break;
                }
                more(task);
            }
        }
        // ORDER: SeqCst: as in `push_global_list`.
        self.global_len.store(global.len(), Ordering::SeqCst);
        first
    }

    /// True if some queue has work that an idle processor could take.
    pub(crate) fn has_visible_work(&self) -> bool {
        self.global_len() != 0 || self.processors.iter().any(|p| !p.queue.ring_is_empty())
    }

    pub(crate) fn is_open(&self) -> bool {
        // ORDER: Acquire: pairs with `close`.
        self.state.load(Ordering::Acquire) == OPEN
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        // ORDER: SeqCst: a finishing thread counts itself, passes a light fence and looks here; `close` stores,
        // passes the heavy fence and counts. One of the two sees that the last thread is gone.
        self.state.load(Ordering::SeqCst) == CLOSING
    }

    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        // ORDER: SeqCst: read by a sleeper after it published its processor, stored before the wake-ups.
        self.state.load(Ordering::SeqCst) == STOPPED
    }

    /// Refuses spawns from outside from now on, and stops the runtime once no thread is left. Returns what
    /// [`Shared::stop_if_done`] does.
    #[must_use]
    pub(crate) fn close(&self) -> Option<NonNull<Task>> {
        if let Some(extension) = self.extension().filter(|_| self.is_open()) {
            extension.closing();
        }
        // ORDER: SeqCst: see `is_closing`.
        let _ = self
            .state
            .compare_exchange(OPEN, CLOSING, Ordering::SeqCst, Ordering::SeqCst);
        crate::prim::fence_heavy();
        if let Some(extension) = self.extension() {
            extension.closing();
        }
        self.stop_if_done()
    }

    /// What a layer above keeps here.
    pub(crate) fn extension(&self) -> Option<&Arc<dyn Extension>> {
        // ORDER: SeqCst: pairs with `extension_or`; in one order with the state, so that either who adds an extension
        // finds the runtime closing, or who closes the runtime finds the extension.
        // SAFETY: null, or boxed by `extension_or` and freed with this.
        unsafe { self.extension.load(Ordering::SeqCst).as_ref() }
    }

    /// What a layer above keeps here; `make` makes it.
    pub(crate) fn extension_or(
        &self,
        make: impl FnOnce() -> Arc<dyn Extension>,
    ) -> &Arc<dyn Extension> {
        if let Some(known) = self.extension() {
            return known;
        }
        let made = Box::into_raw(Box::new(make()));
        // ORDER: SeqCst: as in `extension`.
        let before = self.extension.compare_exchange(
            std::ptr::null_mut(),
            made,
            Ordering::SeqCst,
            Ordering::SeqCst, // ORDER: as above.
        );
        let place = match before {
            Ok(_) => made,
            Err(winner) => {
                // SAFETY: boxed above and known to nobody.
                drop(unsafe { Box::from_raw(made) });
                winner
            }
        };
        // SAFETY: boxed, and freed with this.
        let extension = unsafe { &*place };
        if self.is_closing() {
            extension.closing();
        }
        extension
    }

    /// Live threads, by the order of reading argued in the module's head.
    pub(crate) fn live(&self) -> u64 {
        let finished: u64 = self
            .processors
            .iter()
            .map(|p| p.finished.get_published())
            .sum();
        let finished = finished + self.outside_finished.get_published();
        // ORDER: SeqCst: keeps the two sums in this order (module head).
        crate::prim::fence(Ordering::SeqCst);
        let spawned: u64 = self.processors.iter().map(|p| p.spawned.get()).sum();
        (spawned + self.outside_spawned.get()).saturating_sub(finished)
    }

    /// While closing: stops the runtime if no thread is left. If one is left and that is the daemon, and parked, the
    /// caller must queue it.
    #[cold]
    #[must_use]
    pub(crate) fn stop_if_done(&self) -> Option<NonNull<Task>> {
        // ORDER: SeqCst: see `is_closing`.
        crate::prim::fence(Ordering::SeqCst);
        let live = self.live();
        if live == 1 && self.is_closing() {
            let daemon = self.daemon.lock();
            let daemon = daemon.as_ref().filter(|daemon| daemon.park.notify());
            return daemon.map(|daemon| NonNull::from(&**daemon));
        }
        if live != 0 || !self.is_closing() {
            return None;
        }
        // ORDER: SeqCst: before the wake-ups; the sleepers look again after publishing.
        if self
            .state
            .compare_exchange(CLOSING, STOPPED, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            return None;
        }
        for carrier in self.registry.lock().iter() {
            // SAFETY: registered carriers are alive while the registry is locked.
            unsafe { (*carrier.0).signal_stop() };
        }
        self.wake_monitor();
        None
    }

    /// Makes `task` the thread that is woken when it is the last one, or, with none, makes it nobody.
    pub(crate) fn set_daemon(&self, task: Option<TaskRef>) {
        let before = std::mem::replace(&mut *self.daemon.lock(), task);
        drop(before);
    }

    /// By the daemon: whether the runtime is closing and waits for nobody else.
    pub(crate) fn is_last(&self) -> bool {
        self.is_closing() && self.live() == 1
    }

    /// Wakes the monitor if it sleeps: a processor starts to run, or there is work to wait for one.
    #[inline]
    pub(crate) fn rouse_monitor(&self) {
        // ORDER: SeqCst: the caller set its processor running, or pushed work, before; the monitor sets the word to
        // 0 before it looks for the last time.
        if self.monitor_word.load(Ordering::SeqCst) == 0 {
            self.wake_monitor();
        }
    }

    /// The reactor is open and nobody looks into it at the moment.
    pub(crate) fn is_unpolled(&self) -> bool {
        self.reactor.is_open() && !self.reactor.is_polled(u64::MAX)
    }

    /// By a carrier that waited in the reactor. Without a processor it will not come back, nor look who does.
    pub(crate) fn leave_reactor(&self, has_processor: bool) {
        self.reactor.release();
        if !has_processor {
            self.see_to_polling();
        }
    }

    /// The reactor was opened or left by somebody who may not poll it: if nobody does, the monitor finds somebody.
    pub(crate) fn see_to_polling(&self) {
        // ORDER: SeqCst: between the caller's store to `polling`, or to the reactor's id, and its load of the monitor's
        // word; its partner is the fence in `sleep_until_roused`.
        crate::prim::fence(Ordering::SeqCst);
        if self.is_unpolled() {
            self.rouse_monitor();
        }
    }

    /// Carriers that wait in the spare list at most; more end.
    pub(crate) fn max_spares(&self) -> usize {
        (4 * self.processors.len()).max(16)
    }

    /// Carriers that run a green thread without a processor, about.
    pub(crate) fn adrift(&self) -> usize {
        // ORDER: Relaxed: an estimate.
        let alive = self.kernel_threads.load(Ordering::Relaxed) as usize;
        alive.saturating_sub(1 + self.processors.len() + self.spares.lock().len())
    }

    /// Wakes the monitor.
    pub(crate) fn wake_monitor(&self) {
        // ORDER: SeqCst: after what the monitor must see.
        if self.monitor_word.swap(1, Ordering::SeqCst) == 0 {
            futex_wake(&self.monitor_word, 1);
        }
    }

    /// A carrier or the monitor starts.
    pub(crate) fn kernel_thread_starts(&self) {
        // ORDER: Relaxed: the count is compared with zero only after `STOPPED`.
        self.kernel_threads.fetch_add(1, Ordering::Relaxed);
    }

    /// A carrier or the monitor ends; the caller must not touch the runtime afterwards except through its
    /// own counted reference.
    pub(crate) fn kernel_thread_ends(&self) {
        // ORDER: Release: what the thread did is visible to who waits for the end.
        if self.kernel_threads.fetch_sub(1, Ordering::Release) == 1 {
            futex_wake(&self.kernel_threads, u32::MAX);
        }
    }

    /// Blocks the kernel thread until all carriers and the monitor have ended or the deadline passes.
    pub(crate) fn wait_ended(&self, deadline_ns: u64) -> bool {
        loop {
            // ORDER: Acquire: pairs with `kernel_thread_ends`.
            let left = self.kernel_threads.load(Ordering::Acquire);
            if left == 0 {
                return true;
            }
            if crate::prim::now_ns() >= deadline_ns {
                return false;
            }
            futex_wait(&self.kernel_threads, left, deadline_ns);
        }
    }

    /// A counted reference.
    pub(crate) fn to_arc(&self) -> Arc<Shared> {
        let home = self.home();
        // SAFETY: `home` came from the `Arc` that the runtime lives in.
        unsafe {
            Arc::increment_strong_count(home);
            Arc::from_raw(home)
        }
    }

    /// The reference count in which carriers and monitor hold the runtime.
    pub(crate) fn retain(self: &Arc<Shared>) -> *const () {
        Arc::into_raw(Arc::clone(self)).cast()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        for processor in &self.processors {
            processor.counters.add_to(&mut sum);
            sum.finished += processor.finished.get();
            sum.spawned += processor.spawned.get();
        }
        sum.spawned += self.outside_spawned.get();
        sum.finished += self.outside_finished.get();
        sum.parks += self.adrift_parks.get();
        sum.handoffs = self.handoffs.get();
        sum.carriers_started = self.carriers_started.get();
        sum
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let extension = *self.extension.get_mut();
        if !extension.is_null() {
            // SAFETY: boxed by `extension_or`; nobody else is left.
            drop(unsafe { Box::from_raw(extension) });
        }
        for carrier in self.free_carriers.lock().drain(..) {
            // SAFETY: records come from `Box::into_raw` in `launch.rs`; all carriers have ended, because each
            // holds a reference to the runtime.
            drop(unsafe { Box::from_raw(carrier.0) });
        }
        for processor in &self.processors {
            // SAFETY: no carrier is left, so the processors are nobody's but ours.
            let local = unsafe { processor.local() };
            brigade_context::release(self.class, local.slots.drain(..));
            brigade_context::unreserve(self.class, local.credits);
            roster::give_back(local.entries.drain(..));
        }
    }
}
