"""Synthetic streets for ``vadpipe demo``: a fixed camera's pictures and sound, with incidents at known times.

Everything follows from a :class:`SceneSpec`: the same spec gives the same frames and the same sound. What is abnormal
is shown inside its event's frames and nowhere else; before and after, the people who will fight walk up and away, and
the cars that will crash drive, which is normal. No mark is painted for a detector to find.
"""

from vadpipe.pipeline.demo_scene.render import render
from vadpipe.pipeline.demo_scene.sound import sound
from vadpipe.pipeline.demo_scene.spec import CATEGORIES, PlantedEvent, SceneSpec

__all__ = ["CATEGORIES", "PlantedEvent", "SceneSpec", "render", "sound"]
