"""`pganalytics top`: the fleet and one target as they are now, from the topics."""
