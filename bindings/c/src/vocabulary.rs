//! `b24_vocabulary`.

use crate::code::b24_code;
use crate::error::{attempt, b24_error};
use crate::ffi::{Handle, give_out, guard, is_null, read, set_out};
use b24_messageservice::{Error, Status, Vocabulary};
use libc::c_char;
use std::ffi::CStr;

/// What an operator's words for the state of a message mean. One thread at a time may change it.
/// While none does, any number may use it.
pub struct b24_vocabulary {
    _private: [u8; 0],
}

impl Handle for b24_vocabulary {
    /// An error if the name could not be read: every use of the vocabulary reports it.
    type Value = Result<Vocabulary, Error>;
}

/// A vocabulary that the library knows: "smpp" (the texts and the numbers of SMPP's message_state),
/// "gsm" (TP-Status of GSM 03.40, as a number) or "twilio" (MessageStatus).
///
/// The caller frees *vocabulary with b24_vocabulary_free. Any thread. B24_INVALID_ARGUMENT if there
/// is none of this name; *vocabulary is then NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_vocabulary_named(
    name: *const c_char,
    vocabulary: *mut *mut b24_vocabulary,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `name` is NULL or NUL-terminated, and `vocabulary` and
    // `error` are NULL or places.
    unsafe {
        set_out(vocabulary, std::ptr::null_mut());
        attempt(error, || {
            let named = Vocabulary::named(read(name, "name")?)?;
            give_out(vocabulary, Ok(named));
            Ok(())
        })
    }
}

/// A vocabulary without words, to which b24_vocabulary_set adds the program's own. The name is only
/// for the messages of errors, and is copied.
///
/// The caller frees it with b24_vocabulary_free. Any thread. NULL only after a bug in the library.
/// If the name is NULL or not UTF-8, calls with the vocabulary return B24_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_vocabulary_new(name: *const c_char) -> *mut b24_vocabulary {
    guard(std::ptr::null_mut(), || {
        // SAFETY: by the header's conventions, `name` is NULL or NUL-terminated.
        b24_vocabulary::give(unsafe { read(name, "name") }.map(Vocabulary::new))
    })
}

/// Says what a word means: one of queued, sent, delivered, undelivered, failed. It replaces what
/// the word meant before, also in a vocabulary from b24_vocabulary_named.
///
/// Both texts are copied. One thread at a time. B24_INVALID_ARGUMENT for a status that is none, for
/// a word that cannot be one, for NULL, and for text that is not UTF-8; the vocabulary then stays
/// as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_vocabulary_set(
    vocabulary: *mut b24_vocabulary,
    word: *const c_char,
    status: *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `vocabulary` is NULL or live and used by this thread
    // alone, the texts are NULL or NUL-terminated, and `error` is NULL or a place.
    unsafe {
        attempt(error, || {
            let vocabulary =
                b24_vocabulary::borrow_mut(vocabulary).ok_or_else(|| is_null("vocabulary"))?;
            let vocabulary = vocabulary.as_mut().map_err(|error| error.clone())?;
            vocabulary.set(read(word, "word")?, read(status, "status")?)?;
            Ok(())
        })
    }
}

/// The status that a word means, such as "delivered" for "DELIVRD". The case of a word and blanks
/// around it do not matter; a number is given as text, such as "2".
///
/// *status is a static string: never freed. Any thread, while none changes the vocabulary.
/// B24_INVALID_ARGUMENT, with *status NULL, if the vocabulary has no such word, which the message
/// names: it is never guessed. Also for NULL, and for text that is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_vocabulary_status(
    vocabulary: *const b24_vocabulary,
    word: *const c_char,
    status: *mut *const c_char,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `vocabulary` is NULL or live and not being changed,
    // `word` is NULL or NUL-terminated, and `status` and `error` are NULL or places.
    unsafe {
        if !status.is_null() {
            status.write(std::ptr::null());
        }
        attempt(error, || {
            let vocabulary =
                b24_vocabulary::borrow(vocabulary).ok_or_else(|| is_null("vocabulary"))?;
            let vocabulary = vocabulary.as_ref().map_err(Error::clone)?;
            let meant = vocabulary.status(read(word, "word")?)?;
            if !status.is_null() {
                status.write(name_of(meant).as_ptr());
            }
            Ok(())
        })
    }
}

fn name_of(status: Status) -> &'static CStr {
    match status {
        Status::Queued => c"queued",
        Status::Sent => c"sent",
        Status::Delivered => c"delivered",
        Status::Undelivered => c"undelivered",
        Status::Failed => c"failed",
    }
}

/// Frees a vocabulary. NULL is allowed.
///
/// Any thread, once. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_vocabulary_free(vocabulary: *mut b24_vocabulary) {
    // SAFETY: by the header's conventions, the caller owns `vocabulary` and does not use it again.
    guard((), || unsafe { b24_vocabulary::free(vocabulary) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_names_of_the_core() {
        for status in Status::ALL {
            assert_eq!(name_of(status).to_str(), Ok(status.as_str()));
        }
    }
}
