"""What another settings file means for the collectors of an agent, and what becomes of their epochs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pganalytics.producers.beats import Pulsing
from pganalytics.producers.collectors import Job, resolve_jobs
from pganalytics.producers.group_commit import Refused
from pganalytics.producers.membership import Changes, Membership, changes_of
from pganalytics.producers.spool import Spool
from pganalytics.runtime.settings import Settings
from pganalytics.schemas.metric import builtin_schemas

A, B = {"name": "a", "host": "db1.example"}, {"name": "b", "host": "db2.example", "password": "s3cret"}


def jobs_of(*targets: dict[str, Any], **sections: Any) -> list[Job]:
    return resolve_jobs(Settings.model_validate({"targets": targets, **sections}), builtin_schemas(), "machine")


def changes(begun: str = "", changed: str = "", ended: str = "") -> Changes:
    return Changes(frozenset(begun), frozenset(changed), frozenset(ended))


@pytest.mark.parametrize(
    ("targets", "sections", "expected"),
    [
        ([A, B], {}, changes()),
        ([B, A], {}, changes()),
        ([A, B], {"collect": {"workers": 3}, "kafka": {"prefix": "other"}}, changes()),
        ([{**A, "port": 5432, "preset": "standard"}, B], {}, changes(changed="a")),
        ([A, B, {"name": "c"}], {}, changes(begun="c")),
        ([B], {}, changes(ended="a")),
        ([{**A, "name": "c"}, B], {}, changes(begun="c", ended="a")),
        ([{**A, "host": "db3.example"}, B], {}, changes(changed="a")),
        ([A, {**B, "password": "0ther"}], {}, changes(changed="b")),
        ([{**A, "exclude_databases": ["x*"]}, B], {}, changes(changed="a")),
        ([{**A, "pool_max": 3}, B], {}, changes(changed="a")),
        ([A, {**B, "metrics": {"locks": {"enabled": False}}}], {}, changes(changed="b")),
        ([A, {**B, "metrics": {"locks": {"interval_s": 7}}}], {}, changes(changed="b")),
        ([A, B], {"metrics": {"statements": {"limit": 200}}}, changes(changed="ab")),
        ([A, B], {"metrics": {"bloat": {"interval_s": 77}}}, changes()),
        ([A, B], {"collect": {"preset": "full"}}, changes(changed="ab")),
        ([A, {**B, "preset": "full"}], {"collect": {"preset": "minimal"}}, changes(changed="ab")),
    ],
)
def test_only_those_of_which_something_is_otherwise_change(
    targets: list[dict[str, Any]], sections: dict[str, Any], expected: Changes
) -> None:
    """`bloat` is in no preset but full: nobody reads it, so its interval changes nobody."""
    assert changes_of(jobs_of(A, B), jobs_of(*targets, **sections)) == expected


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool.open(tmp_path / "state")
    yield made
    made.close()


def test_who_comes_begins_an_epoch_and_who_stays_keeps_his(spool: Spool) -> None:
    members = Membership(spool, jobs_of(A, B))
    before = dict(members.epochs)
    states = dict(members.states)
    assert members.take(jobs_of({**A, "port": 6000}, {"name": "c"}), members.epochs.items()) == changes("c", "a", "b")
    assert members.named == {"a", "c"}
    assert members.epochs["a"] == before["a"]
    assert members.states["a"] is states["a"], "its counts go on"
    assert members.epochs["b"] == before["b"], "what it read last goes out under it"
    assert members.pulsing()["b"] == Pulsing(before["b"], 30.0, named=False)
    members.take(jobs_of(A, B), members.epochs.items())
    assert members.epochs["b"] != before["b"]
    assert members.states["b"] is not states["b"]
    assert members.pulsing()["b"].named


def test_who_has_gone_is_forgotten_when_its_epoch_has_ended(spool: Spool) -> None:
    members = Membership(spool, jobs_of(A, B))
    members.take(jobs_of(A), members.epochs.items())
    members.end("b")
    assert members.states["b"].seen()[0].error == "not_configured"
    members.take(jobs_of(A), members.epochs.items())
    assert "b" in members.states, "its final heartbeat is to come"
    members.take(jobs_of(A), {("a", members.epochs["a"])})
    assert set(members.states) == set(members.epochs) == {"a"}


def test_a_spool_without_room_changes_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    members = Membership(spool, jobs_of(A))
    before = (members.jobs, members.named, dict(members.epochs), dict(members.states))

    def refuse(*_: object) -> None:
        raise Refused("disk")

    with monkeypatch.context() as full:
        full.setattr(Spool, "start_epoch", refuse)
        with pytest.raises(Refused):
            members.take(jobs_of(A, B), members.epochs.items())
    assert (members.jobs, members.named, members.epochs, members.states) == before
    assert members.take(jobs_of(A, B), members.epochs.items()) == changes(begun="b")
