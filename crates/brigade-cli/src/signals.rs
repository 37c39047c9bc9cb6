//! SIGINT and SIGTERM: noted first, obeyed at once the second time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether a signal asked the program to stop, and which.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    caught: Arc<AtomicUsize>,
}

impl Signals {
    /// Catches both signals from now on. Where that fails the signals keep their usual effect,
    /// and the kernel ends the arm that runs.
    pub(crate) fn catch() -> Self {
        let signals = Self::default();
        for signal in [SIGINT, SIGTERM] {
            let again = Arc::new(AtomicBool::new(false));
            // The order matters: the first signal must not find its own mark.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again));
            let _ = flag::register(signal, again);
            let caught = Arc::clone(&signals.caught);
            let _ = flag::register_usize(signal, caught, signal as usize);
        }
        signals
    }

    /// The signal that was caught.
    pub(crate) fn caught(&self) -> Option<u8> {
        // ORDER: Relaxed, a mark without data; the handler that sets it is signal-hook's.
        u8::try_from(self.caught.load(Ordering::Relaxed))
            .ok()
            .filter(|signal| *signal != 0)
    }
}
