//! Checks of the global allocator that the test binaries for different allocators share.

use std::sync::{Arc, Mutex};

use super::{Count, hop, migrating};

const THREADS: usize = 500;
const ROUNDS: usize = 20;
const BLOCKS_PER_ROUND: usize = 20;
const BLOCKS_KEPT: usize = 16;

/// A small generator of test data (xorshift); the seed makes each thread's sequence its own.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }
}

/// A block filled with one byte that says whose it is.
struct Block {
    owner: u8,
    bytes: Vec<u8>,
}

impl Block {
    fn new(owner: u8, numbers: &mut Numbers) -> Block {
        let length = if numbers.below(50) == 0 {
            numbers.below(200_000)
        } else {
            numbers.below(900)
        };
        Block {
            owner,
            bytes: vec![owner; length],
        }
    }

    fn assert_intact(&self) {
        assert!(
            self.bytes.iter().all(|&byte| byte == self.owner),
            "a block was overwritten"
        );
    }
}

/// Threads allocate, free their own blocks, free each other's blocks, and grow blocks, migrating all the while.
pub(crate) fn blocks_stay_intact_under_migration_and_cross_thread_frees() {
    let exchange: Arc<Mutex<Vec<Block>>> = Arc::default();
    migrating(THREADS, move |index| {
        let owner = (index % 251) as u8;
        let mut numbers = Numbers::new(index as u64);
        let mut own = Vec::new();
        for _ in 0..ROUNDS {
            for _ in 0..BLOCKS_PER_ROUND {
                let block = Block::new(owner, &mut numbers);
                match numbers.below(4) {
                    0 => exchange.lock().expect("not poisoned").push(block),
                    _ => own.push(block),
                }
                if own.len() > BLOCKS_KEPT {
                    let freed = own.swap_remove(numbers.below(own.len()));
                    freed.assert_intact();
                }
                if numbers.below(8) == 0 {
                    let foreign = exchange.lock().expect("not poisoned").pop();
                    foreign.iter().for_each(Block::assert_intact);
                }
                grow_a_c_block(&mut numbers);
            }
            hop();
        }
        own.iter().for_each(Block::assert_intact);
    });
}

/// malloc, realloc and free as C code calls them, with a migration between.
fn grow_a_c_block(numbers: &mut Numbers) {
    let (before, after) = (numbers.below(500) + 1, numbers.below(3000) + 1);
    // SAFETY: the block is used only between its allocation and its release and only within its length.
    unsafe {
        let block = libc::malloc(before).cast::<u8>();
        assert!(!block.is_null());
        block.write_bytes(0xA5, before);
        hop();
        let block = libc::realloc(block.cast(), after).cast::<u8>();
        assert!(!block.is_null());
        assert_eq!((*block, *block.add(before.min(after) - 1)), (0xA5, 0xA5));
        libc::free(block.cast());
    }
}

/// Parks `threads` green threads, each of which has just allocated and freed a few blocks of each of some small
/// sizes, and returns how many bytes `measure` grew by per thread while they were all parked.
pub(crate) fn growth_per_parked_thread(threads: usize, measure: fn() -> usize) -> usize {
    static PARKED: Count = Count::new();
    static RELEASED: Count = Count::new();
    let _watch = super::Watch::new("a run with many parked threads");
    let runtime = super::migrating_runtime();
    let before = measure();
    let mut handles = Vec::with_capacity(threads);
    for _ in 0..threads {
        handles.push(runtime.spawn(|| {
            for size in [40, 200, 700, 1000] {
                let blocks: [Vec<u8>; 4] = std::array::from_fn(|_| vec![1; size]);
                assert!(
                    std::hint::black_box(blocks)
                        .iter()
                        .all(|block| block.len() == size)
                );
            }
            PARKED.up();
            while RELEASED.get() == 0 {
                brigade::thread::park();
            }
        }));
    }
    PARKED.kernel_wait_for(threads);
    let after = measure();
    RELEASED.set(1);
    handles.iter().for_each(|handle| handle.thread().unpark());
    handles
        .into_iter()
        .for_each(|handle| handle.join().expect("the thread does not panic"));
    let growth = after.saturating_sub(before) / threads;
    eprintln!("{growth} bytes per parked thread");
    growth
}
