"""Charts of the HTML report."""
