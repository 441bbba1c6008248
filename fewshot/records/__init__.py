"""What was measured and what was published: records, protocols, table rows, rankings. No torch."""
