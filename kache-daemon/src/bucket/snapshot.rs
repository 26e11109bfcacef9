//! The bucket's numbers, as `/v1/stats` and `/metrics` show them.

use serde::Serialize;

/// The remote's part of `/v1/stats`. Names are a contract.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    #[serde(flatten)]
    pub(super) remote: kache_remote::Snapshot,
    /// Requests that found their artifact's fetch under way.
    pub(super) joined_fetches: u64,
    /// Artifacts fetched ahead of demand.
    pub(super) prefetched: u64,
    /// Of these, how many were asked for.
    pub(super) prefetch_used: u64,
    /// Artifacts that wait for their upload.
    pub(super) queued_uploads: usize,
    /// Input sets that were left alone for what they name.
    pub(super) ignored_input_sets: u64,
    /// Artifacts that were refused for what they hold.
    pub(super) refused_artifacts: u64,
}

/// One metric: name, type, help, and rows of labels and value.
type Metric<'a> = &'a mut dyn FnMut(&str, &str, &str, &[(String, f64)]);

impl Snapshot {
    /// Bytes fetched, bytes stored, uploads that wait.
    pub(crate) fn gauges(&self) -> (u64, u64, u64) {
        (self.remote.get_bytes, self.remote.put_bytes, self.queued_uploads as u64)
    }

    /// The same for Prometheus.
    pub(crate) fn prometheus(&self, metric: Metric<'_>) {
        let Self { remote, joined_fetches, prefetched, prefetch_used, queued_uploads, ignored_input_sets, refused_artifacts } = self;
        let kache_remote::Snapshot {
            gets,
            get_bytes,
            not_found,
            puts,
            put_bytes,
            lists,
            errors,
            retries,
            connections_opened,
            credential_loads,
            breaker,
            credential_source,
            in_flight,
        } = remote;
        for (name, help, value) in [
            ("gets", "GET requests sent.", gets),
            ("get_bytes", "Bytes of objects that arrived.", get_bytes),
            ("not_found", "GETs whose object wasn't there.", not_found),
            ("puts", "PUT requests that succeeded.", puts),
            ("put_bytes", "Bytes of objects that were stored.", put_bytes),
            ("lists", "LIST requests sent.", lists),
            ("retries", "Requests sent again.", retries),
            ("connections_opened", "TCP connections opened.", connections_opened),
            ("credential_loads", "How often credentials were looked up.", credential_loads),
            ("joined_fetches", "Requests that joined a fetch under way.", joined_fetches),
            ("prefetched", "Artifacts fetched ahead of demand.", prefetched),
            ("prefetch_used", "Of these, how many were asked for.", prefetch_used),
            ("ignored_input_sets", "Input sets left alone for what they name.", ignored_input_sets),
            ("refused_artifacts", "Artifacts refused for what they hold.", refused_artifacts),
        ] {
            metric(&format!("remote_{name}_total"), "counter", help, &[(String::new(), *value as f64)]);
        }
        let kinds: Vec<_> = errors.iter().map(|(kind, count)| (format!("{{kind=\"{kind}\"}}"), *count as f64)).collect();
        metric("remote_errors_total", "counter", "Failed requests, by kind.", &kinds);
        let breakers = [("read", &breaker.read), ("write", &breaker.write)];
        let states = breakers.map(|(name, state)| (format!("{{breaker=\"{name}\",state=\"{state}\"}}"), 1.0));
        metric("remote_breaker", "gauge", "The breakers' states.", &states);
        metric("remote_queued_uploads", "gauge", "Artifacts that wait for their upload.", &[(String::new(), *queued_uploads as f64)]);
        metric("remote_in_flight", "gauge", "Requests under way.", &[(String::new(), *in_flight as f64)]);
        let source = format!("{{source={credential_source:?}}}");
        metric("remote_credential_source", "gauge", "Where the credentials come from.", &[(source, 1.0)]);
    }
}
