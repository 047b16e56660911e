//! Where a provider may connect to: what `http` and `dial` share.
//!
//! Two checks stand behind each other. The first is by name: a [`Rule`] of the operator must match scheme, host and
//! port. The second is by address, after resolution and for every connection anew: an address that is not global
//! unicast (loopback, link-local with the clouds' metadata services, private and other special ranges, in their IPv4,
//! IPv6 and mapped forms) must be granted as an address. A name that is granted therefore can't be pointed inside.
//!
//! Default: nothing is granted. Cost: one walk over the rules for each request.

mod address;
mod connect;
mod resolve;
mod rule;

pub use address::{AddressRange, is_global};
pub use connect::{ConnectError, Egress};
pub use resolve::{Resolve, SystemResolver};
pub use rule::{HostPattern, Rule, RuleError};
