"""What several families estimate from plain arrays: votes and confusions of annotators, mixtures of
one dimension, clusters, monotone fits, neighbours. Pure functions."""
