//! Keeps a node's certificates good for as long as it runs.
//!
//! A renewal that fails is tried again after [`FIRST_PAUSE`], doubling to [`LONGEST_PAUSE`]; a condition of the Node says
//! what is wrong.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use provider::Condition;

use super::client::with_pair;
use super::{Folder, IdentityError, Joined, Pair, Purpose, request, user};
use crate::api::{Api, connect};
use crate::node::NodeConditions;

const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// The clock may be set: no sleep is longer.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The condition that tells of the serving certificate.
const SERVING: &str = "ServingCertificateApproved";
/// The condition that tells of the client certificate, when it can't be renewed.
const CLIENT: &str = "ClientCertificateRenewalFailed";

/// What a serving certificate is for: the names and addresses of its node. At least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServingNames {
    /// DNS names.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

/// Takes a certificate into use; says why it can't.
type Install = dyn Fn(&Pair) -> Result<(), String> + Send + Sync;

/// Keeps one certificate of one node: [`Keeper::run`].
pub struct Keeper {
    node: String,
    folder: Folder,
    purpose: Purpose,
    api: Api,
    conditions: NodeConditions,
    pair: Option<Pair>,
    bootstrap: Option<Api>,
    install: Arc<Install>,
}

impl Keeper {
    /// Of a node's client certificate: `api`, whose requests are under it, is given each new one.
    ///
    /// # Errors
    /// The bootstrap credentials can't be used.
    pub fn client(joined: Joined, api: Api, conditions: NodeConditions) -> Result<Self, IdentityError> {
        let bootstrap = Api::new(connect(&joined.bootstrap)?);
        let (own, base) = (api.clone(), joined.config);
        let install = move |pair: &Pair| {
            let client = connect(&with_pair(&base, pair)).map_err(|error| error.to_string())?;
            own.renew(client);
            Ok(())
        };
        Ok(Self {
            node: joined.node,
            folder: joined.folder,
            purpose: Purpose::Client,
            api,
            conditions,
            pair: Some(joined.pair),
            bootstrap: Some(bootstrap),
            install: Arc::new(install),
        })
    }

    /// Of a node's serving certificate; `install` is called with each that is approved, and with one from an earlier run
    /// if it is still good. Until then the node serves with what it has.
    pub fn serving(
        node: &str,
        folder: Folder,
        names: ServingNames,
        api: Api,
        conditions: NodeConditions,
        install: impl Fn(&Pair) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            node: node.to_owned(),
            folder,
            purpose: Purpose::Serving(names),
            api,
            conditions,
            pair: None,
            bootstrap: None,
            install: Arc::new(install),
        }
    }

    /// Keeps it, for ever.
    pub async fn run(mut self) {
        if self.pair.is_none() {
            self.pair = self.stored();
        }
        let mut failures = 0;
        loop {
            if failures == 0
                && let Some(pair) = &self.pair
            {
                wait_until(pair.renewal(fastrand::f64())).await;
            }
            match self.renew().await {
                Ok(pair) => {
                    failures = 0;
                    self.good(&pair);
                    self.pair = Some(pair);
                }
                Err(error) => {
                    self.bad(&error);
                    tokio::time::sleep(backed_off(failures, FIRST_PAUSE, LONGEST_PAUSE)).await;
                    failures += 1;
                }
            }
        }
    }

    /// The certificate of an earlier run, taken into use if it is good.
    fn stored(&self) -> Option<Pair> {
        let pair = self.folder.pair(&self.purpose).unwrap_or_else(|error| {
            tracing::warn!(node = self.node, %error, "another certificate is asked for");
            None
        })?;
        let covers = match &self.purpose {
            Purpose::Client => true,
            Purpose::Serving(names) => pair.covers(names),
        };
        let fits = covers && pair.user() == user(&self.node) && pair.is_valid(SystemTime::now());
        if !fits || self.take(&pair).is_err() {
            return None;
        }
        self.good(&pair);
        Some(pair)
    }

    fn take(&self, pair: &Pair) -> Result<(), IdentityError> {
        (self.install)(pair).map_err(|reason| IdentityError::Unusable { what: "new certificate".into(), reason })
    }

    async fn renew(&self) -> Result<Pair, IdentityError> {
        let expired = self.pair.as_ref().is_some_and(|pair| !pair.is_valid(SystemTime::now()));
        let api = match &self.bootstrap {
            Some(bootstrap) if expired => bootstrap,
            _ => &self.api,
        };
        let waiting = |name: &str| {
            if self.pair.is_none() {
                let message = format!(
                    "nobody has approved the request {name} yet; until then the kubelet API serves with a certificate \
                     that it signed itself"
                );
                self.tell(SERVING, "False", "WaitingForApproval", &message);
            }
        };
        let pair = request::certificate(api, &self.folder, &self.node, &self.purpose, waiting).await?;
        self.take(&pair)?;
        Ok(pair)
    }

    fn good(&self, pair: &Pair) {
        let until = jiff::Timestamp::try_from(pair.not_after()).unwrap_or(jiff::Timestamp::MAX);
        tracing::info!(node = self.node, purpose = self.purpose.word(), %until, "a certificate is in use");
        match self.purpose {
            Purpose::Client => self.conditions.clear(CLIENT),
            Purpose::Serving(_) => {
                let message = "the kubelet API serves with an approved certificate";
                self.tell(SERVING, "True", "Approved", message);
            }
        }
    }

    fn bad(&self, error: &IdentityError) {
        tracing::warn!(node = self.node, purpose = self.purpose.word(), %error, "no new certificate");
        match (&self.purpose, &self.pair) {
            (Purpose::Client, _) => self.tell(CLIENT, "True", reason(error), &error.to_string()),
            // The present one is good.
            (Purpose::Serving(_), Some(pair)) if pair.is_valid(SystemTime::now()) => {
                self.tell(SERVING, "True", "RenewalFailed", &error.to_string());
            }
            (Purpose::Serving(_), _) => self.tell(SERVING, "False", reason(error), &error.to_string()),
        }
    }

    fn tell(&self, kind: &str, status: &str, reason: &str, message: &str) {
        self.conditions.set(Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
    }
}

const fn reason(error: &IdentityError) -> &'static str {
    match error {
        IdentityError::Refused { .. } => "RequestRefused",
        IdentityError::Api { .. } | IdentityError::Client(_) => "RequestFailed",
        IdentityError::File { .. } | IdentityError::Unusable { .. } => "CertificateUnusable",
    }
}

/// The clock of certificates is the wall's.
async fn wait_until(at: SystemTime) {
    while let Ok(left) = at.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
        if left.is_zero() {
            return;
        }
    }
}

/// A pause that doubles with each failure, a fifth of it by chance.
pub(super) fn backed_off(failures: u32, first: Duration, longest: Duration) -> Duration {
    let pause = first.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(longest);
    pause.mul_f64(0.2_f64.mul_add(fastrand::f64(), 0.8))
}
