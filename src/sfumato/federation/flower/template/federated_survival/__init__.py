"""A Flower app: private survival curves of several registries."""
