"""The suite: a folder per room, and the system played whole (`flow`, `graph`, `e2e`, `simulation`).

How long things take is for `bench`.
"""
