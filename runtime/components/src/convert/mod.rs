//! Between the contract's types and the runtime's: the same things under the same names.

pub(crate) mod from_wit;
pub(crate) mod to_wit;
