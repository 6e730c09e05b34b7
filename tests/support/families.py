"""Small random models of every family that is scored: on token trees, or prompt by prompt."""

import torch
import transformers
from small import tiny_student

from mqg_utils.student.loading import Student

WINDOW = 24  # tokens; much shorter than the prompts
LIKE_LLAMA = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 1024, "initializer_range": 0.2,
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
LIKE_GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
LIKE_OPT = {"hidden_size": 64, "ffn_dim": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "init_std": 0.2}
LONG_ROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = {
    "gpt2": ("GPT2Config", LIKE_GPT2),
    "llama": ("LlamaConfig", LIKE_LLAMA),
    "qwen2": ("Qwen2Config", LIKE_LLAMA),
    "qwen2-window": (
        "Qwen2Config",
        {**LIKE_LLAMA, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Config", LIKE_LLAMA),
    "mistral": ("MistralConfig", {**LIKE_LLAMA, "sliding_window": None}),
    "mistral-window": ("MistralConfig", {**LIKE_LLAMA, "sliding_window": WINDOW}),
    "gemma": ("GemmaConfig", LIKE_LLAMA),
    # soft caps low enough to matter; they rule out SDPA, so this family runs on eager attention
    "gemma2": (
        "Gemma2Config",
        {
            **LIKE_LLAMA, "sliding_window": WINDOW, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": ("Gemma3TextConfig", {**LIKE_LLAMA, **MIXED, "query_pre_attn_scalar": 16}),
    "gpt_neox": ("GPTNeoXConfig", LIKE_LLAMA),
    "gpt_neox-serial": ("GPTNeoXConfig", {**LIKE_LLAMA, "use_parallel_residual": False}),
    "gptj": ("GPTJConfig", {**LIKE_GPT2, "rotary_dim": 8}),
    "opt": ("OPTConfig", LIKE_OPT),
    # as OPT-350M: embeddings narrower than the layers, and norms after them
    "opt-350m": ("OPTConfig", {**LIKE_OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False}),
    "biogpt": ("BioGptConfig", LIKE_LLAMA),
    "xglm": ("XGLMConfig", {"d_model": 64, "ffn_dim": 96, "num_layers": 2, "attention_heads": 4, "init_std": 0.2}),
    "phi3": ("Phi3Config", LIKE_LLAMA),
    "phi3-window": ("Phi3Config", {**LIKE_LLAMA, "sliding_window": WINDOW}),
    "smollm3": ("SmolLM3Config", {**LIKE_LLAMA, "no_rope_layer_interval": 2}),
    "olmo3": ("Olmo3Config", {**LIKE_LLAMA, **MIXED}),
}  # fmt: skip
WITHOUT_TREES = {
    "bloom": ("BloomConfig", {"hidden_size": 64, "num_hidden_layers": 2, "initializer_range": 0.1, "n_head": 4}),
    "mpt": ("MptConfig", {"initializer_range": 0.1, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 1024}),
    "mamba": ("MambaConfig", {"hidden_size": 64, "num_hidden_layers": 2}),
}


def random_student(config_class, options, **more):
    tokenizer = tiny_student().tokenizer
    config = getattr(transformers, config_class)(vocab_size=len(tokenizer), **options)
    torch.manual_seed(0)
    return Student(transformers.AutoModelForCausalLM.from_config(config, **more).eval(), tokenizer)


def causal_student(config_class, options):
    """A random student whose scores spread although the family has no use for `initializer_range`."""
    student = random_student(config_class, options)
    with torch.no_grad():
        for weights in student.model.parameters():
            if weights.dim() > 1:
                weights *= 4
    return student
