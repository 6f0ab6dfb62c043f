"""Training sets: matured labels joined to features as they were known, through Feast."""
