"""The parts of the drawn world; ``marey.data.synthetic`` is its face.

pools (seeds, who and what exists in each split), backdrop, raster (anti-aliased strokes), figures
(a 3-D skeleton), motions, props, stage (camera, light, noise, clutter), one page a group of tasks,
and layouts (the annotation files). Nothing here imports torch.
"""
