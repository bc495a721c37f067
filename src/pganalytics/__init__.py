"""pganalytics: fleet-wide PostgreSQL monitoring over Kafka that accounts for every record."""

__version__ = "0.1.0"
