use std::fmt;
use std::sync::Arc;

use log::{Level, Log, Metadata, Record};

use crate::guarded::guarded;
use crate::printable::Printable;

/// The target of every line that the crate logs.
const TARGET: &str = "engineio";

/// The destination of a client's log lines: the `log` facade of the process, or a log of the client's own.
///
/// Failed handlers are logged at the level error, fallbacks and losses at warn, states and transports at
/// info, packets with their sizes at debug, and the contents of packets at trace. Control characters are
/// logged as escapes, so that each record is one line.
#[derive(Clone, Default)]
pub(crate) struct Logger {
    own: Option<Arc<dyn Log>>,
    errors_only: bool,
}

impl Logger {
    pub(crate) fn set_own(&mut self, own: Arc<dyn Log>) {
        self.own = Some(own);
    }

    pub(crate) fn set_errors_only(&mut self) {
        self.errors_only = true;
    }

    pub(crate) fn enabled(&self, level: Level) -> bool {
        // The facade's macros ask this cheap filter first, so this function does too.
        let wanted = self.own.is_some() || level <= log::max_level();
        wanted && (level == Level::Error || !self.errors_only)
    }

    pub(crate) fn log(&self, level: Level, args: fmt::Arguments<'_>) {
        if !self.enabled(level) {
            return;
        }
        let sink = self.own.as_deref().unwrap_or_else(|| log::logger());
        let metadata = Metadata::builder().level(level).target(TARGET).build();
        // A log that panics must not end the thread that logs. The panic is ignored, as it cannot be logged.
        let _ = guarded(|| {
            if sink.enabled(&metadata) {
                let args = Printable(args);
                sink.log(&Record::builder().metadata(metadata).args(format_args!("{args}")).build());
            }
        });
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger")
            .field("own", &self.own.is_some())
            .field("errors_only", &self.errors_only)
            .finish()
    }
}

/// Logs with `log!(logger, Level, "...")`. The arguments are formatted only if the level is enabled.
macro_rules! log {
    ($logger:expr, $level:ident, $($arg:tt)+) => {
        $logger.log(::log::Level::$level, format_args!($($arg)+))
    };
}
pub(crate) use log;
