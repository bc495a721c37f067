"""The sink: batches, ledger and rows in one transaction of the store."""
