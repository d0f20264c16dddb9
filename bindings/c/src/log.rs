//! `b24_log_set`: the core's log records, passed to a function of the caller. `b24_log_queue`: the same
//! records, kept until the caller takes them.

use crate::config::User;
use crate::ffi::{Handle, c_string, guard};
use crate::list::{List, b24_list};
use ::log::{LevelFilter, Log, Metadata, Record};
use arc_swap::ArcSwapOption;
use libc::{c_char, c_void, size_t};
use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::{SystemTime, UNIX_EPOCH};

/// A function that receives each log record.
///
/// `level` is 1 error, 2 warning, 3 information, 4 debug, 5 trace; `target` names the part of the
/// library, and begins with "b24_messageservice"; `message` is one line of UTF-8 without a secret.
/// Both texts are valid during the call. `user` is the pointer given to b24_log_set. The function
/// is called on the thread whose call is logged, and at the same time on several if several threads
/// make calls. It must not throw, and must not make calls of this library: they could wait for the
/// call that is being logged.
pub type b24_log_callback = Option<
    unsafe extern "C" fn(
        level: i32,
        target: *const c_char,
        message: *const c_char,
        user: *mut c_void,
    ),
>;

/// A function that frees what its `user` points to: see b24_log_set_owned. It must not throw, and must
/// not make calls of this library.
pub type b24_free_callback = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// The function that receives the records.
struct Sink {
    callback: unsafe extern "C" fn(i32, *const c_char, *const c_char, *mut c_void),
    user: User,
    free: b24_free_callback,
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the caller of b24_log_set_owned vouches for the function. Nobody is inside the
            // callback, since a thread that is holds this value.
            unsafe { free(self.user.pointer()) };
        }
    }
}

/// Read without a lock, so that nothing stays locked after a fork in the middle of a record, and so
/// that the callback may call b24_log_set.
static SINK: ArcSwapOption<Sink> = ArcSwapOption::const_empty();

/// The logger. It takes only the core's records, because those of the libraries below it can quote
/// what was sent.
struct Forward;

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("b24_messageservice")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(sink) = SINK.load_full() {
            let target = c_string(record.target());
            let message = c_string(&record.args().to_string());
            let level = record.level() as i32;
            // SAFETY: the caller of b24_log_set vouches for the function and for `user`; the
            // texts live until it has returned.
            unsafe {
                (sink.callback)(
                    level,
                    target.as_ptr(),
                    message.as_ptr(),
                    sink.user.pointer(),
                );
            }
        }
    }

    fn flush(&self) {}
}

/// Sets the function that receives the library's log records, for the whole process; see
/// b24_log_callback. It replaces one that was set before. Without one nothing is logged.
///
/// `max_level` is the highest level to log: 0 nothing, 1 errors only, up to 5 everything. Other
/// records are not even formatted. callback NULL turns the log off. `user` is passed to the
/// function unchanged. After a replacement, another thread may still be inside the former function,
/// so keep what its `user` points to. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_log_set(
    callback: b24_log_callback,
    user: *mut c_void,
    max_level: i32,
) {
    set(callback, User(user), None, max_level);
}

/// As b24_log_set, and calls `free` with `user` once no thread is inside the function any more, nor
/// can come there: after it was replaced. So `user` may point to what the program no longer looks
/// after.
///
/// `free` is called on the thread that replaces the function, or on one that was inside it. It is
/// not called at the end of the process. With callback NULL it is called before this function
/// returns. free NULL is allowed. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_log_set_owned(
    callback: b24_log_callback,
    user: *mut c_void,
    free: b24_free_callback,
    max_level: i32,
) {
    set(callback, User(user), free, max_level);
}

fn set(callback: b24_log_callback, user: User, free: b24_free_callback, max_level: i32) {
    static INSTALL: Once = Once::new();
    guard((), || {
        // This library has a `log` crate of its own, so nobody else can have set a logger.
        INSTALL.call_once(|| drop(::log::set_logger(&Forward)));
        if let Some(callback) = callback {
            SINK.store(Some(Arc::new(Sink {
                callback,
                user,
                free,
            })));
        } else {
            SINK.store(None);
            if let Some(free) = free {
                // SAFETY: the caller vouches for the function, and nothing else was given `user`.
                unsafe { free(user.pointer()) };
            }
        }
        ::log::set_max_level(match max_level {
            _ if callback.is_none() => LevelFilter::Off,
            ..=0 => LevelFilter::Off,
            1 => LevelFilter::Error,
            2 => LevelFilter::Warn,
            3 => LevelFilter::Info,
            4 => LevelFilter::Debug,
            5.. => LevelFilter::Trace,
        });
    });
}

/// A record that waits, and the one before it.
struct Queued {
    row: [CString; 4],
    before: *mut Queued,
}

/// The record that came last. Records are added and taken without a lock: a child that is forked while
/// another thread adds one could otherwise never take any.
static LAST: AtomicPtr<Queued> = AtomicPtr::new(ptr::null_mut());
/// How many wait, how many may, and how many came when no more could wait.
static WAITING: AtomicUsize = AtomicUsize::new(0);
static CAPACITY: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Keeps log records of the process in a queue, for programs that no function of which may be called
/// from another thread or in the middle of a call, such as those in PHP. b24_log_take takes them. It
/// replaces a function that b24_log_set has set, and b24_log_set replaces it.
///
/// `max_level` is as in b24_log_set. At most `capacity` records wait; those that come when the queue
/// is full are counted and dropped. What waits already stays when the level is changed or the log is
/// turned off. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_log_queue(max_level: i32, capacity: size_t) {
    CAPACITY.store(capacity, Ordering::Relaxed);
    // SAFETY: `enqueue` may be called on any thread, and takes no `user`.
    unsafe { b24_log_set(Some(enqueue), ptr::null_mut(), max_level) };
}

/// Takes the log records that wait, of all threads, in the order in which they came: a list whose rows
/// have a "level" (1 to 5), a "target" and a "message", as a b24_log_callback is given them, and in
/// "at_ms" when the record came, in Unix milliseconds.
///
/// If records were dropped, the last row says how many: a warning with the target
/// "b24_messageservice". After a fork the child has what waited in the parent, too. The caller frees the
/// list with b24_list_free. Any thread. NULL if nothing waits, or after a bug in the library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_log_take() -> *mut b24_list {
    guard(ptr::null_mut(), || {
        let mut rows = Vec::new();
        let mut last = LAST.swap(ptr::null_mut(), Ordering::Acquire);
        while !last.is_null() {
            // SAFETY: `enqueue` made it from a box, and with the swap it is this thread's alone.
            let queued = unsafe { Box::from_raw(last) };
            last = queued.before;
            rows.push(queued.row);
        }
        WAITING.fetch_sub(rows.len(), Ordering::Relaxed);
        rows.reverse();
        match DROPPED.swap(0, Ordering::Relaxed) {
            0 => {}
            dropped => rows.push(row(
                2,
                c"b24_messageservice".into(),
                c_string(&format!(
                    "{dropped} log records were dropped: more than b24_log_queue's capacity waited"
                )),
            )),
        }
        if rows.is_empty() {
            return ptr::null_mut();
        }
        b24_list::give(List::new(
            &[c"level", c"target", c"message", c"at_ms"],
            rows,
        ))
    })
}

/// A b24_log_callback that adds the record to the queue.
unsafe extern "C" fn enqueue(
    level: i32,
    target: *const c_char,
    message: *const c_char,
    _user: *mut c_void,
) {
    if WAITING.fetch_add(1, Ordering::Relaxed) >= CAPACITY.load(Ordering::Relaxed) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        DROPPED.fetch_add(1, Ordering::Relaxed);
        return;
    }
    // SAFETY: `Forward` passes two C strings, which live during this call.
    let (target, message) = unsafe { (CStr::from_ptr(target), CStr::from_ptr(message)) };
    let mut before = LAST.load(Ordering::Relaxed);
    let added = Box::into_raw(Box::new(Queued {
        row: row(level, target.into(), message.into()),
        before,
    }));
    while let Err(now) =
        LAST.compare_exchange_weak(before, added, Ordering::Release, Ordering::Relaxed)
    {
        before = now;
        // SAFETY: as long as it is not in the queue, it is this thread's alone.
        unsafe { (*added).before = before };
    }
}

/// The values of a row of b24_log_take.
fn row(level: i32, target: CString, message: CString) -> [CString; 4] {
    let at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    [
        c_string(&level.to_string()),
        target,
        message,
        c_string(&at.as_millis().to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{b24_list_free, b24_list_get, b24_list_len};

    /// The messages that wait.
    fn taken() -> Vec<String> {
        // SAFETY: the list is freed once, after its last use.
        unsafe {
            let list = b24_log_take();
            let messages = (0..b24_list_len(list))
                .map(|at| b24_list_get(list, at, c"message".as_ptr()))
                .map(|text| CStr::from_ptr(text).to_string_lossy().into_owned())
                .collect();
            b24_list_free(list);
            messages
        }
    }

    #[test]
    fn records_of_several_threads_wait_in_the_order_of_each() {
        // SAFETY: only this test takes from the queue.
        unsafe { b24_log_queue(3, 100_000) };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..1000 {
                        ::log::info!(target: "b24_messageservice", "{thread} {number:04}");
                    }
                });
            }
        });
        // Another test may log, too.
        let messages = taken();
        for thread in 0..4 {
            let of_one: Vec<_> = messages
                .iter()
                .filter(|message| message.starts_with(&format!("{thread} ")))
                .collect();
            assert_eq!(of_one.len(), 1000);
            assert!(of_one.is_sorted(), "not in their order");
        }
        assert_eq!(WAITING.load(Ordering::Relaxed), 0);
    }
}
