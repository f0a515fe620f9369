"""Causal language models of transformers: from a folder, or from a configuration, with LoRA."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# what some models multiply or bound their logits by, behind the output layer
BEHIND = ("logit_scale", "logits_scaling", "final_logit_softcapping", "output_multiplier",
          "lm_head_multiplier")
# in these, conversations of one row do not see each other where their positions begin anew
PACKED = frozenset(("llama", "qwen2", "qwen3", "mistral", "phi", "phi3", "gemma", "gemma3_text",
                    "granite", "olmo", "olmo2", "smollm3", "gpt2", "gpt_neox", "stablelm",
                    "starcoder2", "glm", "glm4", "helium", "nemotron"))
Attention = Literal["sdpa", "eager", "flash_attention_2", "flex_attention"]
# what a configuration says beside the model's shape: where it came from, and in which precision
OF_THE_FOLDER = ("_name_or_path", "architectures", "auto_map", "dtype", "transformers_version")
MISSING = "needs the libraries transformers and peft: pip install 'corekit[language]'"


class OutputLayer(nn.Linear):
    """A language model's output layer: it gives a tensor, or a ``LinearOutput`` where asked to."""

    def forward(self, hidden: Tensor,  # type: ignore[override]
                factors: bool = False) -> Tensor | LinearOutput:
        return LinearOutput.of(hidden, self) if factors else super().forward(hidden)


def language_model(source: "str | Mapping[str, object]",
                   attention: Attention = "sdpa") -> "PreTrainedModel":
    """A causal language model with random weights in float32.

    Args:
        source: a folder of transformers, of which config.json is read, or such a configuration,
            {model_type: llama, ...}.
        attention: the implementation that transformers chooses by this name.

    Raises:
        CorekitError: no transformers, no such folder, no causal language model, or one whose
            logits are something else than what its output layer gives.
    """
    config = language_config(source)
    for name in BEHIND:
        value = getattr(config, name, None)
        if value not in (None, 1):
            raise CorekitError(f"model.language_model: a {config.model_type} changes its logits "
                               f"behind the output layer ({name} {value}), which the loss would "
                               "not: choose another language model")
    from transformers import AutoModelForCausalLM, GenerationConfig

    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, attn_implementation=attention, dtype=torch.float32, trust_remote_code=False)
    except (ValueError, ImportError) as error:
        raise CorekitError(f"model.language_model: {_brief(error)}") from None
    # greedy, whatever the folder would have
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(head) is not nn.Linear:
        raise CorekitError(f"model.language_model: the output layer of a {config.model_type} is "
                           f"no linear layer, but a {type(head).__name__}")
    head.__class__ = OutputLayer
    return model


def language_config(source: "str | Mapping[str, object]") -> "PretrainedConfig":
    """transformers' configuration of a folder or of a mapping; a CorekitError without one."""
    try:
        from transformers import AutoConfig
    except ImportError:
        raise CorekitError(f"model 'multimodal' {MISSING}") from None
    try:
        if isinstance(source, str):
            config: PretrainedConfig = AutoConfig.from_pretrained(source, local_files_only=True,
                                                                  trust_remote_code=False)
            return config
        arguments = {str(key): value for key, value in source.items()}
        return AutoConfig.for_model(str(arguments.pop("model_type", "")), **arguments)
    except config_errors() as error:
        name = f"={source}" if isinstance(source, str) else ""
        raise CorekitError(f"model.language_model{name} is neither a folder of transformers nor "
                           f"one of its configurations ({{model_type: llama, ...}}): "
                           f"{_brief(error)}") from None


def config_errors() -> tuple[type[Exception], ...]:
    """What transformers raises for a configuration that it cannot take."""
    from huggingface_hub.errors import StrictDataclassError

    return OSError, ValueError, KeyError, TypeError, StrictDataclassError


def portable_config(config: "PretrainedConfig") -> dict[str, object]:
    """A configuration as ``language_config`` takes it, with nothing of where it came from."""
    content: dict[str, object] = config.to_diff_dict()
    return {key: value for key, value in content.items() if key not in OF_THE_FOLDER}


def add_lora(part: nn.Module, name: str, rank: int, alpha: int | None, dropout: float,
             targets: list[str] | None) -> None:
    """Put low-rank adapters (Hu et al., 2021) beside linear layers, which alone are trained then.

    Args:
        part: the module whose layers get them, in place.
        name: what messages call it.
        rank: of the two matrices.
        alpha: their product is scaled by alpha / rank; None: 2 x rank.
        dropout: of the adapters' input.
        targets: names of linear layers, or how they end; None: all but the output layer.

    Raises:
        CorekitError: no peft, or no such layers.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise CorekitError(f"model.lora {MISSING}") from None
    output = getattr(part, "get_output_embeddings", lambda: None)()
    linear = [path for path, layer in part.named_modules()
              if isinstance(layer, nn.Linear) and layer is not output]
    chosen = [path for path in linear if targets is None
              or any(path == each or path.endswith(f".{each}") for each in targets)]
    if rank < 1 or not chosen:
        known = ", ".join(sorted({path.split(".")[-1] for path in linear}))
        raise CorekitError(f"model.lora.{name} needs a rank of 1 or more and linear layers to "
                           f"adapt; {name} has {known}")
    part.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, lora_dropout=dropout,
                                       target_modules=chosen), part)


def merge_lora(model: nn.Module) -> None:
    """Add what adapters compute to the weights of their layers, and take the adapters away."""
    for path, layer in [*model.named_modules()]:
        if hasattr(layer, "get_base_layer"):
            layer.merge()
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, layer.get_base_layer())


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
