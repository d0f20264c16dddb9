//! `b24_sender`.

use crate::client::b24_client;
use crate::code::b24_code;
use crate::error::{attempt, b24_error};
use crate::ffi::{Handle, give_out, guard, is_null, read, set_out};
use crate::list::{List, b24_list};
use b24_messageservice::{Client, Error, Sender};
use libc::c_char;

/// An SMS provider as it is registered with a portal: its code, its handler, and the texts that
/// users see. Calls copy it. One thread at a time may change it. While none does, any number may
/// use it.
pub struct b24_sender {
    _private: [u8; 0],
}

impl Handle for b24_sender {
    /// An error if the code could not be read: every use of the sender reports it.
    type Value = Result<Sender, Error>;
}

/// A sender with this provider code, `[A-Za-z0-9._-]+`, and nothing else. The code is copied.
///
/// The caller frees it with b24_sender_free. Any thread. NULL only after a bug in the library. If
/// the code is NULL or wrong, calls with the sender return B24_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_sender_new(code: *const c_char) -> *mut b24_sender {
    guard(std::ptr::null_mut(), || {
        // SAFETY: by the header's conventions, `code` is NULL or NUL-terminated.
        b24_sender::give(unsafe { read(code, "code") }.map(Sender::new))
    })
}

/// Sets a part of a sender. The names: handler, the http or https address that the portal posts
/// messages to; name and description, which users see; type, which is SMS unless set, and cannot be
/// changed after the sender was added.
///
/// `language`, such as "en", sets a name or description in one language only. It is NULL for a text
/// in all languages, and for handler and type. A name or description has either one text or texts
/// by language. The texts are copied, and are checked when the sender is used. One thread at a
/// time. B24_INVALID_ARGUMENT for an unknown name, for a language with handler or type, for NULL in
/// any other argument, and for text that is not UTF-8; the sender then stays as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_sender_set(
    sender: *mut b24_sender,
    name: *const c_char,
    language: *const c_char,
    text: *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `sender` is NULL or live and used by this thread alone,
    // the texts are NULL or NUL-terminated, and `error` is NULL or a place.
    unsafe {
        attempt(error, || {
            let sender = b24_sender::borrow_mut(sender).ok_or_else(|| is_null("sender"))?;
            let sender = sender.as_mut().map_err(|error| error.clone())?;
            let language = if language.is_null() {
                None
            } else {
                Some(read(language, "language")?)
            };
            sender.set(read(name, "name")?, language, read(text, "text")?)?;
            Ok(())
        })
    }
}

/// Frees a sender. What was registered with it stays registered. NULL is allowed.
///
/// Any thread, once. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_sender_free(sender: *mut b24_sender) {
    // SAFETY: by the header's conventions, the caller owns `sender` and does not use it again.
    guard((), || unsafe { b24_sender::free(sender) });
}

/// Registers an SMS provider with the portal, so that users can choose it and the portal posts
/// messages to its handler. The sender needs a handler and a name.
///
/// The portal refuses a code that is registered. So the list of senders is asked for first, and
/// again if the answer is lost, to find out whether the sender was added. Therefore B24_PORTAL with
/// the portal code ERROR_SENDER_ALREADY_INSTALLED means that the code was registered before.
///
/// Any thread, any number at once, while none changes the sender. Returns by timeout_ms, with any
/// b24_code. B24_INVALID_ARGUMENT, before anything is sent, if a part of the sender is missing or
/// wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_sender_add(
    client: *mut b24_client,
    sender: *const b24_sender,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: as for this function.
    unsafe { send(client, sender, error, Client::sender_add) }
}

/// Changes the handler, name or description of a registered sender. What is not set stays as it is.
/// Calling this twice is harmless.
///
/// Any thread, any number at once, while none changes the sender. Returns by timeout_ms, with any
/// b24_code. B24_INVALID_ARGUMENT, before anything is sent, if there is nothing to change, if the
/// type is set, or if a part of the sender is wrong. A code that is not registered is B24_PORTAL
/// with the portal code ERROR_SENDER_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_sender_update(
    client: *mut b24_client,
    sender: *const b24_sender,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: as for this function.
    unsafe { send(client, sender, error, Client::sender_update) }
}

/// # Safety
/// By the header's conventions: `client` and `sender` are NULL or live, `error` is NULL or a place.
unsafe fn send(
    client: *mut b24_client,
    sender: *const b24_sender,
    error: *mut *mut b24_error,
    call: impl FnOnce(&Client, &Sender) -> Result<(), Error>,
) -> b24_code {
    // SAFETY: as for this function.
    unsafe {
        attempt(error, || {
            let client = b24_client::borrow(client).ok_or_else(|| is_null("client"))?;
            let sender = b24_sender::borrow(sender).ok_or_else(|| is_null("sender"))?;
            call(client, sender.as_ref().map_err(Error::clone)?)
        })
    }
}

/// Removes a sender from the portal, by its provider code. If the answer is lost, the list of
/// senders is asked for, to find out whether the sender was removed.
///
/// `code` is borrowed for the call. Any thread, any number at once. Returns by timeout_ms, with any
/// b24_code. B24_INVALID_ARGUMENT, before anything is sent, if the code is not valid. A code that
/// is not registered is B24_PORTAL with the portal code ERROR_SENDER_NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_sender_delete(
    client: *mut b24_client,
    code: *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `client` is NULL or live, `code` is NULL or
    // NUL-terminated, and `error` is NULL or a place.
    unsafe {
        attempt(error, || {
            let client = b24_client::borrow(client).ok_or_else(|| is_null("client"))?;
            client.sender_delete(read(code, "code")?)
        })
    }
}

/// Lists the senders that the application has registered with the portal: a row for each, whose
/// "code" is its provider code.
///
/// The caller frees *list with b24_list_free. Any thread, any number at once. Returns by
/// timeout_ms, with any b24_code; after a failure *list is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_sender_list(
    client: *mut b24_client,
    list: *mut *mut b24_list,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `client` is NULL or live, and `list` and `error` are
    // NULL or places.
    unsafe {
        set_out(list, std::ptr::null_mut());
        attempt(error, || {
            let client = b24_client::borrow(client).ok_or_else(|| is_null("client"))?;
            give_out(list, List::of_texts(&[c"code"], &client.sender_list()?));
            Ok(())
        })
    }
}
