"""Oxford-IIIT Pets."""
