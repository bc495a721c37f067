"""Real servers as child processes, for the demo, tests and benchmarks. Never imported by a service."""
