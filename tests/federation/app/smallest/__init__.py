"""A Flower app: the smallest protocol of each federated system, for the deployment test."""
