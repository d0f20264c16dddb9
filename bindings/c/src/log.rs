//! `b24_log_set`: the core's log records, passed to a function of the caller.

use crate::config::User;
use crate::ffi::{c_string, guard};
use ::log::{LevelFilter, Log, Metadata, Record};
use arc_swap::ArcSwapOption;
use libc::{c_char, c_void};
use std::sync::{Arc, Once};

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
