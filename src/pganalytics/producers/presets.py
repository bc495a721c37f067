"""Which metrics are collected when the settings do not say so one by one. Closed lists; a test compares them with the metrics."""

from collections.abc import Mapping

MINIMAL = frozenset("heartbeat metric_status database statements query_text blocking replication replication_slots".split())
"""What tells whether a server is well, and what its statements cost."""
COSTLY = frozenset({"bloat", "schema"})
"""On demand: their readings take long on databases with very many relations."""
LOCAL = frozenset({"host"})
"""Metrics of the agent's own machine: for targets on it."""
NOT_IN_CLOUDS = frozenset({"host"})


def metrics_of(preset: str, metrics: Mapping[str, object]) -> frozenset[str]:
    """The names that a preset switches on, out of all builtin ones."""
    names = frozenset(metrics)
    chosen = {
        "minimal": MINIMAL,
        "standard": names - COSTLY,
        "full": names,
        "cloud": names - COSTLY - NOT_IN_CLOUDS,
    }
    return chosen[preset] & names
