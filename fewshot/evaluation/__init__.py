"""The only code that produces accuracies."""
