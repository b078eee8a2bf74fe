//! Stand-ins for the cookie jar of ureq's agents, which exists only with ureq's feature `cookies`.
//!
//! This crate does not turn the feature on, because ureq would then parse the URL of each request twice, and
//! the cookies of a connection are in a jar of our own. A program that puts cookies into its agent turns the
//! feature on itself. ureq's own method and type then take precedence over these.

#![allow(dead_code, reason = "with ureq's feature `cookies`, none of this is used")]

use std::convert::Infallible;
use std::fmt;

use ureq::Agent;
use ureq::http::Uri;

pub(super) trait WithoutJar {
    /// Stands in for `Agent::cookie_jar_lock`, an inherent method, which takes precedence if it exists.
    fn cookie_jar_lock(&self) -> NoJar;
}

impl WithoutJar for Agent {
    fn cookie_jar_lock(&self) -> NoJar {
        NoJar
    }
}

/// Stands in for `ureq::CookieJar`.
pub(super) struct NoJar;

impl NoJar {
    pub(super) fn iter(&self) -> impl Iterator<Item = Cookie> {
        std::iter::empty()
    }

    pub(super) fn get(&self, _: &str, _: &str, _: &str) -> Option<Cookie> {
        None
    }

    pub(super) fn insert(&mut self, cookie: Cookie, _: &Uri) -> Result<(), Infallible> {
        match cookie {}
    }

    pub(super) fn remove(&mut self, _: &str, _: &str, _: &str) -> Option<Cookie> {
        None
    }

    pub(super) fn clear(&mut self) {}
}

/// Stands in for `ureq::Cookie`. It has no values, as there are no cookies.
pub(super) enum Cookie {}

impl Cookie {
    pub(super) fn parse(_: String, _: &Uri) -> Result<Self, fmt::Error> {
        Err(fmt::Error)
    }

    pub(super) fn name(&self) -> &str {
        match *self {}
    }

    pub(super) fn value(&self) -> &str {
        match *self {}
    }
}

impl fmt::Display for Cookie {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}
