"""How often Python looks for cycles of garbage in a process that keeps much and makes few of them."""

import gc

YOUNG = 20_000
OLDER = 20
"""New objects until Python looks at them, and such looks until it looks at those that stayed. With its own 700 and 10 a process
that holds the last readings of many databases looks at them again and again."""


def look_rarely() -> None:
    """When all is loaded: what is there now stays, and is not looked at any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)
