"""The demo's screen: live on a terminal, plain lines elsewhere. All of it goes to standard error."""

import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pganalytics.cli.demo.watch import STAGES, STORED, Sample
from pganalytics.cli.shell import printable

NEWS_SHOWN = 6
PLAIN_EVERY_S = 5.0
SMOOTHING_S = 10.0


class Screen:
    """Shows samples and news. Any thread may call `tell`; one thread calls `show`."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._began = time.monotonic()
        self._news: deque[str] = deque(maxlen=NEWS_SHOWN)
        self._samples: deque[Sample] = deque()
        self._shown_at = 0.0
        self._live: Live | None = None

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop_live()

    def tell(self, line: str) -> None:
        """Something that happened, with the seconds since the start of the command."""
        stamped = f"{time.monotonic() - self._began:6.1f} s  {line}"
        self._news.append(stamped)
        if self._live is None:
            self._console.print(Text(stamped), soft_wrap=True)

    def start_live(self) -> None:
        """From here on the screen is redrawn in place, when there is one."""
        if self._console.is_terminal:
            self._news.clear()  # what was told so far stands above
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def stop_live(self) -> None:
        """Back to plain lines."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, sample: Sample, *, down: str | None = None) -> None:
        """A new sample. `down`: what the demo has killed."""
        dead = ", ".join([*([down] if down else []), *map(printable, sample.down)])
        self._samples.append(sample)
        while len(self._samples) > 2 and sample.at_s - self._samples[1].at_s >= SMOOTHING_S:
            self._samples.popleft()
        if self._live is not None:
            self._live.update(self._picture(sample, dead))
        elif sample.at_s - self._shown_at >= PLAIN_EVERY_S:
            self._shown_at = sample.at_s
            self.tell(self._line(sample) + (f", down: {dead}" if dead else ""))

    def _line(self, sample: Sample) -> str:
        before = self._samples[0]
        stages = [
            f"{stage} {sample.records.get(stage, 0)} ({sample.rate(before, stage):.1f}/s, "
            f"{sample.rate(before, stage, rows=True):.0f} rows/s)"
            for stage in STAGES
        ]
        return ", ".join([*stages, _lags(sample), f"events {_events(sample)}"])

    def _picture(self, sample: Sample, dead: str) -> Group:
        before = self._samples[0]
        stages = Table(title="records", title_justify="left", box=None, padding=(0, 2))
        for heading in ("stage", "records", "records/s", "rows/s"):
            stages.add_column(heading, justify="left" if heading == "stage" else "right")
        for stage in STAGES:
            stages.add_row(
                stage,
                str(sample.records.get(stage, 0)),
                f"{sample.rate(before, stage):.1f}",
                f"{sample.rate(before, stage, rows=True):.0f}",
            )
        footer = Text(f"{_lags(sample)}   events: {_events(sample)}   stored rows: {sample.rows.get(STORED, 0)}")
        keys = Text("Ctrl-C drains the pipeline and proves the count", style="dim")
        trouble = [Text(f"down: {dead}", style="bold red")] if dead else []
        return Group(*map(Text, self._news), Text(), *trouble, stages, Text(), _statements(sample), Text(), footer, keys)


def _statements(sample: Sample) -> Table:
    table = Table(title="top statements, last 15 s", title_justify="left", box=None, padding=(0, 2))
    for heading in ("target", "database", "calls", "ms", "rows", "statement"):
        table.add_column(
            heading,
            justify="right" if heading in ("calls", "ms", "rows") else "left",
            no_wrap=True,
            overflow="ellipsis" if heading == "statement" else "fold",
        )
    for one in sample.statements:
        statement = _printable(one.text) or f"queryid {one.queryid}"
        numbers = (str(one.calls), f"{one.exec_ms:.1f}", str(one.rows))
        table.add_row(Text(_printable(one.collector)), Text(_printable(one.database)), *numbers, Text(statement))
    if not sample.statements:
        table.add_row("(the first interval is being measured)")
    return table


def _printable(text: str) -> str:
    """On one line, without control characters: texts of targets are hostile."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _lags(sample: Sample) -> str:
    streams = "?" if sample.lag_streams is None else sample.lag_streams
    sink = "?" if sample.lag_sink is None else sample.lag_sink
    return f"lag streams {streams}, sink {sink}, spool {sample.spool_records} ({sample.spool_bytes} B)"


def _events(sample: Sample) -> str:
    return _listed(f"{kind} {count}" for kind, count in sample.events.items())


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts) or "none"
