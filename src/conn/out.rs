//! What a connection has still to write: shared slices in order. A broadcast sits in every queue once in memory.
use std::collections::VecDeque;
use std::io::IoSlice;
use tungstenite::Bytes;

/// What a queued slice costs beside its bytes: its place and its allocation, so that 2-byte pongs cannot pile up unseen.
const SLICE_COST: usize = 64;

#[derive(Debug, Default)]
pub struct Out {
    queue: VecDeque<Bytes>,
    bytes: usize,
}

impl Out {
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.queue.push_back(bytes);
        }
    }
    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.bytes
    }
    /// Bytes of memory held, about.
    pub fn cost(&self) -> usize {
        self.bytes + self.queue.len() * SLICE_COST
    }
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
    /// The front of the queue for a vectored write.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; 16]) -> usize {
        let mut n = 0;
        for (slot, bytes) in slices.iter_mut().zip(&self.queue) {
            *slot = IoSlice::new(bytes);
            n += 1;
        }
        n
    }
    /// `n` bytes have left.
    pub fn advance(&mut self, mut n: usize) {
        debug_assert!(n <= self.bytes);
        self.bytes -= n;
        while n > 0 {
            let front = self.queue.front_mut().expect("no more leaves than was queued");
            if n < front.len() {
                // `split_to` shares the allocation.
                let _ = front.split_to(n);
                return;
            }
            n -= front.len();
            self.queue.pop_front();
        }
        if self.queue.is_empty() && self.queue.capacity() > 16 {
            self.queue = VecDeque::new();
        }
    }
    pub fn clear(&mut self) {
        *self = Out::default();
    }
}
