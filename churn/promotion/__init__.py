"""Who is champion, and why: the gate, the releases and the ledger of decisions.

How candidates are fitted is `churn.model`; what the API loads, `api.champion`.
"""
