use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::guarded::guarded;
use crate::printable::Printable;

/// The target of every line that the crate logs.
const TARGET: &str = "engineio";

/// The destination of a client's log lines: the `log` facade of the process, or a log of the client's own.
/// Without any of them, errors go to stderr.
///
/// Failed handlers are logged at the level error, fallbacks and losses at warn, states and transports at
/// info, packets with their sizes at debug, and the contents of packets at trace. Control characters are
/// logged as escapes, so that each record is one line.
#[derive(Clone, Default)]
pub(crate) struct Logger {
    own: Option<Arc<dyn Log>>,
    errors_only: bool,
    quiet: bool,
}

impl Logger {
    pub(crate) fn set_own(&mut self, own: Arc<dyn Log>) {
        self.own = Some(own);
    }

    pub(crate) fn set_errors_only(&mut self) {
        self.errors_only = true;
    }

    pub(crate) fn set_quiet(&mut self) {
        self.quiet = true;
    }

    pub(crate) fn enabled(&self, level: Level) -> bool {
        // The facade's macros ask this cheap filter first, so this function does too.
        let wanted = self.own.is_some() || level <= log::max_level();
        level == Level::Error || (wanted && !self.errors_only)
    }

    /// True if errors go to stderr, because there is no logger.
    pub(crate) fn uses_stderr(&self) -> bool {
        self.own.is_none() && !self.quiet && !is_installed()
    }

    /// Logs a warning that also goes to stderr if there is no logger, because the program does not do what
    /// its author expects.
    pub(crate) fn warn_user(&self, args: fmt::Arguments<'_>) {
        let to_stderr = self.uses_stderr() && !self.errors_only;
        self.log(if to_stderr { Level::Error } else { Level::Warn }, args);
    }

    pub(crate) fn log(&self, level: Level, args: fmt::Arguments<'_>) {
        if !self.enabled(level) {
            return;
        }
        if level == Level::Error && self.uses_stderr() {
            return print(args);
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

/// True if the process has a logger.
///
/// The facade does not tell whether a logger was set. Its placeholder has no size and enables nothing. A
/// logger without a size that disables this crate's errors is taken for it.
fn is_installed() -> bool {
    let logger = log::logger();
    let error = Metadata::builder().level(Level::Error).target(TARGET).build();
    // A logger that panics is one.
    let enables = || guarded(|| logger.enabled(&error)).unwrap_or(true);
    log::max_level() != LevelFilter::Off && (size_of_val(logger) > 0 || enables())
}

/// Writes a line to stderr, at once, so that lines of several threads do not mix. It is ignored if stderr is
/// closed or broken, where `eprintln!` would panic.
fn print(args: fmt::Arguments<'_>) {
    let mut line = String::new();
    // The arguments are texts of the user's errors. They may panic, too.
    let formatted = guarded(|| fmt::write(&mut line, format_args!("{TARGET}: {}\n", Printable(args))));
    if let Ok(Ok(())) = formatted {
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger")
            .field("own", &self.own.is_some())
            .field("errors_only", &self.errors_only)
            .field("quiet", &self.quiet)
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
