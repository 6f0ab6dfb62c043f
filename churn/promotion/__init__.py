"""Which release is champion, and why: the gate, the releases and the ledger of decisions.

How a model is fitted and registered is `churn.model`; how it does in service is `churn.monitoring`.
"""
