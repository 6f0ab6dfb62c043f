"""The suite: a folder per room, the system played whole in `whole`, what tests have in common in `kit`.

How long things take is for `bench`.
"""
