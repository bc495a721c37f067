"""What sessions do and wait for, as rows. Pure."""

from collections.abc import Sequence

from pganalytics.cli.top.extracts import who
from pganalytics.cli.top.fleet import Fleet
from pganalytics.cli.top.fleet_rows import CLIENT
from pganalytics.cli.top.readings import Sessions
from pganalytics.cli.top.rows import WaitRow, targets_of

WHO_SHOWN = 3


def wait_rows(fleet: Fleet, now_us: int, chosen: str | None) -> list[WaitRow]:
    """What sessions do now. Those that are idle, and processes of the server that wait for work, are left out."""
    rows = []
    for target in targets_of(fleet, chosen):
        kept = target.fresh(target.activity, now_us)
        busy = [one for one in kept.value if _is_busy(one)] if kept is not None else []
        groups: dict[tuple[str, str], list[Sessions]] = {}
        for one in busy:
            groups.setdefault((one.state or one.backend, wait_of(one)), []).append(one)
        total = sum(one.count for one in busy)
        rows += [_wait_row(target.name, *alike, found, total) for alike, found in groups.items()]
    return rows


def wait_of(one: Sessions) -> str:
    """What is waited for; nothing: it runs."""
    return f"{one.wait_type}: {one.wait}" if one.wait_type else "(running)"


def _is_busy(one: Sessions) -> bool:
    return one.state not in ("idle", "disabled") and one.wait_type != "Activity" and (one.state != "" or one.backend != CLIENT)


def _wait_row(target: str, state: str, wait: str, found: Sequence[Sessions], total: int) -> WaitRow:
    people: dict[str, int] = {}
    for one in found:
        name = who(one.user, one.database, one.application) or one.backend
        people[name] = people.get(name, 0) + one.count
    first = sorted(people, key=lambda name: (-people[name], name))
    shown = ", ".join(f"{people[name]} {name}" for name in first[:WHO_SHOWN])
    count = sum(one.count for one in found)
    return WaitRow(
        target=target,
        sessions=count,
        share=count / total if total else 0.0,
        state=state,
        wait=wait,
        longest_query_s=max((one.longest_query_us / 1e6 for one in found if one.longest_query_us is not None), default=None),
        longest_transaction_s=max(
            (one.longest_transaction_us / 1e6 for one in found if one.longest_transaction_us is not None), default=None
        ),
        who=shown + (", ..." if len(first) > WHO_SHOWN else ""),
    )
