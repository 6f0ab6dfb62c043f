"""How long things take: one module per row of the table, beside what else one could use."""
