"""Networks, built from the shapes of the views."""

from ar_dmvc.networks.adversarial import Discriminator, Generator
from ar_dmvc.networks.encoders import Encoder, EncoderName, build_encoder
from ar_dmvc.networks.fusion import WeightedMean
from ar_dmvc.networks.head import DDCHead, HeadOutput
from ar_dmvc.networks.shapes import Shape, check_shape, check_shapes, is_image

__all__ = [
    "DDCHead",
    "Discriminator",
    "Encoder",
    "EncoderName",
    "Generator",
    "HeadOutput",
    "Shape",
    "WeightedMean",
    "build_encoder",
    "check_shape",
    "check_shapes",
    "is_image",
]
