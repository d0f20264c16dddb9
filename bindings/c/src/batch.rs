//! `b24_batch`.

use crate::client::b24_client;
use crate::code::b24_code;
use crate::error::{Failure, attempt, b24_error};
use crate::ffi::{Handle, catch, guard, is_null, read};
use b24_messageservice::{Error, ErrorKind, Update};
use libc::{c_char, size_t};
use std::sync::{Arc, LazyLock};

/// Updates that are sent or stored together, each with its own outcome. One thread at a time may
/// use it.
pub struct b24_batch {
    _private: [u8; 0],
}

impl Handle for b24_batch {
    type Value = Batch;
}

/// The updates as they were added, and the outcome of each.
#[derive(Default)]
pub(crate) struct Batch {
    entries: Vec<Entry>,
}

struct Entry {
    /// `None` if its texts cannot be read; `outcome` then says why, and never changes.
    update: Option<Update>,
    /// `None` once the portal has applied the update, or the provider has stored it. Shared by all
    /// that failed for the same reason. Behind a pointer, because the caller borrows its address,
    /// which must not change when entries are added.
    outcome: Option<Arc<Failure>>,
}

impl Entry {
    fn new(update: Result<Update, Error>) -> Self {
        static NOT_SENT: LazyLock<Arc<Failure>> = LazyLock::new(|| {
            Failure::shared(Error::new(
                ErrorKind::InvalidArgument,
                "not sent yet: b24_message_status_update_batch sends the batch, and \
                 b24_provider_report_batch stores it to be sent",
            ))
        });
        match update {
            Ok(update) => Self {
                update: Some(update),
                outcome: Some(Arc::clone(&NOT_SENT)),
            },
            Err(error) => Self {
                update: None,
                outcome: Some(Failure::shared(error)),
            },
        }
    }
}

/// One for each update that could be handed over.
type Outcomes = Vec<Result<(), Error>>;

impl Batch {
    /// Hands over what can be sent, and sets the outcome of every entry. Returns the first failure.
    pub(crate) fn apply(
        &mut self,
        hand_over: impl FnOnce(&mut dyn Iterator<Item = &Update>) -> Result<Outcomes, Error>,
    ) -> Result<(), Error> {
        let mut updates = self
            .entries
            .iter()
            .filter_map(|entry| entry.update.as_ref());
        let sent = catch(|| hand_over(&mut updates)).unwrap_or_else(Err);
        match sent {
            Ok(outcomes) => self.note(outcomes.into_iter()),
            // Nothing is known of any entry, so none may look applied.
            Err(error) => {
                let count = self.entries.len();
                self.note(std::iter::repeat_n(Err(error.clone()), count));
                return Err(error);
            }
        }
        match self.entries.iter().find_map(|entry| entry.outcome.as_ref()) {
            Some(first) => Err(first.error().clone()),
            None => Ok(()),
        }
    }

    fn note(&mut self, mut outcomes: impl Iterator<Item = Result<(), Error>>) {
        let mut last: Option<Arc<Failure>> = None;
        for entry in self.entries.iter_mut().filter(|e| e.update.is_some()) {
            let outcome = outcomes.next().unwrap_or_else(|| {
                Err(Error::new(
                    ErrorKind::Internal,
                    "the batch ended without an outcome for this update: please report it",
                ))
            });
            entry.outcome = outcome.err().map(|error| match &last {
                Some(failure) if *failure.error() == error => Arc::clone(failure),
                _ => Arc::clone(last.insert(Failure::shared(error))),
            });
        }
    }
}

/// An empty batch.
///
/// The caller frees it with b24_batch_free. Any thread. NULL only after a bug in the library.
#[unsafe(no_mangle)]
pub extern "C" fn b24_batch_new() -> *mut b24_batch {
    guard(std::ptr::null_mut(), || b24_batch::give(Batch::default()))
}

/// Adds an update. The arguments are those of b24_message_status_update, and are copied. If a
/// message is added more than once, its last status stands (with b24_provider_report_batch, the one
/// that ranks highest).
///
/// One thread at a time. Never fails: the outcome of an update that cannot be sent is
/// B24_INVALID_ARGUMENT, and the others are sent nevertheless. With batch NULL it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_batch_add(
    batch: *mut b24_batch,
    code: *const c_char,
    message_id: *const c_char,
    status: *const c_char,
) {
    // SAFETY: by the header's conventions, `batch` is NULL or live and used by this thread alone,
    // and the texts are NULL or NUL-terminated.
    guard((), || unsafe {
        if let Some(batch) = b24_batch::borrow_mut(batch) {
            let update = read(code, "code").and_then(|code| {
                let message_id = read(message_id, "message_id")?;
                Ok(Update::new(code, message_id, read(status, "status")?))
            });
            batch.entries.push(Entry::new(update));
        }
    });
}

/// How many updates were added, those that cannot be sent included. 0 for NULL.
///
/// One thread at a time. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_batch_len(batch: *const b24_batch) -> size_t {
    // SAFETY: by the header's conventions, `batch` is NULL or live and not being changed.
    unsafe { b24_batch::borrow(batch) }.map_or(0, |batch| batch.entries.len())
}

/// Sends the updates of a batch, 50 in a request, and waits for their outcomes.
///
/// Returns B24_OK if every update was applied. Otherwise it returns the code, and a copy of the
/// error, of the first update in the order added that was not; b24_batch_error tells the outcome of
/// each. Any number of threads may use the client at once, but only one the batch. A batch may be
/// sent again as a whole: the outcomes are replaced, and sending an update twice is harmless.
/// Returns by timeout_ms. If client is NULL, the outcome of each update says so too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_message_status_update_batch(
    client: *mut b24_client,
    batch: *mut b24_batch,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `client` is NULL or live, `batch` is NULL or live and
    // used by this thread alone, and `error` is NULL or a place.
    unsafe {
        attempt(error, || {
            let batch = b24_batch::borrow_mut(batch).ok_or_else(|| is_null("batch"))?;
            batch.apply(|updates| {
                let client = b24_client::borrow(client).ok_or_else(|| is_null("client"))?;
                Ok(client.message_status_update_batch(updates))
            })
        })
    }
}

/// The outcome of the update with this index, counted from 0 in the order added: NULL if it was
/// applied (stored, by b24_provider_report_batch), else the error. There is also an error if the
/// batch has not been sent, or if there is no update with this index.
///
/// The error is borrowed: do not free it. It stays valid, at the same address, until the batch is
/// sent or stored again or freed, even if updates are added. Updates that failed for the same
/// reason may share one. One thread at a time. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_batch_error(
    batch: *const b24_batch,
    index: size_t,
) -> *const b24_error {
    static ABSENT: LazyLock<Failure> = LazyLock::new(|| {
        Failure::new(Error::new(
            ErrorKind::InvalidArgument,
            "no such update: batch is NULL, or index is not below b24_batch_len",
        ))
    });
    // SAFETY: by the header's conventions, `batch` is NULL or live and not being changed.
    let batch = unsafe { b24_batch::borrow(batch) };
    match batch.and_then(|batch| batch.entries.get(index)) {
        Some(entry) => entry
            .outcome
            .as_deref()
            .map_or(std::ptr::null(), b24_error::lend),
        None => b24_error::lend(&ABSENT),
    }
}

/// Frees a batch and the errors borrowed from it. NULL is allowed.
///
/// Any thread, once. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_batch_free(batch: *mut b24_batch) {
    // SAFETY: by the header's conventions, the caller owns `batch` and does not use it again.
    guard((), || unsafe { b24_batch::free(batch) });
}
