"""Tests of churn.database: the views of retention and the role that reads them."""
