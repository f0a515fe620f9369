"""Distillation of a larger encoder's tokens into a smaller encoder.

AIMv2's authors distilled too, but did not publish how. This follows feature distillation (Wei et
al., 2022, arXiv 2205.14141): whitened tokens, a linear layer, a smooth L1 distance.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corekit.checkpoint.load import load_model
from corekit.checkpoint.model_folder import model_folder
from corekit.checkpoint.own_runs import config_beside
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.registry import register

from .encoder import Encoder, EncoderWrapper
from .pretrain import encoder_named


class Student(EncoderWrapper):
    """An encoder and a linear layer to the teacher's tokens: ``predicted_tokens`` [B, N, D']."""

    def __init__(self, encoder: Encoder, teacher_width: int) -> None:
        super().__init__(encoder)
        self.projection = nn.Linear(encoder.width, teacher_width)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"predicted_tokens": self.projection(self.encoder(image)["tokens"])}


@register("model", "aimv2_student")
def aimv2_student(encoder: str = "aimv2_large_224", teacher_width: int = 3072,
                  width_divisor: int = 1, depth_divisor: int = 1) -> nn.Module:
    """An encoder that learns the tokens of another one, for the loss ``token_distance``.

    Gives predicted_tokens.

    Args:
        encoder: the model that is trained, one of those that give tokens.
        teacher_width: of the other one's tokens.
        width_divisor: divides the encoder's width: above 1, a narrow copy, to try things.
        depth_divisor: divides the number of blocks (one stays).
    """
    return Student(encoder_named(encoder, width_divisor, depth_divisor), teacher_width)


@register("model", "token_teacher")
class TokenTeacher(nn.Module):
    """A trained encoder, for ``frozen``, which gives teacher_tokens [B, N, D].

    Args:
        preprocess: the student's, which the batch's images went through; the trainer gives it.
        path: of a run, a checkpoint or a model folder: an encoder, or the pre-training of one.
        encoder: what a dry run takes for it: it reads no weights.

    Raises:
        CorekitError: no encoder is there, or it had another normalisation of pixels.
    """

    def __init__(self, preprocess: Preprocess, path: str, encoder: str = "aimv2_3b_224") -> None:
        super().__init__()
        meta = torch.empty(0).is_meta  # only the wiring is checked
        self.encoder = encoder_named(encoder) if meta else _trained(path, preprocess)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"teacher_tokens": self.encoder(image)["tokens"]}


def _trained(path: str, preprocess: Preprocess) -> Encoder:
    folder = model_folder(path)
    teacher_preprocess = Preprocess.load(folder / "preprocess.json")
    if (teacher_preprocess.mean, teacher_preprocess.std) != (preprocess.mean, preprocess.std):
        raise CorekitError(f"the teacher {path} was trained with mean {teacher_preprocess.mean} "
                           f"and std {teacher_preprocess.std}, and the student sees "
                           f"{preprocess.mean} and {preprocess.std}: set data.preprocess.mean and "
                           "std to the teacher's")
    config = config_beside(folder)
    model = load_model(config.model, config.seed, folder, torch.device("cpu"))
    encoder = getattr(model, "encoder", model)
    if not isinstance(encoder, Encoder):
        raise CorekitError(f"{path} holds no encoder that gives tokens: it cannot teach")
    return encoder


@register("loss", "token_distance")
class TokenDistance:
    """Smooth L1 distance of predicted tokens to whitened ones: a sample loss.

    It is averaged over channels, tokens and samples. Whitening brings each of the teacher's tokens
    to mean 0 and variance 1 over its channels (Wei et al., 2022, section 3).

    Args:
        beta: the distance up to which it is squared.
    """

    def __init__(self, beta: float = 2.0) -> None:
        if beta < 0:
            raise CorekitError(f"loss 'token_distance' needs a beta of 0 or more, not {beta:g}")
        self.beta = beta

    def __call__(self, predicted_tokens: Tensor, teacher_tokens: Tensor) -> Tensor:
        """The sum over samples of [B, N, D] tokens, [] in at least float32."""
        if predicted_tokens.shape != teacher_tokens.shape:
            raise CorekitError(f"the student says {_described(predicted_tokens)}, the teacher "
                               f"{_described(teacher_tokens)}: set model.teacher_width to the "
                               "teacher's width, and choose encoders for pictures of one size")
        wide = torch.promote_types(predicted_tokens.dtype, torch.float32)
        whitened = F.layer_norm(teacher_tokens.to(wide), teacher_tokens.shape[-1:])
        predicted = predicted_tokens.to(wide)
        distance = F.smooth_l1_loss(predicted, whitened, reduction="none", beta=self.beta)
        return distance.mean((1, 2)).sum()


def _described(tokens: Tensor) -> str:
    return f"{tokens.shape[1]} tokens of width {tokens.shape[2]}"
