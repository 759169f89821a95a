//! Memory that is used again, because getting a new page from the kernel costs more than filling
//! it.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Buffers that are lent and come back.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<T>>,
}

impl<T> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self { idle: Mutex::new(Vec::new()) }
    }
}

impl<T: Default> Pool<T> {
    /// Lends a buffer that came back earlier, with its old contents, or a new one.
    pub(crate) fn lend(&'static self) -> Loan<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Loan { thing: idle.unwrap_or_default(), pool: self }
    }
}

/// A buffer of a [`Pool`]. It goes back to the pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Loan<T: Default + 'static> {
    thing: T,
    pool: &'static Pool<T>,
}

impl<T: Default> Deref for Loan<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.thing
    }
}

impl<T: Default> DerefMut for Loan<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.thing
    }
}

impl AsRef<[u8]> for Loan<Vec<u8>> {
    fn as_ref(&self) -> &[u8] {
        &self.thing
    }
}

impl<T: Default> Drop for Loan<T> {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(std::mem::take(&mut self.thing));
        }
    }
}

/// If more buffers than this come back, they are freed.
const IDLE_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_lent_again_but_not_more_than_a_few() {
        static POOL: Pool<Vec<u8>> = Pool::new();
        POOL.lend().extend_from_slice(b"left");
        assert_eq!(*POOL.lend(), b"left");
        let many: Vec<_> = (0..2 * IDLE_MAX).map(|_| POOL.lend()).collect();
        assert_eq!(many.iter().filter(|loan| loan.is_empty()).count(), 2 * IDLE_MAX - 1);
        drop(many);
        assert_eq!(POOL.idle.lock().unwrap().len(), IDLE_MAX);
    }
}
