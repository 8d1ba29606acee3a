"""Linear contextual bandits of several silos under differential privacy: tree, noise, learner, one protocol."""
