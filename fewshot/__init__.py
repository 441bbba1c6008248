"""Models, training, evaluation, records and the command line."""
