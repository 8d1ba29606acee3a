"""Means and gradients in few bits a coordinate, where the quantiser's own randomness is the privacy noise."""

from sfumato.federation.quantization.baselines import duchi_variance, laplace_variance, piecewise_variance
from sfumato.federation.quantization.mechanisms import PBM, RQM
from sfumato.federation.quantization.packing import bits_per_report, pack_bits, unpack_bits
from sfumato.federation.quantization.softmax import SoftmaxRegression
from sfumato.federation.quantization.training import QuantizedTraining
from sfumato.federation.quantization.vector import VECTOR_ORDERS, Price, QuantizedMean, coordinate_clip

__all__ = [
    "PBM",
    "RQM",
    "VECTOR_ORDERS",
    "Price",
    "QuantizedMean",
    "QuantizedTraining",
    "SoftmaxRegression",
    "bits_per_report",
    "coordinate_clip",
    "duchi_variance",
    "laplace_variance",
    "pack_bits",
    "piecewise_variance",
    "unpack_bits",
]
