//! The page `/metrics` of the kubelet API: what the provider counts. In OpenMetrics' text format.

use std::sync::Arc;

use host_capabilities::metrics::{Metrics as ProviderMetrics, Registered};
use kubelet_api::Metrics;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// The page.
pub struct Page(Registry);

impl Page {
    /// With the series of this provider.
    pub fn of(provider: Arc<ProviderMetrics>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Registered(provider)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_provider_and_ends_as_the_format_wants() {
        let page = Page::of(Arc::new(ProviderMetrics::new("mock".into()))).text();
        assert!(page.contains(r#"provider="mock""#) && page.ends_with("# EOF\n"), "{page}");
    }
}
