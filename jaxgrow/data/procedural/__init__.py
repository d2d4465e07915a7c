"""Synthetic objects of NMR's thirteen classes, seen by NMR's camera.

Objects are assembled from simple solids by random rules, so that a data set of any size
is a function of a seed. They are not ShapeNet models.
"""

from jaxgrow.data.procedural.camera import AZIMUTHS_24
from jaxgrow.data.procedural.objects import CLASSES, VERSION, render_object
from jaxgrow.data.procedural.workers import render_objects


__all__ = ["AZIMUTHS_24", "CLASSES", "VERSION", "render_object", "render_objects"]
