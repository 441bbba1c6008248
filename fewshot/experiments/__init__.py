"""From a configuration to a record: train, select, test, write."""
