"""Keys out of what a terminal sends. Pure."""

NAMES = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x1b": "escape"}
SEQUENCES = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "5~": "page up",
    "6~": "page down",
    "1~": "home",
    "4~": "end",
    "7~": "home",
    "8~": "end",
}
MOST_SEQUENCE = 16


def keys(text: str) -> tuple[list[str], str]:
    """Names of keys, and the beginning of a sequence that has not come whole yet. Sequences that mean nothing are left out."""
    found: list[str] = []
    while text:
        if text[0] == "\x1b" and len(text) > 1 and text[1] in "[O":
            end = next((at for at in range(2, min(len(text), MOST_SEQUENCE)) if "@" <= text[at] <= "~"), None)
            if end is None and len(text) < MOST_SEQUENCE:
                return found, text
            end = MOST_SEQUENCE - 1 if end is None else end
            if (name := SEQUENCES.get(text[2 : end + 1])) is not None:
                found.append(name)
            text = text[end + 1 :]
        elif text == "\x1b":
            return found, text
        else:
            found.append(NAMES.get(text[0], text[0]))
            text = text[1:]
    return [key for key in found if len(key) > 1 or key.isprintable()], ""
