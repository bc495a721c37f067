"""The demo: real servers, real services, a workload, and an audit at the end."""
