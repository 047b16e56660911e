//! What the tests of this crate stand on: a guest without code, backends on loopback, and an authority for their
//! certificates.

pub(crate) mod authority;
pub(crate) mod backend;
pub(crate) mod guest;
pub(crate) mod lines;
pub(crate) mod request;
