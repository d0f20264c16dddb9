//! Batches: reads their items, and tells what became of each.

use crate::arguments::Unsendable;
use crate::limits::CancelToken;
use crate::{errors, waiting};
use b24_messageservice::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyList;

/// The items of a batch.
pub(crate) struct Batch<T> {
    /// Those that the core can be given.
    pub(crate) sendable: Vec<T>,
    /// The others: the place of each, and what is wrong with it.
    pub(crate) unsendable: Vec<(usize, Error)>,
}

/// Reads an iterable to its end, unless the token is cancelled. `name` is that of the argument.
pub(crate) fn read<T>(
    items: &Bound<'_, PyAny>,
    name: &str,
    cancel: Option<&Bound<'_, CancelToken>>,
    convert: fn(&Bound<'_, PyAny>) -> Result<T, Unsendable>,
) -> PyResult<Batch<T>> {
    let mut batch = Batch {
        sendable: Vec::new(),
        unsendable: Vec::new(),
    };
    for (index, item) in items.try_iter()?.enumerate() {
        if waiting::give_way(items.py(), index)?
            && cancel.is_some_and(|token| token.get().inner.is_cancelled())
        {
            let fault =
                format!("the call was cancelled while {name} was read, and nothing was sent");
            let error = Error::new(ErrorKind::Cancelled, fault);
            return Err(errors::exception(items.py(), &error));
        }
        match convert(&item?) {
            Ok(item) => batch.sendable.push(item),
            Err(fault) => {
                let fault = fault.outcome(&format!("{name}[{index}]"));
                batch.unsendable.push((index, fault));
            }
        }
    }
    Ok(batch)
}

/// The outcomes in the order of the items: `None` or an exception for each.
pub(crate) fn outcomes(
    py: Python<'_>,
    sent: Vec<Result<(), Error>>,
    unsendable: Vec<(usize, Error)>,
) -> PyResult<Bound<'_, PyList>> {
    let mut sent = sent.into_iter();
    let mut unsendable = unsendable.into_iter().peekable();
    let list = PyList::empty(py);
    let mut exceptions = errors::Shared::default();
    for index in 0.. {
        let outcome = match unsendable.next_if(|(at, _)| *at == index) {
            Some((_, error)) => Err(error),
            None => match sent.next() {
                Some(outcome) => outcome,
                None => break,
            },
        };
        match outcome {
            Ok(()) => list.append(py.None())?,
            Err(error) => list.append(exceptions.get(py, error)?)?,
        }
        waiting::give_way(py, index)?;
    }
    Ok(list)
}
