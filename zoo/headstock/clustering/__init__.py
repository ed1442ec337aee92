"""Clustering of embeddings: rows without labels and a backbone in; a model that tells a row's cluster out."""

from headstock.clustering.cluster import Clustered, cluster
from headstock.clustering.grouping import Grouping

__all__ = ["Clustered", "Grouping", "cluster"]
