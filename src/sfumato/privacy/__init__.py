"""What is promised and what it costs: claims, noise, releases, budgets."""
