"""The contract as data: the six tables of a drop, the feature views, the feature services."""
