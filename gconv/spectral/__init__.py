"""Graph convolutions defined by a Laplacian, one a file."""

from gconv.spectral.cheb import ChebConv
from gconv.spectral.gcn import GCNConv
from gconv.spectral.spectral import SpectralConv

__all__ = ["ChebConv", "GCNConv", "SpectralConv"]
