"""Small language models of transformers: vocabularies, chat templates, and a configuration."""

from pathlib import Path

CHATML = ("{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
          "<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
LLAMA3 = ("{{ '<|begin_of_text|>' }}{% for message in messages %}<|start_header_id|>"
          "{{ message.role }}<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>"
          "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>"
          "\n\n{% endif %}")
VICUNA = ("{% for message in messages %}{% if message.role == 'system' %}{{ message.content }} "
          "{% elif message.role == 'user' %}USER: {{ message.content }} {% else %}ASSISTANT:"
          "{{ ' ' + message.content + '</s>' }}{% endif %}{% endfor %}"
          "{% if add_generation_prompt %}ASSISTANT:{% endif %}")
# template -> its special tokens, of which the last one ends an answer
TEMPLATES = {
    "chatml": (CHATML, ("<|im_start|>", "<|im_end|>")),
    "llama3": (LLAMA3, ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
                        "<|eot_id|>")),
    "vicuna": (VICUNA, ("<s>", "</s>")),
}
WORDS = ["which object is this", "two red apples", "user assistant system", "how many are there"]


def write_tokenizer(folder: Path, template: str = "chatml") -> Path:
    """A folder with a byte-level BPE of about 300 ids and one of the templates."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    text, special = TEMPLATES[template]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[*special], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(WORDS * 5, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[-1],
                                   pad_token=special[-1])
    fast.chat_template = text
    fast.save_pretrained(folder)
    return folder


def small_llama(vocab_size: int = 300, **changes: object) -> dict[str, object]:
    """The configuration of a Llama of 3 layers, 64 wide."""
    return {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
            "vocab_size": vocab_size, "max_position_embeddings": 512,
            "tie_word_embeddings": True, **changes}
