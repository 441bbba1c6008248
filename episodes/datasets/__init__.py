"""A folder for each data set, with its card. A new folder is found by itself; nothing else needs to know."""
