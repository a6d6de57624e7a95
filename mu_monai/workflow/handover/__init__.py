"""What leaves a run, signed, and what a receiver can check of it."""
