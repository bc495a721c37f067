"""How the streams end when they cannot begin."""

import pytest

from pganalytics.embedded.ports import HOST, free_port
from pganalytics.runtime.errors import Unreachable
from pganalytics.runtime.lifecycle import Lifecycle
from pganalytics.runtime.settings import Settings
from pganalytics.streams import service


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_broker_that_goes_away_while_faust_starts_is_unreachable_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The topics were checked a moment ago. A supervisor that restarts after 69 does so here, too."""
    monkeypatch.setattr(service, "topic_problems", lambda kafka, wanted: [])
    kafka = {"bootstrap": f"{HOST}:{free_port()}", "development": True}
    settings = Settings.model_validate({"kafka": kafka, "streams": {"http_port": 0}})
    lifecycle = Lifecycle()
    with pytest.raises(Unreachable, match="no broker answers: start it"):
        service.run(settings, lifecycle)
    assert lifecycle.stopping
