//! Two fresh kernel threads, photographed before they do anything.
//!
//! What it is: each raw thread copies its own TLS block as its very first act, then tries a few calls and
//! notes which words they change. `classify.rs` compares the two photographs.
//!
//! Who owns what: [`Photo`] owns the stack region and the copy; the raw thread writes to them while
//! [`take_pair`] waits, and is joined before the photographs are returned.
//!
//! Invariants
//! 1. Nothing but the copy runs before the copy (all signals are blocked in the raw threads).
//! 2. Both threads are alive until both are photographed: glibc's list of threads links them.
//! 3. What the kernel writes by itself (the rseq area) counts as no change.
//! 4. The two regions differ in size and place, so a word that holds either differs too.
//!
//! Rejected: `_dl_allocate_tls` (private, and leaves the thread descriptor to be filled by hand).

use crate::arch;
use crate::prim::sys;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io;

/// The most static TLS (all modules together) that is photographed, in bytes.
pub(super) const MAX_TLS_BYTES: usize = 64 * 1024;
/// The largest thread descriptor that is accepted, in bytes.
pub(super) const MAX_DESCRIPTOR_BYTES: usize = 16 * 1024;
/// Size of the first raw thread's stack region; the second has one step more.
const REGION_BYTES: usize = 512 * 1024;
const REGION_STEP_BYTES: usize = 64 * 1024;
/// The kernel writes at least so many bytes of the rseq area.
const RSEQ_LEAST_BYTES: usize = 32;
/// Room for noted words; more are counted but not kept.
const MAX_NOTES: usize = 16;
/// What the key trial stores; no other word has it.
const KEY_MARK: usize = 0x0b71_9ade_5eed_0001;

/// The static TLS of one loaded module, in bytes below the thread pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Module {
    pub(super) lowest: isize,
    pub(super) end: isize,
    pub(super) align: usize,
    /// Where the module is loaded.
    pub(super) address: usize,
    /// Whether `errno` lies in it, which makes it libc.
    pub(super) is_libc: bool,
    /// Whether the carrier word lies in it.
    pub(super) has_carrier_word: bool,
    /// Whether it is the executable itself (the first that the loader lists).
    pub(super) is_executable: bool,
}

/// Offsets of words that a trial changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Notes {
    words: [isize; MAX_NOTES],
    count: usize,
}

impl Notes {
    const fn new() -> Notes {
        Notes {
            words: [0; MAX_NOTES],
            count: 0,
        }
    }

    fn push(&mut self, offset: isize) {
        if let Some(word) = self.words.get_mut(self.count) {
            *word = offset;
        }
        self.count += 1;
    }

    /// The offsets, or `None` when more words changed than are kept.
    pub(super) fn get(&self) -> Option<&[isize]> {
        self.words.get(..self.count)
    }
}

/// One photographed thread.
pub(super) struct Photo {
    /// Lowest address of the stack region.
    pub(super) region: usize,
    pub(super) region_bytes: usize,
    /// Thread pointer, which is also the address of glibc's thread descriptor.
    pub(super) tp: usize,
    pub(super) tid: u32,
    /// The argument of the raw thread, which glibc keeps in the descriptor.
    pub(super) argument: usize,
    copy: Vec<u64>,
    trials: bool,
    pub(super) modules: Vec<Module>,
    pub(super) highest_module: usize,
    pub(super) errno_offset: isize,
    /// Words changed by the first malloc and free.
    pub(super) malloc_words: Notes,
    /// Words that stay changed after a thread-local destructor was registered and run.
    pub(super) dtor_words: Notes,
    /// Words that stay changed after a pthread key was set and cleared.
    pub(super) key_words: Notes,
    /// The number of that key, and where its value lay if it lay in the block.
    pub(super) key: Option<(u32, Option<isize>)>,
    done: AtomicU32,
    leave: AtomicU32,
}

impl Photo {
    fn new(region_bytes: usize, trials: bool) -> io::Result<Box<Photo>> {
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let region = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                region_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if region == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mut photo = Box::new(Photo {
            region: region as usize,
            region_bytes,
            tp: 0,
            tid: 0,
            argument: 0,
            // Enough for the TLS and for everything above the thread pointer.
            copy: vec![0; (MAX_TLS_BYTES + REGION_STEP_BYTES) / 8],
            trials,
            modules: Vec::with_capacity(256),
            highest_module: 0,
            errno_offset: 0,
            malloc_words: Notes::new(),
            dtor_words: Notes::new(),
            key_words: Notes::new(),
            key: None,
            done: AtomicU32::new(0),
            leave: AtomicU32::new(0),
        });
        photo.argument = &raw const *photo as usize;
        Ok(photo)
    }

    /// Bytes from the thread pointer to the end of the region.
    pub(super) fn bytes_above_tp(&self) -> usize {
        self.region + self.region_bytes - self.tp
    }

    /// The photographed word at `offset` bytes from the thread pointer.
    pub(super) fn word(&self, offset: isize) -> usize {
        self.copy[((MAX_TLS_BYTES as isize + offset) / 8) as usize] as usize
    }

    pub(super) fn contains(&self, address: usize) -> bool {
        (self.region..=self.region + self.region_bytes).contains(&address)
    }
}

impl Drop for Photo {
    fn drop(&mut self) {
        // SAFETY: the region is ours and its thread was joined before the photograph is dropped.
        unsafe { libc::munmap(self.region as *mut c_void, self.region_bytes) };
    }
}

/// Starts two raw threads, photographs them and joins them. `trials`: also make the trial calls.
pub(super) fn take_pair(trials: bool) -> io::Result<[Box<Photo>; 2]> {
    let mut first = Photo::new(REGION_BYTES, trials)?;
    let mut second = Photo::new(REGION_BYTES + REGION_STEP_BYTES, trials)?;
    let one = start(&mut first)?;
    wait_for(&first.done);
    let two = start(&mut second);
    if two.is_ok() {
        wait_for(&second.done);
    }
    finish(&first, one);
    finish(&second, two?);
    Ok([first, second])
}

fn start(photo: &mut Photo) -> io::Result<libc::pthread_t> {
    // SAFETY: plain old data, filled by the calls below before it is used.
    let (mut attr, mut all, mut before): (libc::pthread_attr_t, libc::sigset_t, libc::sigset_t) = unsafe {
        (
            core::mem::zeroed(),
            core::mem::zeroed(),
            core::mem::zeroed(),
        )
    };
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: all pointers are to locals or to `photo`, which outlives the thread (it is joined);
    // the region is the photo's own and large enough for a thread.
    let failed = unsafe {
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        libc::pthread_attr_init(&mut attr);
        let mut r =
            libc::pthread_attr_setstack(&mut attr, photo.region as *mut c_void, photo.region_bytes);
        if r == 0 {
            r = libc::pthread_create(
                thread.as_mut_ptr(),
                &attr,
                raw_entry,
                (&raw mut *photo).cast(),
            );
        }
        libc::pthread_attr_destroy(&mut attr);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, core::ptr::null_mut());
        r
    };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    // SAFETY: pthread_create succeeded, so it has written the handle.
    Ok(unsafe { thread.assume_init() })
}

fn wait_for(word: &AtomicU32) {
    // ORDER: Acquire pairs with the Release store in `raw_entry` / `finish`.
    while word.load(Ordering::Acquire) == 0 {
        sys::futex_wait(word, 0, None);
    }
}

fn raise(word: &AtomicU32) {
    // ORDER: Release pairs with the Acquire load in `wait_for`.
    word.store(1, Ordering::Release);
    sys::futex_wake(word, 1);
}

fn finish(photo: &Photo, thread: libc::pthread_t) {
    raise(&photo.leave);
    // SAFETY: `thread` was created joinable and is joined once.
    unsafe { libc::pthread_join(thread, core::ptr::null_mut()) };
}

extern "C" fn raw_entry(argument: *mut c_void) -> *mut c_void {
    let tp = arch::thread_pointer();
    let photo = argument.cast::<Photo>();
    // SAFETY: the starter waits for `done`, so the photo is this thread's alone until then. The copied
    // range is inside the region: it has far more than MAX_TLS_BYTES below the descriptor.
    let photo = unsafe {
        let above = (*photo).region + (*photo).region_bytes - tp;
        let bytes = (MAX_TLS_BYTES + above).min((*photo).copy.len() * 8);
        core::ptr::copy_nonoverlapping(
            (tp - MAX_TLS_BYTES) as *const u8,
            (*photo).copy.as_mut_ptr().cast::<u8>(),
            bytes,
        );
        &mut *photo
    };
    photo.tp = tp;
    photo.tid = sys::gettid();
    // SAFETY: libc's own address of this thread's errno.
    photo.errno_offset = unsafe { libc::__errno_location() as isize } - tp as isize;
    // SAFETY: the callback casts the pointer back to the photo, which lives through the call.
    unsafe { libc::dl_iterate_phdr(Some(see_module), argument) };
    if photo.trials {
        try_malloc(photo);
        try_destructor(photo);
        try_key(photo);
    }
    let leave = &raw const photo.leave;
    raise(&photo.done);
    // SAFETY: the starter frees the photo only after it joined this thread.
    wait_for(unsafe { &*leave });
    core::ptr::null_mut()
}

unsafe extern "C" fn see_module(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    photo: *mut c_void,
) -> i32 {
    // SAFETY: `dl_iterate_phdr` passes a valid info and our own pointer.
    let (info, photo) = unsafe { (&*info, &mut *photo.cast::<Photo>()) };
    let is_executable = photo.highest_module == 0 && photo.modules.is_empty();
    photo.highest_module = photo.highest_module.max(info.dlpi_tls_modid);
    let start = info.dlpi_tls_data as usize;
    if info.dlpi_tls_modid == 0 || start < photo.region || start >= photo.tp {
        return 0;
    }
    for i in 0..usize::from(info.dlpi_phnum) {
        // SAFETY: the loader's table has `dlpi_phnum` entries.
        let header = unsafe { &*info.dlpi_phdr.add(i) };
        if header.p_type != libc::PT_TLS || photo.modules.len() == photo.modules.capacity() {
            continue;
        }
        let lowest = start as isize - photo.tp as isize;
        let within = lowest..lowest + header.p_memsz as isize;
        photo.modules.push(Module {
            lowest,
            end: within.end,
            address: info.dlpi_addr as usize,
            align: (header.p_align as usize).max(1),
            is_libc: within.contains(&photo.errno_offset),
            has_carrier_word: within.contains(&arch::carrier_offset()),
            is_executable: is_executable && info.dlpi_tls_modid == 1,
        });
    }
    0
}

/// Notes the words of `[low, high)` around this thread's pointer that `act` leaves changed.
fn changes(photo: &Photo, act: impl FnOnce()) -> Notes {
    let low = photo.modules.iter().map(|m| m.lowest).min().unwrap_or(0) & !7;
    let high = photo.bytes_above_tp() as isize;
    let words = ((high - low) / 8) as usize;
    let start = photo.tp.wrapping_add_signed(low) as *const u64;
    let mut before = [0u64; (MAX_TLS_BYTES / 2 + MAX_DESCRIPTOR_BYTES) / 8];
    let words = words.min(before.len());
    for (i, word) in before[..words].iter_mut().enumerate() {
        // SAFETY: inside this thread's own block; volatile since `act` changes it behind our back.
        *word = unsafe { start.add(i).read_volatile() };
    }
    act();
    let mut notes = Notes::new();
    for (i, word) in before[..words].iter().enumerate() {
        let offset = low + i as isize * 8;
        // SAFETY: the same words as before `act`, inside this thread's own block.
        if unsafe { start.add(i).read_volatile() } != *word && !in_rseq_area(offset) {
            notes.push(offset);
        }
    }
    notes
}

/// Whether the kernel writes this word, whenever it moves the thread to another processor.
pub(super) fn in_rseq_area(offset: isize) -> bool {
    arch::rseq_area().is_some_and(|(at, size)| {
        (at & !7..at + size.max(RSEQ_LEAST_BYTES) as isize).contains(&offset)
    })
}

fn try_malloc(photo: &mut Photo) {
    photo.malloc_words = changes(photo, || {
        // SAFETY: a plain malloc and free pair.
        unsafe { libc::free(core::hint::black_box(libc::malloc(24))) };
    });
}

unsafe extern "C" fn no_destructor(_object: *mut c_void) {}

fn try_destructor(photo: &mut Photo) {
    photo.dtor_words = changes(photo, || {
        if let Some(register) = super::thread_atexit()
            && let Some(run) = super::call_tls_dtors()
        {
            // SAFETY: glibc's own functions; the destructor does nothing with its argument.
            unsafe {
                register(no_destructor, core::ptr::null_mut(), super::dso_handle());
                run();
            }
        }
    });
}

fn try_key(photo: &mut Photo) {
    let mut key: libc::pthread_key_t = 0;
    // SAFETY: makes a key without destructor.
    if unsafe { libc::pthread_key_create(&mut key, None) } != 0 {
        return;
    }
    let mut value = None;
    photo.key_words = changes(photo, || {
        let seen = changes(photo, || {
            // SAFETY: the key is ours; the mark is never dereferenced.
            unsafe { libc::pthread_setspecific(key, KEY_MARK as *const c_void) };
        });
        value = seen.get().and_then(|words| {
            words.iter().copied().find(|offset| {
                let word = photo.tp.wrapping_add_signed(*offset) as *const usize;
                // SAFETY: `changes` only notes words of this thread's block.
                unsafe { word.read_volatile() == KEY_MARK }
            })
        });
        // SAFETY: the key is ours and not deleted yet.
        unsafe { libc::pthread_setspecific(key, core::ptr::null()) };
    });
    photo.key = Some((key, value));
    // SAFETY: the key is ours and cleared.
    unsafe { libc::pthread_key_delete(key) };
}
