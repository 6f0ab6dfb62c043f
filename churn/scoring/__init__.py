"""What a month's users are told apart by: scores, reasons, action lists, treatments and what they brought."""
