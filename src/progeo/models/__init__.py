"""Models: backbones, pooling, the network, the model file and the published models."""
