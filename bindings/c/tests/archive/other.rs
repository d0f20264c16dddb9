//! Another library in Rust, for a program that links two: with a standard library of its own.

use std::collections::HashMap;
use std::panic;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

static SEEN: AtomicI32 = AtomicI32::new(0);

/// Sets a panic hook that counts.
#[unsafe(no_mangle)]
pub extern "C" fn other_begin() {
    panic::set_hook(Box::new(|_| {
        SEEN.fetch_add(1, Ordering::SeqCst);
    }));
}

/// Panics on a thread of its own, and gives how many panics the hook has seen; -1 if the panic did not
/// end where it should.
#[unsafe(no_mangle)]
pub extern "C" fn other_panics() -> i32 {
    let words: HashMap<_, _> = [("a", 1), ("b", 2)].into();
    let panics = thread::spawn(move || assert_eq!(words.len(), 3));
    match panics.join() {
        Err(_) => SEEN.load(Ordering::SeqCst),
        Ok(()) => -1,
    }
}
