"""Graph convolutions defined by a Laplacian, one a file."""

from gconv.spectral.arma import ARMAConv
from gconv.spectral.cheb import ChebConv
from gconv.spectral.gcn import GCNConv
from gconv.spectral.spectral import SpectralConv
from gconv.spectral.tag import TAGConv

__all__ = ["ARMAConv", "ChebConv", "GCNConv", "SpectralConv", "TAGConv"]
