"""`pganalytics status`: the pipeline and the fleet on one screen."""
