"""The console's pages, a module each: its queries, and the template of the same name that shows them."""
