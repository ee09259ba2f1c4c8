"""The showing: figures and tables from records, and the book from notebooks."""
