//! A new template after a library with thread-locals came or went.
//!
//! Protocol, against threads that build or freshen blocks at the same time:
//! 1. publish the new template;
//! 2. `membarrier`: every thread that read the old one has finished its copy, or will look again
//!    (`block.rs` reads the template once more after its last store);
//! 3. fill the new modules' part in every built block.
//!
//! Invariants
//! 1. The geometry of blocks stays: a template that needs more room than the first one reserved ends the
//!    process.
//! 2. No trial calls here: `dlopen` may be running further down this very stack with the loader's lock.

use super::snapshot::{self, Module};
use super::{Fault, Source, Template, build, learn_with_patience, publish, template_if_any};
use crate::overflow::die;
use crate::prim::{RawLock, sys};
use crate::stack::region;
use core::ffi::c_void;

/// Which modules with thread-locals the template knows: their number, and a sum over number and address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Fingerprint {
    count: usize,
    sum: usize,
}

static KNOWN: RawLock<Fingerprint> = RawLock::new(Fingerprint { count: 0, sum: 0 });

/// Notes the modules of now as known; before the first template is learnt.
pub(super) fn note_modules() {
    *KNOWN.lock() = fingerprint();
}

fn fingerprint() -> Fingerprint {
    unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: usize, sum: *mut c_void) -> i32 {
        // SAFETY: `dl_iterate_phdr` passes a valid info and our own pointer.
        let (info, sum) = unsafe { (&*info, &mut *sum.cast::<Fingerprint>()) };
        if info.dlpi_tls_modid != 0 {
            sum.count += 1;
            let mixed = (info.dlpi_addr as usize).wrapping_mul(info.dlpi_tls_modid | 1);
            sum.sum = sum.sum.wrapping_add(mixed);
        }
        0
    }
    let mut sum = Fingerprint::default();
    // SAFETY: the callback casts the pointer back to the local.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut sum).cast()) };
    sum
}

/// After a library was loaded: learns again if it brought thread-locals, and fills all blocks.
pub(crate) fn after_load() {
    refresh("loaded a library");
}

/// After a library was unloaded: its part of the template goes, so that its place is filled again when
/// another library takes it.
pub(crate) fn after_unload() {
    refresh("unloaded a library");
}

fn refresh(what: &str) {
    let Some(old) = template_if_any() else {
        return;
    };
    let mut known = KNOWN.lock();
    let now = fingerprint();
    if *known == now {
        return;
    }
    match learn_again(old) {
        Ok(new) => {
            let fresh = new_modules(old, &new);
            publish(new);
            sys::membarrier();
            if !fresh.is_empty() {
                fill_blocks(&fresh);
            }
            *known = now;
        }
        Err(Fault::TooLarge(_, needed)) => die(format_args!(
            "{what} whose initial-exec thread-locals do not fit into green threads' blocks\n\
             set BRIGADE_TLS_SURPLUS={needed} (bytes to keep free in each block) and start again, or \
             load it before the first green thread"
        )),
        Err(fault) => die(format_args!(
            "{what}, and its thread-locals are not understood: {fault}"
        )),
    }
}

fn learn_again(old: &Template) -> Result<Template, Fault> {
    learn_with_patience(|| {
        let photos = snapshot::take_pair(false).map_err(Fault::NoThread)?;
        build(&photos, &Source::Earlier(old), false)
    })
}

fn new_modules(old: &Template, new: &Template) -> Vec<Module> {
    let known = |module: &Module| old.static_modules.contains(module);
    new.static_modules
        .iter()
        .filter(|m| !known(m))
        .copied()
        .collect()
}

fn fill_blocks(modules: &[Module]) {
    let template = super::template();
    let image = template.image.as_ptr().cast::<u8>();
    region::each_used_block(|tp| {
        // SAFETY: a slot that was handed out is mapped and readable at its thread pointer.
        if unsafe { (tp as *const usize).read_volatile() } != tp {
            return;
        }
        for module in modules {
            let start = (module.lowest + template.below as isize) as usize;
            let length = (module.end - module.lowest) as usize;
            // SAFETY: the module's range lies inside the image and inside the block (`below` covers it);
            // nothing uses it yet, since the library was loaded just now.
            unsafe {
                let to = tp.wrapping_add_signed(module.lowest) as *mut u8;
                core::ptr::copy_nonoverlapping(image.add(start), to, length);
            }
        }
    });
}

/// Takes the lock of this module, for fork.
pub(crate) fn lock() {
    KNOWN.acquire();
}

/// Gives back what [`lock`] took.
///
/// # Safety
/// The caller called [`lock`] before, once.
pub(crate) unsafe fn unlock() {
    // SAFETY: the caller holds it.
    unsafe { KNOWN.release() };
}
