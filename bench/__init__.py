"""How long things take: one module per row of the table, beside what else one could use.

Whether a thing is right is for `tests`; a figure in the docs comes from here.
"""
