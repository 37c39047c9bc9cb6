//! Waking: processors that were idle are set going again, and those that are nobody's find a carrier.
//!
//! The protocol of who must wake whom is in `idle.rs`.

use crate::carrier::Carrier;
use crate::processor::Processor;
use crate::shared::{CarrierPtr, Shared};
use std::ptr;

/// The processor type of this runtime.
pub(crate) type Proc = Processor<Carrier>;

/// Wakes the carrier of `processor` if the processor is idle.
pub(crate) fn poke(shared: &Shared, processor: &Proc) {
    if !processor.is_running() && shared.idle.remove_where(|p| p == processor.index).is_some() {
        resume_processor(shared, processor, false);
    }
}

/// Takes an idle processor; the carrier that slept for it becomes a spare.
pub(crate) fn take_idle(shared: &Shared) -> Option<&Proc> {
    let p = &shared.processors[shared.idle.pop()?];
    p.set_running(true);
    let owner = p.owner();
    // SAFETY: carrier records live as long as the runtime.
    if let Some(carrier) = unsafe { owner.as_ref() } {
        p.set_owner(ptr::null_mut());
        let mut spares = shared.spares.lock();
        if spares.len() < shared.max_spares() {
            carrier.detach();
            spares.push(CarrierPtr(owner));
        } else {
            drop(spares);
            carrier.dismiss();
        }
    }
    Some(p)
}

/// By who has made work visible: wakes an idle processor unless somebody searches already.
#[inline(always)]
pub(crate) fn wake_for_work(shared: &Shared) {
    if shared.idle.claim_search() {
        wake_claimed(shared);
    }
    shared.rouse_monitor();
}

#[cold]
#[inline(never)]
fn wake_claimed(shared: &Shared) {
    loop {
        if let Some(index) = shared.idle.pop() {
            return resume_processor(shared, &shared.processors[index], true);
        }
        // Nobody to wake. Who pushed meanwhile saw a searcher and relied on it; look for them.
        shared.idle.end_search();
        if !shared.has_visible_work() || !shared.idle.claim_search() {
            return;
        }
    }
}

/// Sets a processor that was taken out of the idle set going again.
fn resume_processor(shared: &Shared, p: &Proc, searching: bool) {
    p.set_running(true);
    // SAFETY: carrier records live as long as the runtime.
    match unsafe { p.owner().as_ref() } {
        Some(carrier) => carrier.assign(p, searching),
        None => start_carrier(shared, p, searching),
    }
}

/// Gives a processor that is nobody's to a spare carrier or a new one. If the machine allows no more kernel
/// threads the processor becomes idle without a carrier; the next carrier that comes adrift takes it.
pub(crate) fn start_carrier(shared: &Shared, p: &Proc, searching: bool) {
    let spare = shared.spares.lock().pop();
    if let Some(spare) = spare {
        p.set_owner(spare.0);
        // SAFETY: carrier records live as long as the runtime.
        unsafe { (*spare.0).assign(p, searching) };
        return;
    }
    if crate::launch::start(shared, p, searching, shared.carrier_main).is_ok() {
        return;
    }
    p.set_owner(ptr::null_mut());
    p.set_running(false);
    shared.idle.insert(p.index);
    if searching {
        shared.idle.end_search();
    }
}
