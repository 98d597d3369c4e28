//! What tests share: numbers from a seed, and the heap bytes of a thread.
#![expect(unsafe_code, reason = "an allocator that counts is still an allocator")]
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Numbers that a seed decides (splitmix64).
pub struct Seed(pub u64);

impl Seed {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.number() % n.max(1) as u64) as usize
    }
    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Runs `play` for every seed and names the one that fails. `GATEWAYD_SEED` picks a single one.
pub fn each_seed(seeds: u64, play: impl Fn(Seed) + std::panic::RefUnwindSafe) {
    let only = std::env::var("GATEWAYD_SEED").ok().and_then(|it| it.parse().ok());
    for seed in only.map_or(0..seeds, |it: u64| it..it + 1) {
        let outcome = std::panic::catch_unwind(|| play(Seed(seed)));
        assert!(outcome.is_ok(), "seed {seed} fails: repeat it with GATEWAYD_SEED={seed}");
    }
}

/// A folder that goes with its test.
pub struct TempDir(std::path::PathBuf);

impl TempDir {
    #[expect(clippy::new_without_default, reason = "a folder is made")]
    pub fn new() -> TempDir {
        let name = super::ids::token(&mut super::ids::os_entropy());
        let dir = std::env::temp_dir().join(format!("gatewayd-test-{name}"));
        std::fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }
    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counter any more, and nobody asks it.
    let _ = HELD.try_with(|it| it.set(it.get() + bytes));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Heap bytes this thread has asked for and not given back.
pub fn held() -> isize {
    HELD.with(Cell::get)
}
