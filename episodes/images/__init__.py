"""Image files: decoding, the array cache, downloads, and pickles read without executing anything."""
