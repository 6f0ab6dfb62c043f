"""How long things take, compared with what else one could use: a module for each section of the table.

The figures and what they mean are in docs/performance.md.
"""
