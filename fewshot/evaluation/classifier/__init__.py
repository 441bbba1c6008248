"""A classifier of the user's own images, to be kept and used: fitted to a few labeled images of each class."""
