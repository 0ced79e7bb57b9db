"""Reruns, audits and verifications: what was recorded is computed again elsewhere, and the two are
compared bit for bit.

`replay` trains a recorded run again, `audit` parts of one, and `verification` makes every stage
again. `restoration` is what they share; `recorded_parameters` says what of a record is obeyed,
`recorded_data` finds the data by their digests, and `restored_code` starts old code. `consistency`
holds a record together before an audit trains anything.
"""
