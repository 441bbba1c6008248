"""The report: one self-contained page, and single pictures, made from the records."""
