"""The server's own figures, in Prometheus' text format."""

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from realm_jax.serving.service import Service

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST


class Measured:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "realm_requests", "Requests answered.", ["path", "status"], registry=self._registry
        )  # fmt: skip
        self._seconds = Histogram(
            "realm_request_seconds", "Time of a request.", ["path"], registry=self._registry, buckets=SECONDS
        )
        self._batch = Histogram(
            "realm_batch_requests", "Requests in a batch.", registry=self._registry, buckets=(1, 2, 4, 8, 16, 32, 64)
        )

    def watch(self, service: Service) -> None:
        """Adds the figures of the service at the moment of reading."""
        live = service.live
        for name, about, read in (
            ("realm_queue_requests", "Requests that wait.", lambda: len(service.batcher)),
            ("realm_snapshot_age_seconds", "Age of the index in use.", lambda: service.snapshot_age_s() or 0.0),
            ("realm_model_swaps", "Times that newer results were taken over.", lambda: live.swaps),
            ("realm_model_failures", "Times that newer results could not be read.", lambda: live.failures),
            ("realm_warm", "1 when all programs are compiled.", lambda: float(live.warm)),
        ):
            Gauge(name, about, registry=self._registry).set_function(read)

    def request(self, path: str, status: int, seconds: float) -> None:
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, count: int) -> None:
        self._batch.observe(count)

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self._registry)
