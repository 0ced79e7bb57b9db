"""Reruns: a recorded training is run again, and the two are compared bit for bit.

`replay` does it; `recorded_parameters` says what of a record is obeyed, `recorded_data` finds the
data by their digests, and `restored_code` starts old code.
"""
