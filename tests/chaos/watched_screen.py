"""What an operator sees: `status`, `top`, health pages and alerts, looked at again and again until they say what they should."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile

from alerts import Fired, Watcher, load_rules
from chaos.watched_scene import BEAT_S, Scene

ALERTS = "alerts"
PAGES = ("/livez", "/readyz")
BEATS = 2
"""Within so many heartbeats, and what a mechanism itself needs, the screen names what is wrong."""
TICK_S = 0.5
CURE = "      "
"""With this begins what to type, below what is wrong."""


@dataclass(frozen=True)
class Sight:
    """A line that must appear at a source: `status`, `top`, another command, `/readyz of sink`, or `alerts`.

    `wanted` is a pattern; `extra_s`, beyond two heartbeats, what the mechanism named by `why` needs. `new`: it must not have been
    there before the fault.
    """

    source: str
    wanted: str
    extra_s: float = 0.0
    why: str = ""
    new: bool = True

    @property
    def allowed_s(self) -> float:
        """After so long it is too late."""
        return BEATS * BEAT_S + self.extra_s


@dataclass(frozen=True)
class Seen:
    """The telling lines, and after how many seconds; None when they did not come in time."""

    sight: Sight
    after_s: float | None
    lines: Sequence[str]


@dataclass
class Screen:
    """Looks. Each source is looked at by one thread at a time."""

    scene: Scene
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        self.watcher = Watcher(self.scene.ports)

    def look(self, source: str) -> list[str]:
        """All that it says now."""
        if source == ALERTS:
            return list(self._alerts())
        if source.startswith(PAGES):
            path, _, service = source.partition(" of ")
            return page(self.scene.ports[service], path)
        shown = self.scene.type(*(["top", "--once"] if source == "top" else source.split()))
        return [*shown.lines, f"exit code {shown.code}"]

    def _alerts(self) -> Iterator[str]:
        at_s = self.watcher.look()
        for alert, rule in load_rules().items():
            for fired in self.watcher.evaluate(alert, at_s):
                lasts = f" (if so for {rule.for_s:g} s)" if rule.for_s else ""
                yield f"{alert}{lasts}: {filled(rule.annotations['summary'], fired)}"

    def shown(self, sights: Sequence[Sight]) -> list[Sight]:
        """Those that are there now; each source is looked at once, all at the same time."""
        sources = sorted({sight.source for sight in sights})
        with ThreadPoolExecutor(len(sources) or 1, thread_name_prefix="look") as pool:
            said = dict(zip(sources, pool.map(self.look, sources), strict=True))
        return [sight for sight in sights if telling(said[sight.source], sight.wanted)]

    def watch(self, sights: Sequence[Sight], began: float, tend: Callable[[], None]) -> list[Seen]:
        """Look at all sources at once until each has said what it should, or is too late."""
        sources: dict[str, list[Sight]] = {}
        for sight in sights:
            sources.setdefault(sight.source, []).append(sight)
        with ThreadPoolExecutor(len(sources), thread_name_prefix="watch") as pool:
            looks = [pool.submit(self._watch, source, wanted, began) for source, wanted in sources.items()]
            while not all(look.done() for look in looks):
                tend()
                time.sleep(TICK_S)
        return [seen for look in looks for seen in look.result()]

    def _watch(self, source: str, sights: Sequence[Sight], began: float) -> list[Seen]:
        found: list[Seen] = []
        left = list(sights)
        lines: list[str] = []
        while left:
            asked_s = time.monotonic() - began
            lines = self.look(source)
            after_s = time.monotonic() - began
            for sight in list(left):
                if said := telling(lines, sight.wanted):
                    found.append(Seen(sight, after_s, said))
                    left.remove(sight)
                elif asked_s > sight.allowed_s:
                    found.append(Seen(sight, None, lines))
                    left.remove(sight)
            if left:
                time.sleep(TICK_S)
        return found


def telling(lines: Sequence[str], wanted: str) -> list[str]:
    """The lines that fit, each with what is to be typed, which is below it; and the exit code, if there is one."""
    found: list[str] = []
    for number, line in enumerate(lines):
        if re.search(wanted, line):
            below = takewhile(lambda each: each.startswith(CURE), lines[number + 1 :])
            found += [line.rstrip(), *(each.rstrip() for each in below if line.startswith("wrong "))]
    if found and lines[-1].startswith("exit code") and lines[-1] not in found:
        found.append(lines[-1])
    return found


def filled(text: str, fired: Fired) -> str:
    """A template as Prometheus would show it, with the number as it is."""
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: fired.labels.get(match[1], ""), text)
    return re.sub(r"\{\{ \$value[^}]*\}\}", f"{fired.value:g}", text)


def page(port: int, path: str) -> list[str]:
    """Its lines, then the status; nothing while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return [*answer.read().decode().splitlines(), str(answer.status)]
    except urllib.error.HTTPError as error:
        return [*error.read().decode().splitlines(), str(error.code)]
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return []
