"""Feature networks: Inception, VGG16, LPIPS, and what users bring. None runs foreign code."""

from metrics.feature_networks.network import FeatureNetwork, FeatureNetworkMissing
from metrics.feature_networks.sources import ROLES, FeatureSources

__all__ = ["ROLES", "FeatureNetwork", "FeatureNetworkMissing", "FeatureSources"]
