"""What DataCompDR stores: teachers' embeddings, and the augmentation each was made of."""

from corekit.data.fields import Field
from corekit.registry import register


@register("field", "teacher_image_features")
@register("field", "teacher_text_features")
@register("field", "teacher_synthetic_text_features")
class TeacherFeatures(Field):
    """float32 [B, D_teacher]: the embeddings of one picture or caption, teachers concatenated."""


@register("field", "augmentation")
class StoredAugmentation(Field):
    """What was drawn for the crop that the teachers saw, for the transform ``replay``: a list."""
