//! Bytes that have come and are not used yet.
//!
//! * However many small requests come in one read, each byte is moved at most once a read.

#[derive(Default)]
pub struct Input {
    bytes: Vec<u8>,
    used: usize,
}

impl Input {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }
    /// `n` bytes of the front are used; nothing is held once all are.
    pub fn advance(&mut self, n: usize) {
        self.used += n;
        if self.rest().is_empty() {
            *self = Input::default();
        }
    }
    pub fn len(&self) -> usize {
        self.rest().len()
    }
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }
}
