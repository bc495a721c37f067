"""Stream processors: quota, lanes and gap hints, decided on headers alone."""
