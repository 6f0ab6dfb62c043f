"""The base population: a public benchmark played forward, written as monthly drops."""
