//! The websocket transport: frames, ends and the compression of messages.

#[path = "../common/mod.rs"]
mod common;

mod compression;
mod drain;
mod ends;
mod messages;
