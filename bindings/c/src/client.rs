//! `b24_client`.

use crate::cancel_token::{b24_cancel_token, read_limits};
use crate::code::b24_code;
use crate::config::b24_config;
use crate::error::{attempt, b24_error};
use crate::ffi::{Handle, give_out, guard, is_null, read, set_out};
use crate::list::{List, b24_list};
use crate::tokens::{Snapshot, b24_tokens};
use b24_messageservice::{Client, Config, Error};
use libc::c_char;

/// A light handle to a portal: connections, TLS sessions and rate limits belong to the process.
/// Any number of threads may use one client at once.
pub struct b24_client {
    _private: [u8; 0],
}

impl Handle for b24_client {
    type Value = Client;
}

/// Makes a client. Nothing is sent yet.
///
/// The caller frees *client with b24_client_free. The configuration is copied. Any thread, while no
/// other changes the configuration. The message of B24_INVALID_CONFIG names the option that is
/// missing or contradicts another; *client is then NULL. With client NULL the configuration is only
/// checked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_client_new(
    config: *const b24_config,
    client: *mut *mut b24_client,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: as for this function.
    unsafe { make(config, client, error, Client::new) }
}

/// Returns the client that the process keeps for an equal configuration, and makes it if there is
/// none. For programs that keep nothing between requests. References to it are counted. After the
/// last free it is kept with its connections and tokens, but only so many unused clients are kept.
/// Configurations are equal if all their options are. One with a b24_renewal_callback is equal only
/// to itself.
///
/// The caller frees *client with b24_client_free. Any thread. Errors as b24_client_new.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_client_shared(
    config: *const b24_config,
    client: *mut *mut b24_client,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: as for this function.
    unsafe { make(config, client, error, Client::shared) }
}

/// # Safety
/// By the header's conventions: `config` is NULL or live, `client` and `error` are NULL or places.
unsafe fn make(
    config: *const b24_config,
    client: *mut *mut b24_client,
    error: *mut *mut b24_error,
    maker: impl FnOnce(&Config) -> Result<Client, Error>,
) -> b24_code {
    // SAFETY: as for this function.
    unsafe {
        set_out(client, std::ptr::null_mut());
        attempt(error, || {
            let config = b24_config::borrow(config).ok_or_else(|| is_null("config"))?;
            give_out(client, maker(config)?);
            Ok(())
        })
    }
}

/// Makes a handle to the same client whose calls are limited: they end after timeout_ms, at most 7
/// days, instead of after the option of this name, and when the token is cancelled. 0 leaves the
/// timeout as it is; a token of NULL is none. If the client has tokens already, each of them ends
/// its calls. It costs little enough to make one for each call.
///
/// The caller frees *limited with b24_client_free; it may outlive the client. Any thread.
/// B24_INVALID_ARGUMENT if timeout_ms is negative; *limited is then NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_client_limited(
    client: *const b24_client,
    timeout_ms: i64,
    token: *const b24_cancel_token,
    limited: *mut *mut b24_client,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `client` and `token` are NULL or live, and `limited` and
    // `error` are NULL or places.
    unsafe {
        set_out(limited, std::ptr::null_mut());
        attempt(error, || {
            let client = b24_client::borrow(client).ok_or_else(|| is_null("client"))?;
            let limits = read_limits(timeout_ms, token)?;
            let mut handle = client.clone();
            if let Some(timeout) = limits.timeout {
                handle = handle.with_timeout(timeout);
            }
            if let Some(token) = limits.token {
                handle = handle.with_cancel(token);
            }
            give_out(limited, handle);
            Ok(())
        })
    }
}

/// Frees a client. NULL is allowed.
///
/// Any thread, once, when no other thread is inside a call of it (b24_client_cancel ends such
/// calls). Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_client_free(client: *mut b24_client) {
    // SAFETY: by the header's conventions, the caller owns `client` and nobody uses it any more.
    guard((), || unsafe { b24_client::free(client) });
}

/// Ends the calls of this client, and of handles that b24_client_limited made of it, that are under
/// way with B24_CANCELLED. Calls made later are not affected. NULL is allowed.
///
/// Any thread; not from a signal handler. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_client_cancel(client: *mut b24_client) {
    // SAFETY: by the header's conventions, `client` is NULL or live.
    let client = unsafe { b24_client::borrow(client) };
    guard((), || client.map_or((), Client::cancel));
}

/// Reports the status of one message, and waits until the portal has stored it.
///
/// Calls for one message are made one after the other, in the order in which they were begun,
/// across all clients of the process for one portal. The last status stands. An attempt whose
/// outcome is unknown may still be executed by the portal for up to 60 s.
///
/// `code` is the provider code, `message_id` the id that the portal gave the provider, `status` one
/// of queued, sent, delivered, undelivered, failed. All are borrowed for the call. Any thread, any
/// number at once. Returns by timeout_ms, with any b24_code. Wrong arguments are
/// B24_INVALID_ARGUMENT before anything is sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_message_status_update(
    client: *mut b24_client,
    code: *const c_char,
    message_id: *const c_char,
    status: *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `client` is NULL or live, the texts are NULL or
    // NUL-terminated, and `error` is NULL or a place.
    unsafe {
        attempt(error, || {
            let client = b24_client::borrow(client).ok_or_else(|| is_null("client"))?;
            client.message_status_update(
                read(code, "code")?,
                read(message_id, "message_id")?,
                read(status, "status")?,
            )
        })
    }
}

/// Asks for the status of one message: a list of one row, whose "status" is the status's English
/// name, or "" if the message has none.
///
/// `message_id` is the portal's own number of the message, 1 or more, not the id that the portal
/// gave the provider. The caller frees *list with b24_list_free. Any thread, any number at once.
/// Returns by timeout_ms, with any b24_code; after a failure *list is NULL. B24_INVALID_ARGUMENT,
/// before anything is sent, if it is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_message_status_get(
    client: *mut b24_client,
    message_id: u64,
    list: *mut *mut b24_list,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `client` is NULL or live, and `list` and `error` are
    // NULL or places.
    unsafe {
        set_out(list, std::ptr::null_mut());
        attempt(error, || {
            let client = b24_client::borrow(client).ok_or_else(|| is_null("client"))?;
            let status = client.message_status_get(message_id)?;
            give_out(list, List::of_texts(&[c"status"], &[status]));
            Ok(())
        })
    }
}

/// The current tokens: a copy that later renewals do not change.
///
/// The caller frees it with b24_tokens_free. Any thread. NULL if client is NULL, or after a bug in
/// the library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_client_tokens(client: *const b24_client) -> *mut b24_tokens {
    // SAFETY: by the header's conventions, `client` is NULL or live.
    let client = unsafe { b24_client::borrow(client) };
    guard(std::ptr::null_mut(), || {
        client.map_or(std::ptr::null_mut(), |client| {
            b24_tokens::give(Snapshot::from(&client.tokens()))
        })
    })
}
