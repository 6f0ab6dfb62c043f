"""The simulated population: a public benchmark played forward, and written as monthly drops.

It is always StreamFlow's, whatever contract is in force. Putting drops through the graph as they arrive is
`churn_assets.simulation`.
"""
