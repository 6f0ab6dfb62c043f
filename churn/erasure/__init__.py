"""Erasure: a customer's data is deleted wherever it is kept, and what remains is counted and recorded.

Keeping somebody who was erased out of later drops is `churn.deliveries.erased`.
"""
