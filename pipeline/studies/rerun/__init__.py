"""A recorded training, run again, and the proof that it is the same."""
