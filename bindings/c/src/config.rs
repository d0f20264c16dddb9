//! `b24_config`.

use crate::code::b24_code;
use crate::error::{attempt, b24_error};
use crate::ffi::{Handle, guard, is_null, read};
use crate::tokens::{Snapshot, b24_tokens};
use b24_messageservice::Config;
use libc::{c_char, c_void};

/// The options from which clients and providers are made. One thread at a time may change it.
/// Clients and providers copy it, so it may be changed or freed as soon as they are made.
pub struct b24_config {
    _private: [u8; 0],
}

impl Handle for b24_config {
    type Value = Config;
}

/// A function that is given each renewed pair of tokens, to store it: after the pair was written to
/// state_dir, if that is set, and before it is used.
///
/// `tokens` is valid during the call: read it, do not keep or free it. `user` is the pointer given
/// to b24_config_on_renewal. The function is called on the renewal's own thread, which has all
/// signals blocked. It is called once at a time for one installation, and perhaps several times at
/// once for several. Calls that need the new pair wait until it returns, each no longer than its
/// timeout_ms. It must not throw, and must not make calls for the same installation: they would
/// wait for the renewal, which waits for the function.
pub type b24_renewal_callback =
    Option<unsafe extern "C" fn(tokens: *const b24_tokens, user: *mut c_void)>;

/// A configuration with the defaults, and no portal yet.
///
/// The caller frees it with b24_config_free. Any thread. NULL only after a bug in the library.
#[unsafe(no_mangle)]
pub extern "C" fn b24_config_new() -> *mut b24_config {
    guard(std::ptr::null_mut(), || b24_config::give(Config::new()))
}

/// Sets an option. The names:
// make generate writes: names of options
/// client_id, client_secret, oauth_url, timeout_ms, connect_timeout_ms, max_retries, rate_limit,
/// ca_file, proxy, resolve, redirect_hosts, user_agent, allow_http; of clients only: portal,
/// access_token, refresh_token, state_dir; of providers only: store, durability, store_max_mb,
/// store_key_file, workers.
// end: names of options
///
/// Both texts are copied. One thread at a time. B24_INVALID_CONFIG for an unknown name or a wrong
/// value, which the message explains; the option then keeps its former value. B24_INVALID_ARGUMENT
/// for NULL and for text that is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_config_set(
    config: *mut b24_config,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `config` is NULL or live and used by this thread
    // alone, the texts are NULL or NUL-terminated, and `error` is NULL or a place.
    unsafe {
        attempt(error, || {
            let config = b24_config::borrow_mut(config).ok_or_else(|| is_null("config"))?;
            config.set(read(name, "name")?, read(value, "value")?)?;
            Ok(())
        })
    }
}

/// Sets the function that stores renewed tokens; see b24_renewal_callback. It replaces one that was
/// set before.
///
/// `user` is passed to it unchanged. What it points to must be usable on any thread, as long as a
/// client made from this configuration exists (a shared client: as long as the process), and then
/// until b24_renewals_wait has succeeded, because a renewal may take longer than the call that
/// started it. For clients only: a provider keeps tokens in its store. One thread at a time.
/// B24_INVALID_ARGUMENT if config or callback is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_config_on_renewal(
    config: *mut b24_config,
    callback: b24_renewal_callback,
    user: *mut c_void,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `config` is NULL or live and used by this thread
    // alone, and `error` is NULL or a place.
    unsafe {
        attempt(error, || {
            let config = b24_config::borrow_mut(config).ok_or_else(|| is_null("config"))?;
            let callback = callback.ok_or_else(|| is_null("callback"))?;
            let user = User(user);
            config.on_renewal(move |tokens| {
                let snapshot = Snapshot::from(tokens);
                // Also of this block: the caller vouches for the function and for `user`, and
                // the snapshot lives until the function has returned.
                callback(b24_tokens::lend(&snapshot), user.pointer());
            });
            Ok(())
        })
    }
}

/// Frees a configuration. Clients and providers made from it are not affected. NULL is allowed.
///
/// Any thread, once. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_config_free(config: *mut b24_config) {
    // SAFETY: by the header's conventions, the caller owns `config` and does not use it again.
    guard((), || unsafe { b24_config::free(config) });
}

/// A caller's pointer, to be passed to the caller's function.
#[derive(Clone, Copy)]
pub(crate) struct User(pub(crate) *mut c_void);

impl User {
    pub(crate) fn pointer(self) -> *mut c_void {
        self.0
    }
}

// SAFETY: never dereferenced here, and the header requires that what it points to is usable on any
// thread.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}
