"""A trainer of hashed-word centroids, and the classifier that reads what it left."""
