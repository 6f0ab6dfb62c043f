"""The contract as data: the tables of a drop, the feature views, the feature services, the labels."""
