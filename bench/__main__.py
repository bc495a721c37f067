"""`python -m bench collect [options]`."""

import sys

from bench import collect

BENCHMARKS = {"collect": collect.main}


def main() -> int:
    """The exit code: 2 for wrong usage."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in BENCHMARKS:
        print(f"usage: python -m bench {{{','.join(BENCHMARKS)}}} [options]", file=sys.stderr)
        return 2
    return BENCHMARKS[name](sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
