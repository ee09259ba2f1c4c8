"""The study: what is trained and measured, where it is kept, and what it says of a claim."""
