"""Private training and what it costs: optimizers round a plain PyTorch loop, and measures of memorisation."""
