"""The base population: a public benchmark played forward, written as monthly drops.

It never looks at the pipeline, which is held by import-linter; what goes wrong on purpose is `scenario`.
"""
