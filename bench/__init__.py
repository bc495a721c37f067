"""Benchmarks: `python -m bench NAME [--json]`. Ratios inside one run; the machine is shared and noisy."""
