"""Many runs: what they are, which are finished, who makes them, and what came of each."""
