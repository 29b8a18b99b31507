"""A backbone of one's own: MobileNetV3 of torchvision, which gives a feature map."""

from torch import nn

import progeo
from progeo.models.backbones.registry import BackboneEntry
from progeo.models.features import map_shapes
from progeo.pixels.recipe import Preprocessing


@progeo.register_backbone("MobileNetV3")
def describe_mobilenet(name: str) -> BackboneEntry:
    """Say how it is built, what it gives, and which parts of it are trained."""

    def build(pretrained: bool) -> nn.Module:
        from torchvision.models import mobilenet_v3_small

        return mobilenet_v3_small(weights="DEFAULT" if pretrained else None)

    return BackboneEntry(
        name=name,
        build=build,
        cut=lambda network: network.features,  # what stays of the network: it gives a map (B, 576, h, w)
        shapes=lambda features: map_shapes(576),
        frozen=lambda features: features[:9].parameters(),  # trained by default: the last four blocks
        stages=lambda features: [[block] for block in features],  # what unfreeze counts, from the end
        preprocessing=Preprocessing(image_size=224),
        classifier=("classifier.",),  # tensors that cutting drops
        source="torchvision, ImageNet",
        licence="BSD-3-Clause",
    )


if __name__ == "__main__":
    untrained = progeo.load_model("MobileNetV3")
    print(progeo.evaluate(untrained, "photos/test").recalls)
    result = progeo.train("MobileNetV3", "photos/train", val="photos/val")
    print(progeo.evaluate(result.model, "photos/test").recalls)
