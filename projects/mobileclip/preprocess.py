"""The preprocessing of each variant's released weights; another one silently lowers accuracy.

First generation, and MobileCLIP2-S0, -S2 and -B: pixels in [0, 1], no mean and std, bilinear
(Apple's code, open_clip's table of weights). MobileCLIP2-S3, -S4 and -L/14: OpenAI's mean and std,
-L/14 bicubic (open_clip). For the first generation's S3, S4 and L/14, published with MobileCLIP2,
nothing is stated: taken to be as their successors'.
"""

from corekit.data.transforms.preprocess import Preprocess
from corekit.recipes.schema import CLIP_MEAN, CLIP_STD

UNSTATED = ("mobileclip_s3", "mobileclip_s4", "mobileclip_l14")


_PLAIN_256, _PLAIN_224 = (Preprocess(size, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
                          for size in (256, 224))
_OPENAI_256 = Preprocess(256, "bilinear", CLIP_MEAN, CLIP_STD)
_OPENAI_224 = Preprocess(224, "bicubic", CLIP_MEAN, CLIP_STD)

PREPROCESS = {
    "mobileclip_s0": _PLAIN_256, "mobileclip_s1": _PLAIN_256, "mobileclip_s2": _PLAIN_256,
    "mobileclip_b": _PLAIN_224, "mobileclip_b_lt": _PLAIN_224,
    "mobileclip_s3": _OPENAI_256, "mobileclip_s4": _OPENAI_256, "mobileclip_l14": _OPENAI_224,
    "mobileclip2_s0": _PLAIN_256, "mobileclip2_s2": _PLAIN_256, "mobileclip2_b": _PLAIN_224,
    "mobileclip2_s3": _OPENAI_256, "mobileclip2_s4": _OPENAI_256, "mobileclip2_l14": _OPENAI_224,
}
