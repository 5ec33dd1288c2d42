"""Graph convolutions defined by a Laplacian, one a file."""

from gconv.spectral.appnp import APPNP
from gconv.spectral.arma import ARMAConv
from gconv.spectral.cheb import ChebConv
from gconv.spectral.gcn import GCNConv
from gconv.spectral.mixhop import MixHopConv
from gconv.spectral.sg import SGConv
from gconv.spectral.spectral import SpectralConv
from gconv.spectral.ssg import SSGConv
from gconv.spectral.tag import TAGConv

__all__ = ["APPNP", "ARMAConv", "ChebConv", "GCNConv", "MixHopConv", "SGConv", "SSGConv", "SpectralConv", "TAGConv"]
