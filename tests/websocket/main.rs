//! The websocket transport: frames, ends and the compression of messages.

mod compression;
mod drain;
mod ends;
mod messages;
