"""Truths checked a second way: replayed training rows, served vectors, leaks."""
