"""Teachers that are asked while the student trains, for data without stored embeddings."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import register

from .teachers import FolderTeacher, Teacher


@register("model", "online_teachers")
class OnlineTeachers(nn.Module):
    """Trained models that embed each batch; for ``frozen``, with ``reinforced_contrastive``.

    Each teacher sees the student's augmented picture, resized to its own size and normalised its
    own way, and reads the captions with its own tokenizer. Gives teacher_image_features,
    teacher_text_features and, where there are synthetic captions, teacher_synthetic_text_features:
    float32 [B, sum of the teachers' widths], in the order of the paths.

    Args:
        paths: of runs, checkpoints or model folders.
        preprocess: the student's, which the batch's images went through; the trainer gives it.

    Raises:
        CorekitError: none is there, or it gives no features or has no tokenizer.
    """

    def __init__(self, paths: list[str], preprocess: Preprocess) -> None:
        super().__init__()
        if not paths:
            raise CorekitError("model 'online_teachers' needs paths: of at least one run or model "
                               "folder")
        self.student = preprocess
        self.teachers = nn.ModuleList(FolderTeacher(path).load() for path in paths)

    def forward(self, image: Tensor, caption: list[str],
                synthetic_caption: list[str] | None = None) -> dict[str, Tensor]:
        # whole numbers again: subtraction and division left errors of a millionth
        std, mean = (image.new_tensor(values).view(1, 3, 1, 1)
                     for values in (self.student.std, self.student.mean))
        levels = ((image * std + mean) * 255).round()
        teachers = [teacher for teacher in self.teachers if isinstance(teacher, Teacher)]
        outputs = {"teacher_image_features": [self._images(teacher, image, levels)
                                              for teacher in teachers]}
        for name, captions in (("text", caption), ("synthetic_text", synthetic_caption)):
            if captions is not None:
                outputs[f"teacher_{name}_features"] = [teacher.texts(captions, image.device)
                                                       for teacher in teachers]
        return {name: torch.cat(features, 1) for name, features in outputs.items()}

    def _images(self, teacher: Teacher, image: Tensor, levels: Tensor) -> Tensor:
        """The teacher's features of images whose pixels from 0 to 255 are ``levels``."""
        preprocess = teacher.preprocess
        size = preprocess.size
        if levels.shape[-1] != size:  # a step may have a size of its own
            levels = F.interpolate(levels, (size, size), mode=preprocess.interpolation,
                                   antialias=True).clamp(0, 255)
        elif preprocess == self.student:
            return teacher.images(image)
        return teacher.images(preprocess.normalize(levels))
