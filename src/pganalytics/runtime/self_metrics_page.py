"""The document of self-metrics, made from their list: `python -m pganalytics.runtime.self_metrics_page` prints it."""

import sys
from collections.abc import Iterator

from pganalytics.runtime.self_metrics import LABELS, SELF_METRICS, Service

HEAD = """\
# Self-metrics

Made from the list in `src/pganalytics/runtime/self_metrics.py` by `make docs`.

Each service answers `GET /metrics` in Prometheus' text format, at `http_host` and `http_port` of its section of the settings:
by default `127.0.0.1`, with port 9611 for `collect`, 9621 for `streams` and 9641 for `sink`. `streams --workers N`
takes as many ports from its first one on: the default has room for 20 before the sink's. Any other second process of a service
on one machine needs another port; 0 switches the endpoint off. There is neither a password nor TLS: whoever reaches the address
may read the names of collectors.

Sizes are bytes, durations are seconds, times are seconds since 1970. Counters begin at 0 with the process. Beside these, each
service has `process_*` (memory, processor time, open files, start), as Prometheus' own clients name them, where the system
tells them.
"""


def as_markdown() -> str:
    """The document."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield HEAD
    yield from ("## Labels", "", "| label | says |", "|---|---|")
    yield from (f"| `{name}` | {about} |" for name, about in LABELS.items())
    for service in Service:
        yield from ("", f"## {service}", "", "| name | type | labels | says |", "|---|---|---|---|")
        for one in SELF_METRICS:
            if one.service is service:
                labels = ", ".join(f"`{label}`" for label in one.labels)
                yield f"| `{one.name}` | {one.kind} | {labels} | {one.about} |"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
