"""The mathematics of the layers as functions, and the engine that they share."""

from gconv.functional.forms import force_form
from gconv.functional.polynomial import polynomial
from gconv.functional.propagate import propagate

__all__ = ["force_form", "polynomial", "propagate"]
