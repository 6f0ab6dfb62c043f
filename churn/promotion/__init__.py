"""Who is champion, and why: the gate, the releases and the ledger of decisions."""
