//! `b24_batch`.

use crate::client::b24_client;
use crate::error::{Failure, b24_code, b24_error};
use crate::ffi::{Handle, attempt, catch, guard, is_null, read};
use b24_messageservice::{Client, Error, ErrorKind, Update};
use std::ffi::c_char;
use std::sync::LazyLock;

/// Updates that are sent together, each with its own fate. One thread at a time may use it.
pub struct b24_batch {
    _private: [u8; 0],
}

impl Handle for b24_batch {
    type Value = Batch;
}

/// The updates as given, and what became of each.
#[derive(Default)]
pub(crate) struct Batch {
    entries: Vec<Entry>,
}

struct Entry {
    /// What to send, or why it cannot be read.
    update: Result<Update, Error>,
    /// `None` once the portal has applied the update.
    fate: Option<Failure>,
}

impl Entry {
    fn new(update: Result<Update, Error>) -> Self {
        let fate = match &update {
            Ok(_) => Error::new(
                ErrorKind::InvalidArgument,
                "not sent yet: b24_message_status_update_batch sends the batch",
            ),
            Err(error) => error.clone(),
        };
        Self {
            update,
            fate: Some(Failure::new(fate)),
        }
    }
}

impl Batch {
    /// Sends what can be sent, and notes a fate for every entry.
    fn send(&mut self, client: Option<&Client>) -> Result<(), Error> {
        let client = client.ok_or_else(|| is_null("client"));
        let sent = client.and_then(|client| {
            let updates: Vec<Update> = self.readable().cloned().collect();
            catch(|| client.message_status_update_batch(updates))
        });
        match sent {
            Ok(fates) => self.note(fates.into_iter()),
            // Nothing is known of any entry, so none may look applied.
            Err(error) => {
                let count = self.entries.len();
                self.note(std::iter::repeat_n(Err(error.clone()), count));
                return Err(error);
            }
        }
        match self.entries.iter().find_map(|entry| entry.fate.as_ref()) {
            Some(first) => Err(first.error().clone()),
            None => Ok(()),
        }
    }

    fn readable(&self) -> impl Iterator<Item = &Update> {
        self.entries.iter().filter_map(|e| e.update.as_ref().ok())
    }

    fn note(&mut self, mut fates: impl Iterator<Item = Result<(), Error>>) {
        for entry in &mut self.entries {
            let fate = match &entry.update {
                Ok(_) => fates.next().unwrap_or_else(|| {
                    Err(Error::new(
                        ErrorKind::Internal,
                        "the batch ended without a fate for this update: please report it",
                    ))
                }),
                Err(error) => Err(error.clone()),
            };
            entry.fate = fate.err().map(Failure::new);
        }
    }
}

/// An empty batch.
///
/// The caller frees it with b24_batch_free. Any thread. NULL only after a fault in the library.
#[unsafe(no_mangle)]
pub extern "C" fn b24_batch_new() -> *mut b24_batch {
    guard(std::ptr::null_mut(), || b24_batch::give(Batch::default()))
}

/// Adds an update; the arguments are those of b24_message_status_update, and are copied. The last
/// status given for a message is the one that stands.
///
/// One thread at a time. Never fails: an update that cannot be sent has B24_INVALID_ARGUMENT as
/// its fate, and the others are sent all the same. With batch NULL it does nothing.
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
pub unsafe extern "C" fn b24_batch_len(batch: *const b24_batch) -> usize {
    // SAFETY: by the header's conventions, `batch` is NULL or live and not being changed.
    unsafe { b24_batch::borrow(batch) }.map_or(0, |batch| batch.entries.len())
}

/// Sends the updates of a batch, 50 a request, and waits for their fates.
///
/// B24_OK if every update was applied; else the code and a copy of the error of the first, in the
/// order added, that was not, and b24_batch_error tells the fate of each. The client: any thread,
/// any number at once; the batch: one thread at a time. A batch may be sent again, all of it: an
/// update is idempotent, and the fates are replaced. Returns by timeout_ms. If client is NULL,
/// that is also the fate of each update.
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
            batch.send(b24_client::borrow(client))
        })
    }
}

/// The fate of the update with this index, counted from 0 in the order added: NULL if it was
/// applied, else why not. Before the batch is sent no update has been applied, nor has one that
/// was never added: the error says so.
///
/// Borrowed: it lives until the batch is sent again or freed, and is not to be freed. One thread
/// at a time. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_batch_error(
    batch: *const b24_batch,
    index: usize,
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
            .fate
            .as_ref()
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
