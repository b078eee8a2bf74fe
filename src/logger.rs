use std::fmt;
use std::sync::Arc;

use log::{Level, Log, Record};

use crate::guarded::guarded;

/// The target of every line that the crate logs.
const TARGET: &str = "engineio";

/// Where a client's log lines go: the `log` facade of the process, or a log of the client's own.
///
/// Levels: error for failed handlers, warn for fallbacks and losses, info for states and transports,
/// debug for packets (sizes, not contents), trace for contents.
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
        // The facade has a cheap filter of its own, which its macros ask first.
        let wanted = self.own.is_some() || level <= log::max_level();
        wanted && (level == Level::Error || !self.errors_only)
    }

    pub(crate) fn log(&self, level: Level, args: fmt::Arguments<'_>) {
        if !self.enabled(level) {
            return;
        }
        let record = Record::builder().level(level).target(TARGET).args(args).build();
        let sink = self.own.as_deref().unwrap_or_else(|| log::logger());
        // One that panics must not end what it is told about; there is nobody else to tell.
        let _ = guarded(|| {
            if sink.enabled(record.metadata()) {
                sink.log(&record);
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

/// `log!(logger, Level, "...")`: the arguments are formatted only when the level is on.
macro_rules! log {
    ($logger:expr, $level:ident, $($arg:tt)+) => {
        $logger.log(::log::Level::$level, format_args!($($arg)+))
    };
}
pub(crate) use log;
