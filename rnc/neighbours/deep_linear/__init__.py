"""Neural collapse in deep linear networks, from balanced to imbalanced data (Dang et al. 2023)."""
