use std::fmt;
use std::sync::Arc;

use log::{Level, Log, Record};

/// The target of every line that the crate logs.
const TARGET: &str = "engineio";

/// Where a client's log lines go.
///
/// Levels: error for failed handlers, warn for fallbacks and losses, info for states and transports,
/// debug for packets (sizes, not contents), trace for contents.
#[derive(Clone, Default)]
pub(crate) enum Logger {
    /// The `log` facade of the process.
    #[default]
    Facade,
    /// A log of the client's own.
    Own(Arc<dyn Log>),
    /// The facade, and nothing but errors.
    ErrorsOnly,
}

impl Logger {
    fn sink(&self) -> &dyn Log {
        match self {
            Logger::Own(own) => own.as_ref(),
            Logger::Facade | Logger::ErrorsOnly => log::logger(),
        }
    }

    pub(crate) fn enabled(&self, level: Level) -> bool {
        match self {
            // The facade's own cheap filter, as its macros use it.
            Logger::Facade => level <= log::max_level(),
            Logger::ErrorsOnly => level == Level::Error && level <= log::max_level(),
            Logger::Own(_) => true,
        }
    }

    pub(crate) fn log(&self, level: Level, args: fmt::Arguments<'_>) {
        if !self.enabled(level) {
            return;
        }
        let record = Record::builder().level(level).target(TARGET).args(args).build();
        let sink = self.sink();
        if sink.enabled(record.metadata()) {
            sink.log(&record);
        }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Logger::Facade => "Facade",
            Logger::Own(_) => "Own",
            Logger::ErrorsOnly => "ErrorsOnly",
        })
    }
}

/// `log!(logger, Level, "...")`: the arguments are formatted only when the level is on.
macro_rules! log {
    ($logger:expr, $level:ident, $($arg:tt)+) => {
        $logger.log(::log::Level::$level, format_args!($($arg)+))
    };
}
pub(crate) use log;
