"""How the streams end when they cannot begin."""

from collections.abc import Mapping

import pytest

from pganalytics.embedded.ports import HOST, free_port
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Settings
from pganalytics.streams import service


class Empty:
    """A topic without records."""

    def __init__(self, kafka: object, topic: str, **how: object) -> None:
        self.topic = topic

    def read_to_end(self, timeout_s: float) -> Mapping[bytes, bytes]:
        return {}

    def close(self) -> None:
        pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broker_that_goes_away_while_faust_starts_is_unreachable_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topics were checked a moment ago. A supervisor that restarts after 69 does so here, too."""
    monkeypatch.setattr(service, "topic_problems", lambda kafka, wanted: [])
    monkeypatch.setattr(service, "CompactedReader", Empty)
    kafka = {"bootstrap": f"{HOST}:{free_port()}", "development": True}
    settings = Settings.model_validate({"kafka": kafka, "streams": {"http_port": 0}})
    lifecycle = Lifecycle()
    with pytest.raises(Unreachable, match="no broker answers: start it"):
        service.run(settings, lifecycle)
    assert lifecycle.stopping


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_without_the_quotas_nothing_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "topic_problems", lambda kafka, wanted: [])
    kafka = {"bootstrap": f"{HOST}:{free_port()}", "development": True, "timeout_s": 1}
    settings = Settings.model_validate({"kafka": kafka, "streams": {"http_port": 0}})
    with pytest.raises(Unreachable, match=r"topic pganalytics\.quotas: its end cannot be asked"):
        service.run(settings, Lifecycle())
