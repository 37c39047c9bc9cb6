//! The TLS block of a green thread, learnt from blocks that glibc itself wrote.
//!
//! # The block
//!
//! ```text
//!   lowest ........ tp - below ............... tp ................. tp + above
//!          stack    | static TLS of all modules | thread descriptor |
//! ```
//!
//! [`Template`] holds the image of a just-born thread and the list of words that are different in
//! every block. It is built once from two photographed kernel threads, and once more after each dlopen
//! that brings initial-exec TLS; its geometry (`below`, `above`, alignment) never changes.
//!
//! Who owns what: templates are leaked, so a reader never outlives one. Blocks belong to slots.
//!
//! Invariants
//! 1. No word of a block is of unknown meaning (`classify.rs`).
//! 2. The module vector (dtv) comes from libc's malloc, since glibc reallocates it.
//! 3. The template is published before any block is built ([`publish`]).
//!
//! Orderings: [`TEMPLATE`] is stored with Release and read with Acquire.

pub(crate) mod block;
mod classify;
pub(crate) mod refresh;
mod snapshot;

use crate::arch;
use crate::prim::sys;
use classify::Meaning;
use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use core::time::Duration;
use snapshot::{Module, Photo};
use std::fmt;

/// Thread ids of green threads start here: above every kernel thread's (2^22), below the futex bits.
pub(crate) const FIRST_TID: u32 = 1 << 23;

/// Why no block can be built on this machine.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The word at this offset differs between two new threads for an unknown reason.
    UnclassifiedWord(isize),
    /// A word that must be there was not found.
    UnknownLayout(&'static str),
    /// glibc's debugger tables say something else.
    TablesDisagree(&'static str),
    /// This crate's thread-local is not in the executable's own block.
    ForeignTls,
    /// Larger or more strictly aligned than a block can be.
    TooLarge(&'static str, usize),
    /// A function of glibc is missing.
    Missing(&'static str),
    /// The raw threads could not be started.
    NoThread(std::io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::UnclassifiedWord(offset) => write!(
                f,
                "the C library keeps an unknown per-thread word at offset {offset} of the thread descriptor"
            ),
            Fault::UnknownLayout(what) => write!(
                f,
                "the {what} was not found in the C library's thread descriptor"
            ),
            Fault::TablesDisagree(what) => write!(
                f,
                "the C library's debugger table disagrees about the {what}"
            ),
            Fault::ForeignTls => f.write_str(
                "brigade is inside a loaded library; it must be linked into the executable",
            ),
            Fault::TooLarge(what, size) => write!(f, "the {what} is too large ({size} bytes)"),
            Fault::Missing(what) => write!(f, "the C library has no {what}"),
            Fault::NoThread(error) => {
                write!(f, "the trial kernel threads could not be started: {error}")
            }
        }
    }
}

/// A range of words of the image, as indices of its first and one past its last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Where the descriptor keeps pthread keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    /// The first block: pairs (sequence, value).
    pub(crate) values: Span,
    /// The word that says whether any key was ever set. Between `values` and it lie the addresses of
    /// all blocks, the first block's own first.
    pub(crate) flag: u32,
}

/// The image of a just-born thread's block. Word `i` lies at `tp - below + 8 * i`.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) image: Vec<u64>,
    /// Bytes of TLS under the thread pointer, with the surplus, a multiple of `align`.
    pub(crate) below: usize,
    /// Bytes of the thread descriptor, a multiple of `align`.
    pub(crate) above: usize,
    pub(crate) align: usize,
    /// Bytes of TLS that the modules really use.
    pub(crate) used: usize,
    pub(crate) modules: usize,
    /// Words that hold an address relative to the thread pointer.
    pub(crate) relocations: Vec<u32>,
    /// Thread-locals of everything but libc: copied anew for each thread.
    pub(crate) user: Vec<Span>,
    /// Relocations inside `user`.
    pub(crate) user_relocations: Vec<u32>,
    /// Words of libc and of the descriptor that must be as in the image when a thread ends.
    pub(crate) checked: Vec<Span>,
    /// Words of libc and of the descriptor that a thread may change freely: reset when it ends.
    pub(crate) reset: Vec<u32>,
    /// Where the values of pthread keys are, if that could be learnt.
    pub(crate) keys: Option<Keys>,
    pub(crate) tid_offset: isize,
    pub(crate) list_offset: isize,
    pub(crate) stack_offset: isize,
    pub(crate) stack_size_offset: Option<isize>,
    pub(crate) malloc_words: Option<[isize; 2]>,
    pub(crate) errno_offset: isize,
    /// Where the static modules lie.
    static_modules: Vec<Module>,
    /// Offsets of the words behind `reset`, and of others that are equally free.
    loose: Vec<isize>,
}

impl Template {
    pub(crate) fn index(&self, offset: isize) -> u32 {
        ((offset + self.below as isize) / 8) as u32
    }

    fn offset(&self, index: u32) -> isize {
        index as isize * 8 - self.below as isize
    }
}

static TEMPLATE: AtomicPtr<Template> = AtomicPtr::new(core::ptr::null_mut());

/// The current template.
///
/// # Panics
/// In debug builds, when no template was published.
#[inline(always)]
pub(crate) fn template() -> &'static Template {
    // ORDER: Acquire pairs with the Release store in `publish`.
    let template = TEMPLATE.load(Ordering::Acquire);
    debug_assert!(!template.is_null(), "support() did not run");
    // SAFETY: published templates are leaked; callers run after `support` succeeded.
    unsafe { &*template }
}

/// The current template, or `None` before [`publish`].
pub(crate) fn template_if_any() -> Option<&'static Template> {
    // ORDER: Acquire pairs with the Release store in `publish`.
    let template = TEMPLATE.load(Ordering::Acquire);
    // SAFETY: published templates are leaked.
    unsafe { template.as_ref() }
}

/// Makes `template` the one that blocks are built from.
pub(crate) fn publish(template: Template) {
    let leaked = Box::leak(Box::new(template));
    // ORDER: Release pairs with the Acquire loads in `template` and `template_if_any`.
    TEMPLATE.store(leaked, Ordering::Release);
}

type Atexit =
    unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, *mut c_void) -> i32;
type RunDtors = unsafe extern "C" fn();

static ATEXIT: AtomicUsize = AtomicUsize::new(0);
static RUN_DTORS: AtomicUsize = AtomicUsize::new(0);

/// Looks up what the destructors need; before anything else of this module.
fn find_functions() -> Result<(), Fault> {
    for (slot, name, what) in [
        (
            &ATEXIT,
            c"__cxa_thread_atexit_impl",
            "__cxa_thread_atexit_impl",
        ),
        (&RUN_DTORS, c"__call_tls_dtors", "__call_tls_dtors"),
    ] {
        let address = find(name);
        if address == 0 {
            return Err(Fault::Missing(what));
        }
        // ORDER: Relaxed: the address of a function, nothing is published with it.
        slot.store(address, Ordering::Relaxed);
    }
    Ok(())
}

/// The address of a symbol of the process, 0 when there is none.
pub(crate) fn find(name: &CStr) -> usize {
    // SAFETY: a lookup by a valid C string.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) as usize }
}

fn thread_atexit() -> Option<Atexit> {
    // ORDER: Relaxed: see `find_functions`.
    let address = ATEXIT.load(Ordering::Relaxed);
    // SAFETY: 0 or the address of `__cxa_thread_atexit_impl`, which has this signature.
    unsafe { core::mem::transmute::<usize, Option<Atexit>>(address) }
}

/// glibc's function that runs the calling thread's registered destructors.
pub(crate) fn call_tls_dtors() -> Option<RunDtors> {
    // ORDER: Relaxed: see `find_functions`.
    let address = RUN_DTORS.load(Ordering::Relaxed);
    // SAFETY: 0 or the address of `__call_tls_dtors`, which has this signature.
    unsafe { core::mem::transmute::<usize, Option<RunDtors>>(address) }
}

/// Registers a destructor for the calling thread; false when glibc refuses.
pub(crate) fn register_dtor(dtor: unsafe extern "C" fn(*mut c_void), object: *mut c_void) -> bool {
    // SAFETY: glibc's own function; the destructor is called once with `object` at thread end.
    thread_atexit().is_some_and(|register| unsafe { register(dtor, object, dso_handle()) } == 0)
}

fn dso_handle() -> *mut c_void {
    unsafe extern "C" {
        static __dso_handle: u8;
    }
    (&raw const __dso_handle).cast_mut().cast()
}

/// Where geometry and the outcome of the trial calls come from.
enum Source<'a> {
    /// The photographs themselves, with so many bytes of surplus.
    Photos { surplus: usize },
    /// An earlier template, whose geometry must be kept.
    Earlier(&'a Template),
}

/// Photographs two threads and builds the template. What other threads do in the same moment can spoil a
/// photograph: a new thread comes between the two in glibc's list, or a change of the process's ids marks
/// every thread (`cancelhandling`, `setxid_futex`). So a fault is believed only when it stays.
pub(crate) fn learn(surplus: usize, plant_unclassified: bool) -> Result<Template, Fault> {
    find_functions()?;
    refresh::note_modules();
    learn_with_patience(|| {
        let photos = snapshot::take_pair(true).map_err(Fault::NoThread)?;
        build(&photos, &Source::Photos { surplus }, plant_unclassified)
    })
}

/// How often a change of the process's ids began or ended.
static ID_CHANGES: AtomicUsize = AtomicUsize::new(0);

/// Notes that a change of the process's ids begins or ends.
pub(crate) fn ids_change() {
    // ORDER: SeqCst pairs with the loads in `learn_with_patience`: a mark that a photograph shows was
    // counted before.
    ID_CHANGES.fetch_add(1, Ordering::SeqCst);
}

/// Tries until it works or the patience is used up; a fault that no waiting cures is returned at once.
/// Attempts beside which ids changed use up little of it.
fn learn_with_patience(attempt: impl Fn() -> Result<Template, Fault>) -> Result<Template, Fault> {
    /// Ten attempts without an excuse take 10 ms, a thousand with one take a second or two.
    const PATIENCE: u32 = 1000;
    const PAUSE: Duration = Duration::from_millis(1);
    let mut used = 0;
    loop {
        // ORDER: SeqCst pairs with the addition in `ids_change`.
        let before = ID_CHANGES.load(Ordering::SeqCst);
        match attempt() {
            Err(
                Fault::UnclassifiedWord(_) | Fault::UnknownLayout(_) | Fault::TablesDisagree(_),
            ) if used < PATIENCE => {
                // ORDER: SeqCst pairs with the addition in `ids_change`.
                let excused = ID_CHANGES.load(Ordering::SeqCst) != before;
                used += if excused { 1 } else { PATIENCE / 10 };
                sys::nanosleep(PAUSE);
            }
            settled => return settled,
        }
    }
}

fn build(photos: &[Box<Photo>; 2], source: &Source<'_>, plant: bool) -> Result<Template, Fault> {
    let [a, b] = photos;
    if a.modules != b.modules {
        return Err(Fault::UnknownLayout("same modules in two threads"));
    }
    if !a
        .modules
        .iter()
        .any(|m| m.is_executable && m.has_carrier_word)
    {
        return Err(Fault::ForeignTls);
    }
    let used = used_bytes(a);
    let (below, above, align) = geometry(photos, source, used)?;
    let (classified, covered) = (used.next_multiple_of(8), above.min(a.bytes_above_tp()));
    let mut meanings = classify::classify(photos, classified as isize, covered as isize)?;
    if plant {
        return Err(Fault::UnclassifiedWord(-8));
    }
    // The surplus under the used part: nothing in it yet.
    let pad = (below - classified) / 8;
    meanings.splice(0..0, core::iter::repeat_n(Meaning::Image, pad));
    let mut template = fill(a, &meanings, [below, above, align, used], pad)?;
    cross_check(&template)?;
    match source {
        Source::Photos { .. } => learn_trials(&mut template, a),
        Source::Earlier(old) => {
            template.malloc_words = old.malloc_words;
            template.keys = old.keys;
            template.loose.clone_from(&old.loose);
        }
    }
    sort_words(&mut template, a, &meanings);
    Ok(template)
}

/// Bytes below and above the thread pointer, and the alignment of the thread pointer.
fn geometry(
    [a, b]: &[Box<Photo>; 2],
    source: &Source<'_>,
    used: usize,
) -> Result<(usize, usize, usize), Fault> {
    let align = a.modules.iter().map(|m| m.align).max().unwrap_or(1).max(64);
    match *source {
        Source::Earlier(old) if used > old.below || align > old.align => {
            let needed = used.saturating_sub(old.used).next_multiple_of(64);
            Err(Fault::TooLarge("thread-local storage", needed))
        }
        Source::Earlier(old) => Ok((old.below, old.above, old.align)),
        Source::Photos { surplus } => {
            let below = (used + surplus).next_multiple_of(align);
            let above = a
                .bytes_above_tp()
                .min(b.bytes_above_tp())
                .next_multiple_of(align);
            if align > 4096 {
                return Err(Fault::TooLarge("alignment of thread-local storage", align));
            }
            if below > snapshot::MAX_TLS_BYTES / 2 {
                return Err(Fault::TooLarge("thread-local storage", below));
            }
            if above > snapshot::MAX_DESCRIPTOR_BYTES {
                return Err(Fault::TooLarge("thread descriptor", above));
            }
            Ok((below, above, align))
        }
    }
}

fn used_bytes(photo: &Photo) -> usize {
    let modules = photo
        .modules
        .iter()
        .map(|m| -m.lowest as usize)
        .max()
        .unwrap_or(0);
    // Newer glibc puts the rseq area under the modules.
    let rseq = arch::rseq_area().map_or(0, |(offset, _)| (-offset).max(0) as usize);
    modules.max(rseq)
}

fn fill(
    photo: &Photo,
    meanings: &[Meaning],
    [below, above, align, used]: [usize; 4],
    pad: usize,
) -> Result<Template, Fault> {
    let mut image = vec![0u64; meanings.len()];
    let mut relocations = Vec::new();
    let offset_of = |m: Meaning| {
        let index = meanings.iter().position(|x| *x == m)?;
        Some(index as isize * 8 - below as isize)
    };
    for (index, meaning) in meanings.iter().enumerate().skip(pad) {
        let word = photo.word(index as isize * 8 - below as isize);
        image[index] = match meaning {
            Meaning::Image => word as u64,
            Meaning::SelfRelative => {
                relocations.push(index as u32);
                word.wrapping_sub(photo.tp) as u64
            }
            // cpu_id = -1: "not registered"; cpu_id_start = 0.
            Meaning::RseqCpu => 0xffff_ffff_0000_0000,
            Meaning::Tid => word as u64 & !0xffff_ffff,
            _ => 0,
        };
    }
    let list_offset =
        offset_of(Meaning::ListLink).ok_or(Fault::UnknownLayout("list of threads"))?;
    for link in [list_offset, list_offset + 8] {
        let index = ((link + below as isize) / 8) as usize;
        image[index] = list_offset as u64;
        relocations.push(index as u32);
    }
    relocations.sort_unstable();
    Ok(Template {
        image,
        below,
        above,
        align,
        used,
        modules: photo.highest_module,
        relocations,
        user: Vec::new(),
        user_relocations: Vec::new(),
        checked: Vec::new(),
        reset: Vec::new(),
        keys: None,
        tid_offset: offset_of(Meaning::Tid).ok_or(Fault::UnknownLayout("thread id"))?,
        list_offset,
        stack_offset: offset_of(Meaning::StackBlock)
            .ok_or(Fault::UnknownLayout("stack address"))?,
        stack_size_offset: offset_of(Meaning::StackSize),
        malloc_words: None,
        errno_offset: photo.errno_offset,
        static_modules: photo.modules.clone(),
        loose: Vec::new(),
    })
}

/// Where glibc exports its debugger tables, they must say the same.
fn cross_check(template: &Template) -> Result<(), Fault> {
    for (name, what, found) in [
        (c"_thread_db_pthread_tid", "thread id", template.tid_offset),
        (
            c"_thread_db_pthread_list",
            "list of threads",
            template.list_offset,
        ),
        (c"_thread_db_pthread_dtvp", "module vector", 8),
    ] {
        let table = find(name) as *const u32;
        if table.is_null() {
            continue;
        }
        // SAFETY: a debugger table is three words: bits, elements, offset.
        let offset = unsafe { table.add(2).read() };
        if offset as isize != found {
            return Err(Fault::TablesDisagree(what));
        }
    }
    let size = find(c"_thread_db_sizeof_pthread") as *const u32;
    // SAFETY: the table is one word.
    if !size.is_null() && unsafe { *size } as usize > template.above {
        return Err(Fault::TablesDisagree("size of the thread descriptor"));
    }
    Ok(())
}

/// Takes over what the trial calls in the raw thread showed.
fn learn_trials(template: &mut Template, photo: &Photo) {
    let libc_module = photo.modules.iter().find(|m| m.is_libc).copied();
    template.malloc_words = swapped_words(photo, libc_module);
    learn_keys(template, photo);
    template.loose.push(photo.errno_offset & !7);
    template.loose.extend(photo.dtor_words.get().unwrap_or(&[]));
}

/// Sorts the words by what has to happen with them between two threads of a slot.
fn sort_words(template: &mut Template, photo: &Photo, meanings: &[Meaning]) {
    let libc_module = photo.modules.iter().find(|m| m.is_libc).copied();
    let is_libc =
        |offset: isize| libc_module.is_some_and(|m| offset >= m.lowest & !7 && offset < m.end);
    let malloc = template.malloc_words.unwrap_or([0; 2]);
    let (mut user, mut checked) = (Spans::default(), Spans::default());
    for (index, meaning) in meanings.iter().enumerate() {
        let (index, offset) = (index as u32, template.offset(index as u32));
        if offset < 0 && !is_libc(offset) {
            // Rseq in TLS stays as it was built.
            if matches!(meaning, Meaning::Image | Meaning::SelfRelative) {
                user.add(index);
                if *meaning == Meaning::SelfRelative {
                    template.user_relocations.push(index);
                }
            }
            continue;
        }
        let in_keys = template
            .keys
            .is_some_and(|keys| (keys.values.start..=keys.flag).contains(&index));
        if malloc.contains(&offset) || in_keys {
            continue;
        }
        match meaning {
            Meaning::Image | Meaning::Null if template.loose.contains(&offset) => {
                template.reset.push(index);
            }
            Meaning::Image | Meaning::Null => checked.add(index),
            _ => {}
        }
    }
    template.user = user.0;
    template.checked = checked.0;
}

/// malloc's two words, if it is glibc's own malloc: exactly two words of TLS change, both of them libc's.
/// The thread descriptor is not malloc's: what changed there, another thread changed meanwhile.
fn swapped_words(photo: &Photo, libc_module: Option<Module>) -> Option<[isize; 2]> {
    let libc_module = libc_module?;
    let changed = photo.malloc_words.get()?.iter().copied();
    let words: Vec<isize> = changed.filter(|word| *word < 0).collect();
    let words: [isize; 2] = words.try_into().ok()?;
    words
        .iter()
        .all(|w| (libc_module.lowest..libc_module.end).contains(w))
        .then_some(words)
}

/// Finds the descriptor's first block of pthread keys: 32 pairs (sequence, value), then the addresses of
/// all 32 blocks, of which only the first is there in a new thread, then the flag.
fn learn_keys(template: &mut Template, photo: &Photo) {
    const KEYS_PER_BLOCK: u32 = 32;
    const BLOCK_BYTES: isize = KEYS_PER_BLOCK as isize * 16;
    let (Some((key, value)), Some(noted)) = (photo.key, photo.key_words.get()) else {
        return;
    };
    template.keys = template.relocations.iter().find_map(|&pointers| {
        let (first, flag) = (template.image[pointers as usize], pointers + KEYS_PER_BLOCK);
        let first = first as isize;
        let place = template.offset(pointers);
        // The trial leaves the flag set, and the address of the key's block if it had to be made.
        let matches = first >= 0
            && first + BLOCK_BYTES == place
            && noted.contains(&template.offset(flag))
            && match key / KEYS_PER_BLOCK {
                0 => value == Some(first + 8 + 16 * key as isize),
                further => noted.contains(&(place + 8 * further as isize)),
            };
        matches.then(|| Keys {
            values: Span {
                start: template.index(first),
                end: pointers,
            },
            flag,
        })
    });
}

/// Collects indices into spans.
#[derive(Default)]
struct Spans(Vec<Span>);

impl Spans {
    fn add(&mut self, index: u32) {
        match self.0.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => self.0.push(Span {
                start: index,
                end: index + 1,
            }),
        }
    }
}
