"""One forward pass over a row of packed trees: its inputs, its masks, and the logits read from it."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import psutil
import torch
from torch.nn import functional

from mqg_utils.student import attention
from mqg_utils.student.token_tree import Tree, ancestor_mask, depths, own_words
from mqg_utils.student.unpacked import Inputs, Logits, prompt_logits

# model types whose trees are tested to score as plain prompts do (tests/evaluation/test_scoring.py)
TREE_TYPES = (
    "gpt2", "gpt_neox", "gptj", "opt", "biogpt", "xglm", "llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2",
    "gemma3_text", "phi3", "smollm3", "olmo3",
)  # fmt: skip
WORDS = 256  # whose logits over the whole vocabulary are in memory at once
SMALLEST_ROW = 64  # tokens
T = TypeVar("T")


def supports_trees(model: Any) -> bool:
    """Whether trees are tested for this type of model; not for `longrope`, whose angles depend on the whole row."""
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    return config.model_type in TREE_TYPES and rope.get("rope_type") != "longrope"


def context_of(model: Any) -> int:
    """The longest prompt of a model in tokens, from its position embeddings."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", 0) or getattr(config, "n_positions", 0) or 2048)


def backbone(model: Any) -> Any:
    """The model below its LM head, inside a LoRA wrapper if there is one."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model


def row_inputs(row: Tree, masked: bool = True) -> Inputs:
    """Model inputs of a row, with the mask that trees need."""
    inputs = {"input_ids": torch.tensor([row.ids]), "position_ids": torch.from_numpy(depths(row.parents))[None]}
    return inputs | ({"attention_mask": torch.from_numpy(ancestor_mask(row.parents))[None, None]} if masked else {})


def text_inputs(row: Tree) -> dict[str, torch.Tensor]:
    """Where the words of each leaf are read.

    before (W,) the token indices that predict the distinct words, word_ids (W,) their token ids; word, leaf (M,)
    which word belongs to which leaf (leaves that begin alike share words).
    """
    words = [own_words(row, leaf) for leaf in row.leaves]
    distinct = sorted({token for path in words for token in path})
    index = {token: i for i, token in enumerate(distinct)}
    lists = {
        "before": [row.parents[token] for token in distinct],
        "word_ids": [row.ids[token] for token in distinct],
        "word": [index[token] for path in words for token in path],
        "leaf": [i for i, path in enumerate(words) for _ in path],
    }
    return {name: torch.tensor(values, dtype=torch.long) for name, values in lists.items()}


def layer_masks(model: Any, visible: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> Any:
    """A tree mask (1, 1, T, K) as the layers of a model take it: one, or one per layer type.

    transformers applies no sliding window to a ready-made mask, so it is applied here by positions, `query` (1, T)
    and `key` (1, K). Eager attention adds its mask, so it gets numbers instead of booleans.
    """
    config = model.config.get_text_config()
    types = getattr(config, "layer_types", None)
    if other := set(types or ()) - {"full_attention", "sliding_attention"}:
        raise ValueError(f"model type {config.model_type!r} has layers without a tree mask: {', '.join(sorted(other))}")
    window = getattr(config, "sliding_window", None)
    masks = {"full_attention": visible, "sliding_attention": visible}
    if window is not None:
        masks["sliding_attention"] = visible & (query[:, :, None] - key[:, None, :] < window)[:, None]
    if config._attn_implementation == "eager":
        lowest = torch.finfo(model.dtype).min
        masks = {
            name: torch.zeros(mask.shape, device=mask.device, dtype=model.dtype).masked_fill(~mask, lowest)
            for name, mask in masks.items()
        }
    if types and "sliding_attention" in types:
        return masks
    return masks["full_attention" if types or window is None else "sliding_attention"]


def hidden_states(model: Any, inputs: Inputs, **options: Any) -> torch.Tensor:
    """Last hidden states (T, D) of a row's `row_inputs`; with a cache, also of its `key_positions` (1, K)."""
    tensors = dict(inputs)
    visible, query = tensors.pop("attention_mask"), tensors["position_ids"]
    masks = layer_masks(model, visible, query, tensors.pop("key_positions", query))
    config = model.config.get_text_config()
    if config._attn_implementation == "sdpa" and model.device.type == "cpu":
        config._attn_implementation = attention.register()  # for good: recomputed gradients need the same kernel
    states: torch.Tensor = backbone(model)(**tensors, attention_mask=masks, **{"use_cache": False, **options})[0][0]
    return states


def head_logits(model: Any, states: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Logits of hidden states (N, D): all (N, V), or only the vocabulary `rows` (N, K) of each state, (N, K)."""
    head = model.get_output_embeddings()
    if rows is None:
        logits = head(states).float()
    else:  # a product and a sum stay in fp32 under autocast: bf16 is coarse for a difference of logits
        logits = (states[:, None].float() * head.weight[rows].float()).sum(-1)
        logits = logits if getattr(head, "bias", None) is None else logits + head.bias[rows].float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits


def tree_logits(model: Any, inputs: Inputs, at: torch.Tensor, **options: Any) -> Logits:
    """The logits after any tokens of a row, from one forward pass over it."""
    hidden = hidden_states(model, inputs, **options)
    return lambda tokens, rows=None: head_logits(model, hidden[tokens], rows)


def row_logits(model: Any, inputs: Inputs, at: torch.Tensor) -> Logits:
    """The logits after the tokens `at` of a row: of trees, or of prompts where the model takes no trees."""
    return (tree_logits if supports_trees(model) else prompt_logits)(model, inputs, at)


def leaf_readouts(
    model: Any, inputs: Inputs, row: Tree, readouts: Collection[str], logits_of: Callable[..., Logits] = row_logits
) -> dict[Any, torch.Tensor]:
    """The `readouts` of a row's leaves (N,), in nats, from one forward pass.

    `truth` is logit(true) - logit(false) of the label words; `likelihood` the log-likelihood of the propositions' own
    words, and `pmi` that minus their `bare` one.
    """
    device, values = inputs["input_ids"].device, {}
    words = [] if set(readouts) == {"truth"} else [x.to(device) for x in text_inputs(row).values()]
    ends = torch.tensor([leaf.token for leaf in row.leaves], dtype=torch.long, device=device)
    logits = logits_of(model, inputs, torch.cat([ends, *words[:1]]))
    if "truth" in readouts:
        labels = torch.tensor([leaf.labels for leaf in row.leaves], dtype=torch.long, device=device)
        odds = logits(ends, labels.reshape(-1, 2))  # (N, 2)
        values["truth"] = odds[:, 0] - odds[:, 1]
    if words:
        before, word_ids, word, leaf = words
        parts = [
            -functional.cross_entropy(logits(at), ids, reduction="none")
            for at, ids in zip(before.split(WORDS), word_ids.split(WORDS), strict=True)
        ]
        log_p = torch.cat(parts)  # (W,): a word that leaves share is computed once
        likelihood = torch.zeros(len(row.leaves), device=device).index_add(0, leaf, log_p[word])
        bare = torch.tensor([leaf.bare for leaf in row.leaves]).to(likelihood)
        values |= {"likelihood": likelihood, "pmi": likelihood - bare}
    return {name: values[name] for name in readouts}


def precision(model: Any, bf16: bool) -> torch.autocast:
    """A context in which the model computes in bfloat16 where that is safe, or as it is."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=bf16)


def row_bytes(model: Any, tokens: int, training: bool = False) -> int:
    """Estimated bytes of a row's activations: of one layer, or in training of all layers and the logits."""
    config = model.config.get_text_config()
    width = getattr(config, "hidden_size", 768)
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width
    layers = getattr(config, "num_hidden_layers", 12) if training else 1
    logits = 12 * config.vocab_size if training else 0  # three copies in fp32: made, for the loss, and its gradient
    return int(tokens * (layers * (14 * width + 4 * inner) * model.dtype.itemsize + logits + 2 * tokens))


def fitting(model: Any, max_tokens: int, training: bool = False) -> int:
    """`max_tokens`, halved until such a row should take at most half of the free memory."""
    on_gpu = model.device.type == "cuda"
    free = torch.cuda.mem_get_info(model.device)[0] if on_gpu else psutil.virtual_memory().available
    while max_tokens // 2 >= SMALLEST_ROW and row_bytes(model, max_tokens, training) > free / 2:
        max_tokens //= 2
    return max_tokens


def halving(work: Callable[[int], T], max_tokens: int) -> T:
    """work(max_tokens), repeated with half as many tokens per row, at least 64, while memory runs out."""
    while True:
        try:
            return work(max_tokens)
        except RuntimeError as error:
            from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

            if not should_reduce_batch_size(error) or max_tokens // 2 < SMALLEST_ROW:
                raise
        max_tokens //= 2
        print(f"out of memory: continuing with rows of {max_tokens} tokens")
        clear_device_cache(garbage_collection=True)
