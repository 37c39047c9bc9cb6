//! The self-check: may green threads with their own TLS blocks run in this process?
//!
//! It runs once. It looks at the processor and the kernel, learns the TLS block ([`crate::tls`]), and ends
//! with a live trial on a real slot. Any surprise is an [`Unsupported`]; there is no half-way mode.
//!
//! States of `RESULT`: null (not run), then a leaked `Result` for ever.
//!
//! Invariants
//! 1. A fork waits until a check that has begun is over (`RUNNING` is one of the locks that `fork.rs`
//!    takes), so a child finds either no trace of a check or a whole one.
//! 2. The facts of a machine that fails are those that were learnt before the failure.
//!
//! # Planted faults
//! For tests, `BRIGADE_PLANT` names faults, separated by commas: `no-fsgsbase`, `shadow-stack`,
//! `unclassified-word`, `foreign-tls`, `no-guard-install`, `max-map-count=N`, and `keep-thread-pointer`, with
//! which the check passes but thread-locals are shared: for tests that prove that tests can fail. `BRIGADE_TLS_SURPLUS=N` (for
//! users) keeps N bytes of each block free for libraries that are loaded later with initial-exec TLS.

use crate::prim::{RawLock, sys};
use crate::tls::{self, Fault};
use crate::{arch, fork, setxid, stack, thread, trial};
use core::sync::atomic::{AtomicPtr, Ordering};
use std::fmt;

type Facts = Vec<(&'static str, String)>;

/// What was found on a machine that passed; made by [`support`].
#[derive(Debug)]
pub struct Support {
    facts: Facts,
}

impl Support {
    /// What was learnt, as pairs of name and value, for reports.
    pub fn facts(&self) -> &[(&'static str, String)] {
        &self.facts
    }
}

/// The kind of an [`Unsupported`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnsupportedKind {
    /// No switch exists for this processor, operating system or C library.
    Platform,
    /// User code may not write the FS base here.
    NoFsgsbase,
    /// The kernel keeps a shadow stack.
    ShadowStack,
    /// The C library's thread layout is not one we know.
    UnknownLayout,
    /// Brigade is in a loaded library.
    ForeignTls,
    /// Memory or kernel threads for the check were refused.
    Resources,
    /// The live trial gave a wrong result.
    TrialFailed,
}

/// Why green threads cannot run here.
#[derive(Debug)]
pub struct Unsupported {
    kind: UnsupportedKind,
    text: String,
    facts: Facts,
}

impl Unsupported {
    pub(crate) fn new(kind: UnsupportedKind, text: impl Into<String>) -> Unsupported {
        Unsupported {
            kind,
            text: text.into(),
            facts: Facts::new(),
        }
    }

    /// What kind of reason it is.
    pub fn kind(&self) -> UnsupportedKind {
        self.kind
    }

    /// What was learnt before the check failed, as pairs of name and value, for reports.
    pub fn facts(&self) -> &[(&'static str, String)] {
        &self.facts
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Unsupported {}

type Outcome = Result<Support, Unsupported>;

static RESULT: AtomicPtr<Outcome> = AtomicPtr::new(core::ptr::null_mut());
static RUNNING: RawLock<()> = RawLock::new(());

/// Whether green threads can run in this process, and if not, why.
///
/// The first call takes about a millisecond and starts three short kernel threads; later ones are one load.
///
/// # Errors
/// The reason, when they cannot; it is the same at every call.
#[inline]
pub fn support() -> Result<&'static Support, &'static Unsupported> {
    // ORDER: Acquire pairs with the Release store in `support_slow`.
    let result = RESULT.load(Ordering::Acquire);
    // SAFETY: null or a leaked result.
    match unsafe { result.as_ref() } {
        Some(outcome) => outcome.as_ref(),
        None => support_slow().as_ref(),
    }
}

#[cold]
fn support_slow() -> &'static Outcome {
    // Before the lock is taken: see invariant 1.
    let installed = if arch::SUPPORTED {
        fork::install()
    } else {
        Ok(())
    };
    let _running = RUNNING.lock();
    // ORDER: Acquire pairs with the Release store below.
    let result = RESULT.load(Ordering::Acquire);
    // SAFETY: null or a leaked result.
    if let Some(outcome) = unsafe { result.as_ref() } {
        return outcome;
    }
    let mut facts = Facts::new();
    let checked = match installed {
        Ok(()) => check(&Plants::read(), &mut facts),
        Err(error) => Err(Unsupported::new(
            UnsupportedKind::Resources,
            format!("no fork handlers: {error}"),
        )),
    };
    let outcome = Box::leak(Box::new(match checked {
        Ok(()) => Ok(Support { facts }),
        Err(reason) => Err(Unsupported { facts, ..reason }),
    }));
    // ORDER: Release pairs with the Acquire loads above and in `support`; it also publishes the
    // template, malloc's words and the kind of guards.
    RESULT.store(outcome, Ordering::Release);
    outcome
}

/// Takes the lock of this module, for fork.
pub(crate) fn lock() {
    RUNNING.acquire();
}

/// Gives back what [`lock`] took.
///
/// # Safety
/// The caller called [`lock`] before, once.
pub(crate) unsafe fn unlock() {
    // SAFETY: the caller holds it.
    unsafe { RUNNING.release() };
}

/// The planted faults.
struct Plants(String);

impl Plants {
    fn read() -> Plants {
        Plants(std::env::var("BRIGADE_PLANT").unwrap_or_default())
    }

    fn has(&self, fault: &str) -> bool {
        self.0.split(',').any(|p| p == fault)
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.0
            .split(',')
            .find_map(|p| p.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
}

fn check(plants: &Plants, facts: &mut Facts) -> Result<(), Unsupported> {
    check_machine(plants, facts)?;
    if plants.has("no-guard-install") {
        stack::plant_no_guard_install();
    }
    if let Some(limit) = plants.number("max-map-count") {
        stack::plant_max_map_count(limit);
    }
    facts.push(("guards", stack::guard_kind().to_owned()));
    if plants.has("foreign-tls") {
        return Err(from_fault(Fault::ForeignTls));
    }
    let surplus = std::env::var("BRIGADE_TLS_SURPLUS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let template = tls::learn(surplus, plants.has("unclassified-word")).map_err(from_fault)?;
    arch::set_errno_offset(template.errno_offset);
    let carrier = arch::carrier_offset();
    arch::set_malloc_words(template.malloc_words.unwrap_or([carrier; 2]));
    add_template_facts(&template, facts);
    tls::publish(template);
    // For loading libraries later; where the kernel has none, a load at the same moment may race.
    sys::membarrier_register();
    setxid::install();
    trial::run()?;
    if plants.has("keep-thread-pointer") {
        thread::plant_keep_thread_pointer();
    }
    Ok(())
}

/// What the processor, the kernel and the C library must have.
fn check_machine(plants: &Plants, facts: &mut Facts) -> Result<(), Unsupported> {
    use UnsupportedKind as Kind;
    if !arch::SUPPORTED {
        return Err(Unsupported::new(
            Kind::Platform,
            "green threads need x86-64 Linux with glibc, dynamically linked",
        ));
    }
    facts.push(("C library", libc_version()));
    if plants.has("no-fsgsbase") || !arch::fsbase_is_writable() {
        return Err(Unsupported::new(
            Kind::NoFsgsbase,
            "the processor or the kernel does not let programs write the FS base (no FSGSBASE)",
        ));
    }
    if plants.has("shadow-stack") || arch::shadow_stack_is_on() {
        return Err(Unsupported::new(
            Kind::ShadowStack,
            "the kernel keeps a shadow stack for this process, which a stack switch would violate",
        ));
    }
    Ok(())
}

fn from_fault(fault: Fault) -> Unsupported {
    let kind = match fault {
        Fault::ForeignTls => UnsupportedKind::ForeignTls,
        Fault::NoThread(_) => UnsupportedKind::Resources,
        _ => UnsupportedKind::UnknownLayout,
    };
    Unsupported::new(kind, fault.to_string())
}

fn add_template_facts(template: &tls::Template, facts: &mut Facts) {
    let swap = match template.malloc_words {
        Some([a, b]) => {
            format!("glibc, words at tp{a:+} and tp{b:+} travel with the kernel thread")
        }
        None => "not glibc's; nothing to swap".to_owned(),
    };
    facts.extend([
        ("thread-local storage", format!("{} bytes", template.used)),
        ("thread descriptor", format!("{} bytes", template.above)),
        (
            "room for later libraries",
            format!("{} bytes", template.below - template.used),
        ),
        (
            "words that move with a block",
            template.relocations.len().to_string(),
        ),
        ("malloc", swap),
    ]);
}

fn libc_version() -> String {
    let address = tls::find(c"gnu_get_libc_version");
    if address == 0 {
        return "unknown".to_owned();
    }
    type Version = unsafe extern "C" fn() -> *const core::ffi::c_char;
    // SAFETY: glibc's function of that name; it returns a constant string.
    unsafe {
        let version = core::mem::transmute::<usize, Version>(address);
        format!(
            "glibc {}",
            core::ffi::CStr::from_ptr(version()).to_string_lossy()
        )
    }
}
