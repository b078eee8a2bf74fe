use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::printable::BoxError;

/// The cause of an [`Error`](crate::Error). Clones of that error share one cause.
///
/// The cause dereferences to the underlying error, so `is` and `downcast_ref` find out the type of that
/// error.
///
/// # Examples
///
/// ```
/// use engineio::{Client, Error};
///
/// let connected = Client::new().connect("http://localhost:1");
/// if let Err(Error::Connection { source: Some(cause), .. }) = connected {
///     if let Some(error) = cause.downcast_ref::<std::io::Error>() {
///         println!("the system says: {error}");
///     }
/// }
/// ```
#[derive(Clone)]
pub struct ErrorCause(Arc<dyn StdError + Send + Sync>);

impl ErrorCause {
    pub(crate) fn new(cause: BoxError) -> Self {
        ErrorCause(cause.into())
    }
}

// There is no `impl Error`: an error's `source` is the underlying error itself, so that it can be downcast.
impl Deref for ErrorCause {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for ErrorCause {
    fn from(error: E) -> Self {
        ErrorCause(Arc::new(error))
    }
}

impl fmt::Display for ErrorCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ErrorCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}
