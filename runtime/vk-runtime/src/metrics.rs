//! Pages of metrics, in OpenMetrics' text format: that of a node, at `/metrics` of its kubelet API, and that of the process.
//!
//! A node's page has what its provider reports of this node, what calls of the provider cost over all its nodes, and the
//! limits; the process's has calls and limits of all providers.

use std::sync::Arc;

use components::{Program, Series};
use host_capabilities::audit::Audit;
use host_capabilities::metrics::{Metrics as ProviderMetrics, Registered};
use host_capabilities::quota::LimitMetrics;
use kubelet_api::Metrics;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// The content type of a page.
pub const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page.
pub struct Page(Registry);

impl Page {
    /// Of a node.
    pub fn of_node(
        provider: Arc<ProviderMetrics>,
        program: &Arc<Program>,
        limits: &LimitMetrics,
        audit: &Audit,
    ) -> Self {
        let program = program.clone();
        let mut page = Self::of_process(move || vec![program.clone()], limits, audit);
        page.0.register_collector(Box::new(Registered(provider)));
        page
    }

    /// Of the process, with the programs that there are whenever it is asked for.
    pub fn of_process(
        programs: impl Fn() -> Vec<Arc<Program>> + Send + Sync + 'static,
        limits: &LimitMetrics,
        audit: &Audit,
    ) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Series::of(programs)));
        registry.register_collector(Box::new(limits.clone()));
        registry.register_collector(Box::new(audit.clone()));
        Self(registry)
    }
}

impl Metrics for Page {
    fn text(&self) -> String {
        let mut page = String::new();
        if let Err(error) = text::encode(&mut page, &self.0) {
            tracing::error!(%error, "the metrics can't be written");
        }
        page
    }
}
