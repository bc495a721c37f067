"""Collectors: read, diff, spool, send."""
