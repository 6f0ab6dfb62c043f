"""What is checked in a second, independent way: training rows, served vectors, the API, models for leaks.

Rules for delivered files are `churn.deliveries`; months compared with each other, `churn.plausibility`.
"""
