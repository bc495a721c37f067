"""What an event says of its cause is what the facts allow, and no more."""

import pytest

from pganalytics.schemas.events import EventKind
from pganalytics.streams.causes import Cause, Facts, cause, describe

K = EventKind


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (Facts(K.SILENT), Cause.UNKNOWN),
        (Facts(K.SILENT, up=False), Cause.UNKNOWN),
        (Facts(K.SILENT, stopped=True), Cause.AGENT_STOPPED),
        (Facts(K.SILENT, stopped=True, others_came=True), Cause.AGENT_STOPPED),
        (Facts(K.SILENT, others_came=True), Cause.LAG),
        (Facts(K.BACK), Cause.AGENT_DOWN),
        (Facts(K.BACK, waited=True), Cause.AGENT_DOWN),
        (Facts(K.BACK, stopped=True), Cause.AGENT_STOPPED),
        (Facts(K.BACK, same_epoch=True), Cause.UNKNOWN),
        (Facts(K.BACK, same_epoch=True, waited=True), Cause.NETWORK),
        (Facts(K.GAP), Cause.UNKNOWN),
        (Facts(K.GAP_FILLED), Cause.NETWORK),
        (Facts(K.GAP_CONFIRMED), Cause.UNKNOWN),
        (Facts(K.GAP_CONFIRMED, up=False, over_quota=True), Cause.UNKNOWN),
        (Facts(K.TAIL), Cause.LAG),
        (Facts(K.SEQ_REUSED), Cause.UNKNOWN),
    ],
)
def test_the_cause(facts: Facts, why: Cause) -> None:
    assert cause(facts) is why


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (Facts(K.GAP), "unknown: told"),
        (Facts(K.GAP, up=True), "unknown: told"),
        (Facts(K.GAP, up=False), "unknown: told; target down"),
        (Facts(K.TAIL, up=False, silent=True, over_quota=True), "lag: told; target down; collector silent; over quota"),
    ],
)
def test_what_is_told_beside_it(facts: Facts, text: str) -> None:
    assert describe(facts, "told") == text
