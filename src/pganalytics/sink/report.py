"""What an audit says: `emitted = stored + dead + shed + in_spool + in_kafka + missing`, with integers. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pganalytics.schemas.identity import Stream
from pganalytics.schemas.ranges import Ranges
from pganalytics.sink.epoch_ends import OddEpoch


@dataclass(frozen=True, slots=True)
class Counts:
    """Records by what became of them. `duplicates`: rows that are there twice, or that the ledger does not know."""

    emitted: int = 0
    stored: int = 0
    dead: int = 0
    shed: int = 0
    in_spool: int = 0
    in_kafka: int = 0
    missing: int = 0
    duplicates: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @property
    def balanced(self) -> bool:
        """Whether every emitted record is exactly one of the six."""
        return self.emitted == self.stored + self.dead + self.shed + self.in_spool + self.in_kafka + self.missing

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way."""
        return self.in_spool == 0 and self.in_kafka == 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Records of one stream. `what`: missing, row_missing (the ledger says stored, the row is gone) or double.

    `exact` is False when retention has removed some of these rows, so that they are all that it can be.
    """

    what: str
    stream: Stream
    seqs: Ranges
    exact: bool = True


@dataclass(frozen=True, slots=True)
class DeadReason:
    """Records of a collector that are dead for one reason. `reason` is empty where it is known no longer."""

    collector: str
    reason: str
    records: int


@dataclass(frozen=True, slots=True)
class OddThings:
    """What the store says beside the counts."""

    epochs: tuple[OddEpoch, ...] = ()
    reasons: tuple[DeadReason, ...] = ()


NOTHING_ODD = OddThings()


@dataclass(frozen=True, slots=True)
class AuditReport:
    """`collectors` by id, in order. `absent`: a collector that was asked for and that the store has never seen.

    `epochs`: those that did not end as they should. `reasons`: why records are dead, as far as it is still known.
    """

    deep: bool
    collectors: Mapping[str, Counts]
    findings: tuple[Finding, ...] = ()
    absent: str | None = None
    epochs: tuple[OddEpoch, ...] = ()
    reasons: tuple[DeadReason, ...] = ()

    @property
    def total(self) -> Counts:
        """All collectors together."""
        return sum(self.collectors.values(), Counts())

    @property
    def unbalanced(self) -> tuple[str, ...]:
        """Collectors whose records do not add up."""
        return tuple(name for name, counts in self.collectors.items() if not counts.balanced)

    @property
    def ok(self) -> bool:
        """Nothing missing, nothing double, no spool gone, and everything adds up."""
        total = self.total
        sound = total.missing == 0 and total.duplicates == 0 and not self.unbalanced and self.absent is None
        return sound and not any(epoch.what == "orphaned" for epoch in self.epochs)

    def to_json(self) -> dict[str, Any]:
        """For `audit --json`."""
        return {
            "ok": self.ok,
            "deep": self.deep,
            "total": asdict(self.total),
            "collectors": {name: asdict(counts) for name, counts in self.collectors.items()},
            "unbalanced": list(self.unbalanced),
            "absent": self.absent,
            "findings": [_as_json(finding) for finding in self.findings],
            "epochs": [_epoch_as_json(epoch) for epoch in self.epochs],
            "reasons": [asdict(reason) for reason in self.reasons],
        }


def report(
    counts: Iterable[tuple[str, Counts]], *, deep: bool, collector: str | None, findings: Iterable[Finding], odd: OddThings
) -> AuditReport:
    """A report from counts per collector or per stream."""
    summed: dict[str, Counts] = {}
    for name, count in counts:
        summed[name] = summed.get(name, Counts()) + count
    absent = collector if collector is not None and collector not in summed else None
    return AuditReport(deep, dict(sorted(summed.items())), tuple(findings), absent, odd.epochs, odd.reasons)


def _as_json(finding: Finding) -> dict[str, Any]:
    stream = finding.stream
    return {
        "what": finding.what,
        "collector": stream.collector,
        "epoch": stream.epoch,
        "lane": stream.lane.value,
        "seqs": str(finding.seqs),
        "exact": finding.exact,
    }


def _epoch_as_json(odd: OddEpoch) -> dict[str, Any]:
    who = odd.who
    return {
        "what": odd.what,
        "collector": who.collector,
        "epoch": who.epoch,
        "spool_id": who.spool_id,
        "heartbeat_at": who.heartbeat_at and who.heartbeat_at.isoformat(),
        "omitted_from": who.omitted_from and who.omitted_from.isoformat(),
        "emitted": {lane.value: seq for lane, seq in odd.emitted.items()},
        "unsent": {lane.value: str(seqs) for lane, seqs in odd.unsent.items()},
    }
