"""No enhancing tumour below a volume; all of what is left where there is one."""

import numpy as np

import gliodistill as gd


@gd.postprocessing.register("plug_rule", option="share", limits=(0, 1))
def plug_rule(
    depth: gd.postprocessing.Depth, share: float, known: gd.postprocessing.Known
) -> gd.postprocessing.Depth:
    """ET of less than this share of the whole tumour becomes NCR."""
    enhancing = depth == gd.postprocessing.ET
    if np.count_nonzero(enhancing) < share * np.count_nonzero(depth):
        depth[enhancing] = gd.postprocessing.TC
    return depth
