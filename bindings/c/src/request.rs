//! `b24_request`.
#![cfg_attr(
    not(feature = "provider"),
    allow(unused, reason = "without a provider there are no requests")
)]

use crate::code::b24_code;
use crate::error::{attempt, b24_error};
use crate::ffi::{Handle, c_string, give_out, guard, is_null, set_out};
use crate::list::{List, b24_list};
use libc::c_char;
use std::ffi::{CStr, CString};

/// What a portal wants of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub enum b24_request_kind {
    /// A message is to be sent.
    B24_REQUEST_MESSAGE = 0,
    /// The application was installed. The provider has the installation already.
    B24_REQUEST_INSTALL = 1,
    /// The application was removed. The provider has forgotten its tokens already.
    B24_REQUEST_UNINSTALL = 2,
    /// A page of the application was opened in a frame. Nothing was stored. On the page of the
    /// installation wizard, and on no other, give the request to b24_provider_install_request.
    B24_REQUEST_FRAME = 3,
}

/// A request that a portal has made to the provider's handler, checked to be the portal's. It comes
/// from b24_provider_receive. It never changes, so any number of threads may read it at once. The
/// tokens among its fields are secrets.
pub struct b24_request {
    _private: [u8; 0],
}

impl Handle for b24_request {
    type Value = Received;
}

#[cfg(feature = "provider")]
pub(crate) type Request = b24_messageservice::Request;
/// Without the feature there is none.
#[cfg(not(feature = "provider"))]
pub(crate) type Request = std::convert::Infallible;

/// A request, and its texts as C strings.
pub(crate) struct Received {
    request: Request,
    kind: b24_request_kind,
    member_id: CString,
    client_endpoint: CString,
    fields: Vec<[CString; 2]>,
}

#[cfg(feature = "provider")]
impl From<Request> for Received {
    fn from(request: Request) -> Self {
        use b24_messageservice::RequestKind;
        Self {
            kind: match request.kind() {
                RequestKind::Message => b24_request_kind::B24_REQUEST_MESSAGE,
                RequestKind::Install => b24_request_kind::B24_REQUEST_INSTALL,
                RequestKind::Uninstall => b24_request_kind::B24_REQUEST_UNINSTALL,
                RequestKind::Frame => b24_request_kind::B24_REQUEST_FRAME,
            },
            member_id: c_string(request.member_id()),
            client_endpoint: c_string(request.client_endpoint()),
            fields: request
                .fields()
                .map(|(name, value)| [c_string(name), c_string(value)])
                .collect(),
            request,
        }
    }
}

impl Received {
    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    fn get(&self, name: &CStr) -> Option<&CStr> {
        if name == c"member_id" {
            return Some(&self.member_id);
        }
        if name == c"client_endpoint" {
            return Some(&self.client_endpoint);
        }
        let mut fields = self.fields.iter();
        fields.find_map(|[known, value]| (known.as_c_str() == name).then_some(value.as_c_str()))
    }
}

/// What the portal wants. B24_REQUEST_MESSAGE, which is 0, for NULL.
///
/// Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_request_kind_of(request: *const b24_request) -> b24_request_kind {
    // SAFETY: by the header's conventions, `request` is NULL or live.
    let request = unsafe { b24_request::borrow(request) };
    request.map_or(b24_request_kind::B24_REQUEST_MESSAGE, |request| {
        request.kind
    })
}

/// A field of the request under the portal's own name, such as "message_id", "message_to" or
/// "auth[user_id]"; "" if there is none. The names member_id, the portal's permanent id, and
/// client_endpoint, its REST address, stand for what the request says, wherever it says it.
///
/// The text lives as long as the request. "" for NULL. Any thread. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_request_get(
    request: *const b24_request,
    name: *const c_char,
) -> *const c_char {
    if name.is_null() {
        return c"".as_ptr();
    }
    // SAFETY: by the header's conventions, `request` is NULL or live, and `name` is NUL-terminated.
    let (request, name) = unsafe { (b24_request::borrow(request), CStr::from_ptr(name)) };
    request
        .and_then(|request| request.get(name))
        .unwrap_or_default()
        .as_ptr()
}

/// All fields of the request, in their order: a row for each, with "name" and "value".
///
/// The caller frees *list with b24_list_free; it does not depend on the request. Any thread.
/// B24_INVALID_ARGUMENT if request is NULL; *list is then NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_request_fields(
    request: *const b24_request,
    list: *mut *mut b24_list,
    error: *mut *mut b24_error,
) -> b24_code {
    // SAFETY: by the header's conventions, `request` is NULL or live, and `list` and `error` are
    // NULL or places.
    unsafe {
        set_out(list, std::ptr::null_mut());
        attempt(error, || {
            let request = b24_request::borrow(request).ok_or_else(|| is_null("request"))?;
            let rows = request.fields.iter().cloned();
            give_out(list, List::new(&[c"name", c"value"], rows));
            Ok(())
        })
    }
}

/// Frees a request and its texts. NULL is allowed.
///
/// Any thread, once. Cannot fail.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn b24_request_free(request: *mut b24_request) {
    // SAFETY: by the header's conventions, the caller owns `request` and does not use it again.
    guard((), || unsafe { b24_request::free(request) });
}
