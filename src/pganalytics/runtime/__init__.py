"""Settings, logging, errors, and the lifecycle of threads and signals."""
