"""What tests have in common: one module per subject; no tests lie here."""
