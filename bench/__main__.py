"""`python -m bench collect [options]`, `python -m bench streams [options]`."""

import sys

from bench import collect, streams

BENCHMARKS = {"collect": collect.main, "streams": streams.main}


def main() -> int:
    """The exit code: 2 for wrong usage."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in BENCHMARKS:
        print(f"usage: python -m bench {{{','.join(BENCHMARKS)}}} [options]", file=sys.stderr)
        return 2
    return BENCHMARKS[name](sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
