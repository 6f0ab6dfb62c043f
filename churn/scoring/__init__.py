"""A month's users by the release in force: scores, reasons, action lists, treatments, and their effect.

Which release is in force is decided in `churn.promotion`; how its scores hold up, in `churn.monitoring`.
"""
