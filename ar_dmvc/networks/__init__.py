"""Networks, built from the shapes of the views."""

from ar_dmvc.networks.adversarial import Discriminator, Generator
from ar_dmvc.networks.attention import ViewAttention
from ar_dmvc.networks.centres import ClusterCentres, k_means
from ar_dmvc.networks.decoders import build_decoder, fully_connected
from ar_dmvc.networks.denoisers import build_denoiser
from ar_dmvc.networks.encoders import Encoder, EncoderName, build_encoder, build_encoders
from ar_dmvc.networks.fusion import WeightedMean
from ar_dmvc.networks.head import DDCHead, HeadOutput
from ar_dmvc.networks.levels import Levels
from ar_dmvc.networks.noise import SteppedNoise
from ar_dmvc.networks.norms import synchronise_batch_norm
from ar_dmvc.networks.shapes import Shape, check_shape, check_shapes, is_image

__all__ = [
    "ClusterCentres",
    "DDCHead",
    "Discriminator",
    "Encoder",
    "EncoderName",
    "Generator",
    "HeadOutput",
    "Levels",
    "Shape",
    "SteppedNoise",
    "ViewAttention",
    "WeightedMean",
    "build_decoder",
    "build_denoiser",
    "build_encoder",
    "build_encoders",
    "check_shape",
    "check_shapes",
    "fully_connected",
    "is_image",
    "k_means",
    "synchronise_batch_norm",
]
