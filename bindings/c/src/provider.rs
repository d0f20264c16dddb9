//! `b24_provider`.
//!
//! Without the Cargo feature `provider` every function is still there, and fails with
//! `B24_INVALID_CONFIG`: PHP refuses a library that lacks a function of the header.
#![cfg_attr(
    not(feature = "provider"),
    allow(
        unused,
        reason = "without the feature no function looks at its arguments"
    )
)]

use crate::batch::b24_batch;
use crate::cancel_token::{b24_cancel_token, read_limits};
use crate::client::b24_client;
use crate::code::b24_code;
use crate::config::b24_config;
use crate::drained::b24_drained;
use crate::error::{attempt, b24_error};
use crate::ffi::{
    Handle, c_string, give_out, guard, in_ms, is_null, read, read_bytes, read_duration, set_out,
};
use crate::list::{List, b24_list};
use crate::request::b24_request;
use b24_messageservice::{Error, ErrorKind, Reference};
use libc::{c_char, c_void, size_t};
use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Does the whole job of a provider of messages, for any number of portals: keeps their
/// installations, checks what they post, and keeps receipts in its store until the portals have
/// them. Any number of threads may use one provider at once, and any number of processes the store.
pub struct b24_provider {
    _private: [u8; 0],
}

impl Handle for b24_provider {
    type Value = Held;
}

/// A provider, or one with limits, which ends nothing when it is closed.
pub struct Held {
    provider: Provider,
    is_limited: bool,
}

#[cfg(feature = "provider")]
type Provider = b24_messageservice::Provider;
/// Without the feature there is none.
#[cfg(not(feature = "provider"))]
type Provider = std::convert::Infallible;

/// The body of a function, which without the feature is left out.
#[cfg(feature = "provider")]
macro_rules! with_provider {
    ($body:expr) => {
        $body
    };
}
#[cfg(not(feature = "provider"))]
macro_rules! with_provider {
    ($body:expr) => {
        |_| Ok(())
    };
}

fn check_feature() -> Result<(), Error> {
    if cfg!(feature = "provider") {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::InvalidConfig,
            "this library was built without the feature provider",
        ))
    }
}

/// # Safety
/// By the header's conventions: `provider` is NULL or live, `error` is NULL or a place.
unsafe fn call(
    provider: *mut b24_provider,
    error: *mut *mut b24_error,
    body: impl FnOnce(&Provider) -> Result<(), Error>,
) -> b24_code {
    // SAFETY: as for this function.
    unsafe {
        attempt(error, || {
            check_feature()?;
            let held = b24_provider::borrow(provider).ok_or_else(|| is_null("provider"))?;
            body(&held.provider)
        })
    }
}

/// A time in Unix milliseconds; `None`, which stands for now, for 0.
fn read_time(at_ms: i64) -> Result<Option<SystemTime>, Error> {
    let distance = Duration::from_millis(at_ms.unsigned_abs());
    let at = match at_ms {
        0 => return Ok(None),
        1.. => UNIX_EPOCH.checked_add(distance),
        _ => UNIX_EPOCH.checked_sub(distance),
    };
    at.map(Some).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            "at_ms is not a time that this machine knows: give Unix milliseconds, or 0 for now",
        )
    })
}

/// Opens a provider: checks its store, and makes or updates it. Nothing is sent.
///
/// The configuration has the store, client_id and client_secret, and no portal or tokens; it is
/// copied. The caller ends *provider with b24_provider_close. Any thread, while no other changes
/// the configuration. B24_INVALID_CONFIG names the option that is missing, contradicts another or
/// cannot be used, such as a store that another user can read; B24_STORAGE if the store fails.
/// *provider is then NULL. With provider NULL the configuration and the store are only checked. A
/// program needs one provider; several on one store are allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_open(
    config: *const b24_config,
    provider: *mut *mut b24_provider,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `config` is NULL or live, and `provider` and `error` are
    // NULL or places.
    unsafe {
        set_out(provider, std::ptr::null_mut());
        attempt(error, || {
            check_feature()?;
            let config = b24_config::borrow(config).ok_or_else(|| is_null("config"))?;
            #[cfg(feature = "provider")]
            give_out(
                provider,
                Held {
                    provider: Provider::open(config)?,
                    is_limited: false,
                },
            );
            Ok(())
        })
    }
}

/// Makes a handle to the same provider whose calls are limited: they end after timeout_ms, at most 7
/// days, instead of after the option of this name, and when the token is cancelled. 0 leaves the
/// timeout as it is; a token of NULL is none. If the provider has tokens already, each of them ends
/// its calls. In a drain, timeout_ms limits the requests and not budget_ms; what a cancelled drain
/// was sending is sent once more later. Clients that it gives are not limited.
///
/// The caller frees *limited with b24_provider_close, which does not end the provider itself. Any
/// thread. B24_INVALID_ARGUMENT if timeout_ms is negative; *limited is then NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_limited(
    provider: *mut b24_provider,
    timeout_ms: i64,
    token: *const b24_cancel_token,
    limited: *mut *mut b24_provider,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` and `token` are NULL or live, and `limited`
    // and `error` are NULL or places.
    unsafe {
        set_out(limited, std::ptr::null_mut());
        call(
            provider,
            error,
            with_provider!(|provider| {
                let limits = read_limits(timeout_ms, token)?;
                let mut handle = provider.clone();
                if let Some(timeout) = limits.timeout {
                    handle = handle.with_timeout(timeout);
                }
                if let Some(token) = limits.token {
                    handle = handle.with_cancel(token);
                }
                give_out(
                    limited,
                    Held {
                        provider: handle,
                        is_limited: true,
                    },
                );
                Ok(())
            }),
        )
    }
}

/// Ends a provider and frees it: each drain that is under way in another thread ends after its
/// present requests, and is waited for. What is in the store stays there. NULL is allowed.
///
/// Any thread, once; no other call may be under way, and none may begin. Returns within twice
/// timeout_ms (b24_provider_cancel before it ends the drains early). Clients from
/// b24_provider_client still work. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_close(provider: *mut b24_provider) {
    // SAFETY: by the header's conventions, the caller owns `provider`, and nobody but a drain uses
    // it any more; a drain has a provider of its own, see `b24_provider_drain`.
    unsafe {
        #[cfg(feature = "provider")]
        if let Some(held) = b24_provider::borrow(provider)
            && !held.is_limited
        {
            guard((), || held.provider.close());
        }
        b24_provider::free(provider);
    }
}

/// Ends the drains and other calls of this provider that are under way with B24_CANCELLED. Calls
/// made later are not affected, nor are clients from b24_provider_client. What has not been sent
/// stays in the store. NULL is allowed.
///
/// Any thread; not from a signal handler. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_cancel(provider: *mut b24_provider) {
    // SAFETY: by the header's conventions, `provider` is NULL or live.
    let provider = unsafe { b24_provider::borrow(provider) };
    #[cfg(feature = "provider")]
    guard((), || provider.map_or((), |held| held.provider.cancel()));
}

/// Reads a request that was posted to the provider's handler, and checks that it is the portal's: a
/// message to be sent, or that the application was installed or removed. Nothing is answered: the
/// program answers HTTP, with 200 after success, 400 to B24_INVALID_ARGUMENT, 403 to
/// B24_ACCESS_DENIED, and 503 to anything else.
///
/// `content_type` is the header of this name, "" if there is none: form encoding, which portals
/// use, and JSON are read. `body` has `length` bytes, at most 1 MiB; it may be NULL if there are
/// none. Both are borrowed for the call. When it returns, an installation is stored (the
/// authorization server has confirmed it), and the tokens of one that was removed are gone.
///
/// The caller frees *request with b24_request_free. Any thread, any number at once. Returns by
/// timeout_ms, with any b24_code; *request is NULL after a failure. B24_INVALID_ARGUMENT if it
/// cannot be read, B24_ACCESS_DENIED if it is not proven to be the portal's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_receive(
    provider: *mut b24_provider,
    content_type: *const c_char,
    body: *const c_void,
    length: size_t,
    request: *mut *mut b24_request,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, `content_type` is NULL or
    // NUL-terminated, `body` is NULL or has `length` bytes, and `request` and `error` are NULL or
    // places.
    unsafe {
        set_out(request, std::ptr::null_mut());
        call(
            provider,
            error,
            with_provider!(|provider| {
                let content_type = read(content_type, "content_type")?;
                let received = provider.receive(content_type, read_bytes(body, length, "body")?)?;
                give_out(request, received.into());
                Ok(())
            }),
        )
    }
}

/// Stores an installation from what the authorization server has answered, or from an `auth` that
/// the program has kept, once the authorization server confirms it.
///
/// `auth_json` is a JSON object with access_token, refresh_token and what else came with them.
/// `application_token` is the one that came with the installation, and "" if it is not known: the
/// first message whose token the authorization server confirms then sets it. Both are borrowed for
/// the call. A refresh_token that is known already changes nothing, and is no failure. What waits
/// for a portal that was held is sent again.
///
/// Any thread, any number at once. Returns by timeout_ms, with any b24_code. B24_INVALID_ARGUMENT
/// if auth_json cannot be read, B24_ACCESS_DENIED if it is not confirmed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_install(
    provider: *mut b24_provider,
    auth_json: *const c_char,
    application_token: *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, the texts are NULL or
    // NUL-terminated, and `error` is NULL or a place.
    unsafe {
        call(
            provider,
            error,
            with_provider!(|provider| provider.install(
                read(auth_json, "auth_json")?,
                read(application_token, "application_token")?
            )),
        )
    }
}

/// Stores an installation from the page of the installation wizard: `frame` is a request of the
/// kind B24_REQUEST_FRAME. Call it on that page and on no other, because each later opening brings
/// the tokens of whoever opens it.
///
/// `frame` is borrowed for the call. Any thread, any number at once. Returns by timeout_ms, with
/// any b24_code. B24_ACCESS_DENIED if the authorization server does not confirm it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_install_request(
    provider: *mut b24_provider,
    frame: *const b24_request,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` and `frame` are NULL or live, and `error` is
    // NULL or a place.
    unsafe {
        call(
            provider,
            error,
            with_provider!(|provider| {
                let frame = b24_request::borrow(frame).ok_or_else(|| is_null("frame"))?;
                provider.install_request(frame.request())
            }),
        )
    }
}

/// Moves the installations of a state_dir to the store. Clients with that state_dir then fail, and
/// say why.
///
/// `path` is the directory, borrowed for the call. *imported is how many were moved; it may be
/// NULL, and is 0 after a failure. Any thread. B24_STORAGE if a file cannot be read or written;
/// what was moved before stays moved, and the call can be repeated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_import_state_dir(
    provider: *mut b24_provider,
    path: *const c_char,
    imported: *mut i64,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, `path` is NULL or
    // NUL-terminated, and `imported` and `error` are NULL or places.
    unsafe {
        if !imported.is_null() {
            imported.write(0);
        }
        call(
            provider,
            error,
            with_provider!(|provider| {
                let count = provider.import_state_dir(Path::new(read(path, "path")?))?;
                if !imported.is_null() {
                    imported.write(i64::try_from(count).unwrap_or(i64::MAX));
                }
                Ok(())
            }),
        )
    }
}

/// A client of an installed portal, whose tokens are those of the store, renewed once for all
/// processes. With it the provider registers its sender (b24_sender_add).
///
/// `member_id` is the portal's permanent id. The caller frees *client with b24_client_free, at any
/// time: it may outlive the provider. Any thread, any number at once. B24_INVALID_ARGUMENT if the
/// portal is not installed; *client is NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_client(
    provider: *mut b24_provider,
    member_id: *const c_char,
    client: *mut *mut b24_client,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, `member_id` is NULL or
    // NUL-terminated, and `client` and `error` are NULL or places.
    unsafe {
        set_out(client, std::ptr::null_mut());
        call(
            provider,
            error,
            with_provider!(|provider| {
                give_out(client, provider.client(read(member_id, "member_id")?)?);
                Ok(())
            }),
        )
    }
}

/// As b24_provider_track_of, for a provider with one operator, whose name is "".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_track(
    provider: *mut b24_provider,
    reference: *const c_char,
    member_id: *const c_char,
    code: *const c_char,
    message_id: *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    let operator_name = c"".as_ptr();
    // SAFETY: as for this function.
    unsafe {
        b24_provider_track_of(
            provider,
            operator_name,
            reference,
            member_id,
            code,
            message_id,
            error,
        )
    }
}

/// Says which message an operator's reference stands for, so that b24_provider_report_reference_of
/// knows it. A receipt that came by this reference before waits for this call. Several references
/// may stand for one message: its parts, whose statuses are combined.
///
/// `operator_name` is the operator whose reference it is, at most 64 bytes, "" if there is only
/// one; `reference` has 1 to 255 bytes. `member_id` is the portal's permanent id, `code` the
/// provider code, `message_id` the id that the portal gave the provider. All are borrowed for the
/// call, and stored when it returns. Doing it again is harmless. Any thread, any number at once.
/// B24_INVALID_ARGUMENT if an argument is wrong, or if the reference has stood for another message
/// for less than 72 hours; B24_STORAGE if the store fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_track_of(
    provider: *mut b24_provider,
    operator_name: *const c_char,
    reference: *const c_char,
    member_id: *const c_char,
    code: *const c_char,
    message_id: *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, the texts are NULL or
    // NUL-terminated, and `error` is NULL or a place.
    unsafe {
        call(
            provider,
            error,
            with_provider!(|provider| provider.track(
                Reference::new(read(reference, "reference")?)
                    .of_operator(read(operator_name, "operator_name")?),
                read(member_id, "member_id")?,
                read(code, "code")?,
                read(message_id, "message_id")?,
            )),
        )
    }
}

/// Stores a receipt, to be sent to the portal by a drain of any process. When it returns B24_OK,
/// the receipt is safe (see the option durability), and the operator can be told so.
///
/// Of one message the final statuses (delivered, undelivered, failed) rank above sent, and sent
/// above queued. A lower rank never replaces a higher one; within a rank the later time stands,
/// then the later call. So receipts may come twice and in any order.
///
/// `member_id` is the portal's permanent id, `code` the provider code, `message_id` the id that the
/// portal gave the provider, `status` one of queued, sent, delivered, undelivered, failed. All are
/// borrowed for the call. `at_ms` is when the status came about, in Unix milliseconds, 0 for now.
/// Any thread, any number at once. Nothing is sent. B24_INVALID_ARGUMENT if an argument is wrong,
/// B24_STORAGE if the store fails or is full: ask the operator to deliver the receipt again later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_report(
    provider: *mut b24_provider,
    member_id: *const c_char,
    code: *const c_char,
    message_id: *const c_char,
    status: *const c_char,
    at_ms: i64,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, the texts are NULL or
    // NUL-terminated, and `error` is NULL or a place.
    unsafe {
        call(
            provider,
            error,
            with_provider!(|provider| provider.report(
                read(member_id, "member_id")?,
                read(code, "code")?,
                read(message_id, "message_id")?,
                read(status, "status")?,
                read_time(at_ms)?,
            )),
        )
    }
}

/// Stores the updates of a batch as receipts of one portal that came about now, by one write to the
/// disk for every 10000. Each is what b24_provider_report does.
///
/// Returns B24_OK if every receipt was stored. Otherwise it returns the code, and a copy of the
/// error, of the first in the order added that was not; b24_batch_error tells the outcome of each.
/// `member_id` is borrowed for the call. Any number of threads may use the provider at once, but
/// only one the batch. The batch may be stored again as a whole: the outcomes are replaced, and
/// storing a receipt twice is harmless. If provider or member_id is wrong, the outcome of each says
/// so too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_report_batch(
    provider: *mut b24_provider,
    member_id: *const c_char,
    batch: *mut b24_batch,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, `member_id` is NULL or
    // NUL-terminated, `batch` is NULL or live and used by this thread alone, and `error` is NULL or
    // a place.
    unsafe {
        attempt(error, || {
            let batch = b24_batch::borrow_mut(batch).ok_or_else(|| is_null("batch"))?;
            batch.apply(|updates| {
                check_feature()?;
                let held = b24_provider::borrow(provider).ok_or_else(|| is_null("provider"))?;
                let member_id = read(member_id, "member_id")?;
                #[cfg(feature = "provider")]
                let outcomes = held.provider.report_batch(member_id, updates);
                #[cfg(not(feature = "provider"))]
                let outcomes = Vec::new();
                Ok(outcomes)
            })
        })
    }
}

/// As b24_provider_report_reference_of, for a provider with one operator, whose name is "".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_report_reference(
    provider: *mut b24_provider,
    reference: *const c_char,
    status: *const c_char,
    at_ms: i64,
    error: *mut *mut b24_error,
) -> b24_code {
    let operator_name = c"".as_ptr();
    // SAFETY: as for this function.
    unsafe {
        b24_provider_report_reference_of(provider, operator_name, reference, status, at_ms, error)
    }
}

/// Stores a receipt under the operator's own reference, as b24_provider_report does. The message is
/// the one that b24_provider_track_of has named, or will name: the receipt waits for it an hour,
/// and is then refused.
///
/// `operator_name` and `reference` are those given to b24_provider_track_of, `status` and `at_ms`
/// as for b24_provider_report. The texts are borrowed for the call. Any thread, any number at once.
/// B24_INVALID_ARGUMENT if an argument is wrong, B24_STORAGE if the store fails or is full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_report_reference_of(
    provider: *mut b24_provider,
    operator_name: *const c_char,
    reference: *const c_char,
    status: *const c_char,
    at_ms: i64,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, the texts are NULL or
    // NUL-terminated, and `error` is NULL or a place.
    unsafe {
        call(
            provider,
            error,
            with_provider!(|provider| provider.report_reference(
                Reference::new(read(reference, "reference")?)
                    .of_operator(read(operator_name, "operator_name")?),
                read(status, "status")?,
                read_time(at_ms)?,
            )),
        )
    }
}

/// Sends receipts for budget_ms: those that are due, and those that become due meanwhile, of all
/// threads and processes that use the store. So a program calls it again and again, in a thread or
/// process of its own.
///
/// The call takes all of budget_ms, which must not be negative; no request starts afterwards, and
/// it returns within timeout_ms more. With 0 nothing is sent, only counted. Failures of a portal
/// are no failure of the drain: its receipts wait, are held or are refused, which the result
/// counts. The option workers says how many threads of the library send; all signals are blocked in
/// them, and they have ended when the call returns.
///
/// The caller frees *drained with b24_drained_free; drained may be NULL. Any thread, any number at
/// once. It ends early, with B24_OK, at b24_provider_close. B24_CANCELLED after
/// b24_provider_cancel, B24_STORAGE if the store fails; *drained is NULL after a failure. What was
/// sent until then is settled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_drain(
    provider: *mut b24_provider,
    budget_ms: i64,
    drained: *mut *mut b24_drained,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, and `drained` and `error`
    // are NULL or places.
    unsafe {
        set_out(drained, std::ptr::null_mut());
        call(
            provider,
            error,
            with_provider!(|provider| {
                let budget = read_duration(budget_ms, "budget_ms", Duration::from_millis)?;
                // A clone, because b24_provider_close frees the handle when the core has ended the
                // drain, which is before this function has.
                let provider = provider.clone();
                give_out(drained, provider.drain(budget)?.into());
                Ok(())
            }),
        )
    }
}

/// What the store has about each portal: a row for each, with "member_id"; "client_endpoint", ""
/// if not known; "state", one of active, waiting (after a failure of the portal), held (until it is
/// installed again or b24_provider_resume), uninstalled, unknown; "reason", why it is waiting or
/// held; "waiting" and "refused", how many receipts are not sent yet and were given up;
/// "oldest_ms", how old the oldest of those that wait is; "next_due_ms", how long until the next
/// can be sent. The last two are milliseconds, and "" if there is none.
///
/// The caller frees *list with b24_list_free. Any thread, any number at once. B24_STORAGE if the
/// store fails; *list is then NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_inspect(
    provider: *mut b24_provider,
    list: *mut *mut b24_list,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, and `list` and `error` are
    // NULL or places.
    unsafe {
        set_out(list, std::ptr::null_mut());
        call(
            provider,
            error,
            with_provider!(|provider| {
                let rows = provider.inspect()?.into_iter().map(|portal| {
                    [
                        c_string(&portal.member_id),
                        c_string(&portal.client_endpoint),
                        c_string(portal.state),
                        c_string(&portal.reason),
                        number(&portal.waiting),
                        number(&portal.refused),
                        milliseconds(portal.oldest),
                        milliseconds(portal.next_due),
                    ]
                });
                give_out(
                    list,
                    List::new(
                        &[
                            c"member_id",
                            c"client_endpoint",
                            c"state",
                            c"reason",
                            c"waiting",
                            c"refused",
                            c"oldest_ms",
                            c"next_due_ms",
                        ],
                        rows,
                    ),
                );
                Ok(())
            }),
        )
    }
}

/// The receipts that were given up, in a fixed order: a row for each, with "cursor"; "member_id",
/// "code" and "message_id"; "operator" and "reference", if the receipt came by a reference that was
/// never tracked, in which case those three are ""; "status", the one that was not sent; "at_ms",
/// when it came about, in Unix milliseconds; "reason", the portal's own code, or what happened.
///
/// `after` is the "cursor" of a row, to get those after it, and "" to begin. It is borrowed for the
/// call. At most `limit` rows are given, which is a number from 1 to 100000. The caller frees *list
/// with b24_list_free. Any thread, any number at once. B24_INVALID_ARGUMENT if after is no cursor,
/// B24_STORAGE if the store fails; *list is then NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_refused(
    provider: *mut b24_provider,
    after: *const c_char,
    limit: size_t,
    list: *mut *mut b24_list,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, `after` is NULL or
    // NUL-terminated, and `list` and `error` are NULL or places.
    unsafe {
        set_out(list, std::ptr::null_mut());
        call(
            provider,
            error,
            with_provider!(|provider| {
                let receipts = provider.refused(read(after, "after")?, limit)?;
                let rows = receipts.into_iter().map(|receipt| {
                    [
                        c_string(&receipt.cursor),
                        c_string(&receipt.member_id),
                        c_string(&receipt.code),
                        c_string(&receipt.message_id),
                        c_string(&receipt.operator),
                        c_string(&receipt.reference),
                        c_string(receipt.status),
                        number(&receipt.at_ms),
                        c_string(&receipt.reason),
                    ]
                });
                give_out(
                    list,
                    List::new(
                        &[
                            c"cursor",
                            c"member_id",
                            c"code",
                            c"message_id",
                            c"operator",
                            c"reference",
                            c"status",
                            c"at_ms",
                            c"reason",
                        ],
                        rows,
                    ),
                );
                Ok(())
            }),
        )
    }
}

fn number(number: &impl ToString) -> CString {
    c_string(&number.to_string())
}

fn milliseconds(time: Option<Duration>) -> CString {
    time.map(|time| number(&in_ms(time))).unwrap_or_default()
}

/// Lets the receipts of a portal be sent again that is held, after what held it was put right, for
/// example after the customer has paid; or of one that waits after a failure.
///
/// `member_id` is borrowed for the call. Any thread. B24_INVALID_ARGUMENT if the store knows no
/// such portal, B24_STORAGE if the store fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_resume(
    provider: *mut b24_provider,
    member_id: *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, `member_id` is NULL or
    // NUL-terminated, and `error` is NULL or a place.
    unsafe {
        call(
            provider,
            error,
            with_provider!(|provider| provider.resume(read(member_id, "member_id")?)),
        )
    }
}

/// Removes receipts that were refused, and references, if they are older than keep_seconds, which
/// must not be negative. Nothing that waits is removed, and what has happened to a message is known
/// for 72 hours in any case.
///
/// Any thread. B24_INVALID_ARGUMENT if keep_seconds is negative, B24_STORAGE if the store fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_provider_prune(
    provider: *mut b24_provider,
    keep_seconds: i64,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `provider` is NULL or live, and `error` is NULL or a
    // place.
    unsafe {
        call(
            provider,
            error,
            with_provider!(|provider| provider.prune(read_duration(
                keep_seconds,
                "keep_seconds",
                Duration::from_secs
            )?)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_before_and_after_1970() {
        assert_eq!(read_time(0).unwrap(), None);
        for (at_ms, at) in [
            (1, UNIX_EPOCH + Duration::from_millis(1)),
            (-1500, UNIX_EPOCH - Duration::from_millis(1500)),
        ] {
            assert_eq!(read_time(at_ms).unwrap(), Some(at));
        }
        for extreme in [i64::MIN, i64::MAX] {
            drop(read_time(extreme));
        }
    }

    /// Every function that returns a code says so, before it looks at its arguments.
    #[cfg(not(feature = "provider"))]
    #[test]
    fn without_the_feature_every_function_fails() {
        use std::ptr::{null, null_mut};
        let (provider, error) = (null_mut(), null_mut());
        // SAFETY: NULL is allowed everywhere.
        let codes = unsafe {
            [
                b24_provider_open(null(), null_mut(), error),
                b24_provider_receive(provider, null(), null(), 0, null_mut(), error),
                b24_provider_install(provider, null(), null(), error),
                b24_provider_install_request(provider, null(), error),
                b24_provider_import_state_dir(provider, null(), null_mut(), error),
                b24_provider_client(provider, null(), null_mut(), error),
                b24_provider_track(provider, null(), null(), null(), null(), error),
                b24_provider_report(provider, null(), null(), null(), null(), 0, error),
                b24_provider_report_reference(provider, null(), null(), 0, error),
                b24_provider_drain(provider, 0, null_mut(), error),
                b24_provider_inspect(provider, null_mut(), error),
                b24_provider_refused(provider, null(), 0, null_mut(), error),
                b24_provider_resume(provider, null(), error),
                b24_provider_prune(provider, 0, error),
            ]
        };
        for code in codes {
            assert_eq!(code, b24_code::B24_INVALID_CONFIG);
        }
        let batch = crate::batch::b24_batch_new();
        // SAFETY: `batch` was just given, and is freed once, after its last use.
        unsafe {
            let code = b24_provider_report_batch(provider, null(), batch, error);
            assert_eq!(code, b24_code::B24_INVALID_CONFIG);
            crate::batch::b24_batch_free(batch);
            b24_provider_cancel(provider);
            b24_provider_close(provider);
        }
    }
}
