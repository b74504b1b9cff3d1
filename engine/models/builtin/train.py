"""Trains the built-in model and writes it beside its tokenizer: `python -m engine.models.builtin.train --out DIR`.

A Llama-shaped model of about 1.5 million weights, Muon for the matrices of the blocks and AdamW for the rest. Two
stages: all sources alike, then more of what is hard. Same Python, torch, thread count and processor give the same
weights; about 20 minutes on one free core of a 2023 server.
Writes the model folder and prints its losses; the model card beside the weights is kept by hand.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import get_args

import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.errors import EngineError
from engine.models.builtin.corpus import Document, Stage, documents
from engine.models.builtin.vocabulary import tokenizer_texts, train_tokenizer


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the weights. `tokens` and rates are those of the two stages."""

    seed: int = 0
    vocabulary: int = 3072
    width: int = 128
    inner: int = 352
    layers: int = 6
    heads: int = 4
    context: int = 512
    tokens: tuple[int, int] = (4_000_000, 1_600_000)
    batch_tokens: int = 2048
    muon_rate: tuple[float, float] = (0.02, 0.01)
    adam_rate: tuple[float, float] = (3e-3, 1.5e-3)
    warm_up: float = 0.03
    held_out: int = 400

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.batch_tokens < self.context:
            raise EngineError(f"batch_tokens is {self.batch_tokens}; it must be at least the context, {self.context}.")
        if min(*self.tokens, self.layers, self.held_out) < 1 or self.width % self.heads:
            raise EngineError("tokens, layers and held_out must be positive and the width divisible by the heads.")


STAGES: tuple[Stage, ...] = get_args(Stage)
Row = tuple[list[int], list[float]]
Batch = tuple[torch.Tensor, torch.Tensor]


def build(config: TrainConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained model, its weights drawn from `config.seed`."""
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=config.inner,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(shape)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                last = name.endswith(("o_proj.weight", "down_proj.weight"))
                parameter.normal_(0.0, 0.02 / (math.sqrt(2 * config.layers) if last else 1.0), generator=generator)
    return model


def encode(document: Document, tokenizer: PreTrainedTokenizerFast, *, context: int) -> Row:
    """Token ids of a document and the weight of each, cut to `context`."""
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in document.parts:
        part = tokenizer.encode(text, add_special_tokens=False, verbose=False)
        ids += part
        weights += [weight] * len(part)
    return ids[:context], weights[:context]


def batches(rows: Iterator[Row], *, batch_tokens: int, seed: int, pool: int = 1024) -> Iterator[Batch]:
    """Batches (ids (B, T), weights (B, T)) of rows alike in length; weight 0 on padding. Ends with the rows."""
    generator = torch.Generator().manual_seed(seed)
    while held := list(islice(rows, pool)):
        held.sort(key=lambda row: len(row[0]))
        groups: list[list[Row]] = [[]]
        for row in held:
            if (len(groups[-1]) + 1) * len(row[0]) > batch_tokens:
                groups.append([])
            groups[-1].append(row)
        for at in torch.randperm(len(groups), generator=generator).tolist():
            if groups[at]:
                yield _padded(groups[at])


def _padded(rows: list[Row]) -> Batch:
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    weights = torch.zeros(len(rows), longest)
    for at, (row, weight) in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
        weights[at, : len(row)] = torch.tensor(weight)
    return ids, weights


def weighted_loss(model: LlamaForCausalLM, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sum of the cross-entropies of a batch, and the sum of the weights. Padding is on the right."""
    ids, weights = batch
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]  # (B, T-1, V); causal, so no mask is needed
    losses = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
    counted = weights[:, 1:].flatten()
    return (losses * counted).sum(), counted.sum()


def optimisers(model: LlamaForCausalLM, config: TrainConfig, stage: int) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the embedding and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if not (p.dim() == 2 and "layers" in name)]
    return [
        torch.optim.Muon(matrices, lr=config.muon_rate[stage], weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=config.adam_rate[stage], betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(config: TrainConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Train from nothing through all stages; prints the loss now and then."""
    model = build(config, tokenizer)
    for stage in range(len(STAGES)):
        train_stage(model, config, tokenizer, stage=stage)
        model.half().float()  # what is saved between the stages and after them
    return model.eval()


def train_stage(
    model: LlamaForCausalLM, config: TrainConfig, tokenizer: PreTrainedTokenizerFast, *, stage: int
) -> None:
    """One stage in place, with optimisers of its own and a rate that rises, then falls to nothing."""
    model.train()
    steppers = optimisers(model, config, stage)
    rates = [stepper.param_groups[0]["lr"] for stepper in steppers]
    texts = documents(seed=config.seed + 1 + 2 * stage, stage=STAGES[stage])
    rows = (encode(document, tokenizer, context=config.context) for document in texts)
    seen, shown, total, start = 0, 0, config.tokens[stage], time.perf_counter()
    for step, batch in enumerate(batches(rows, batch_tokens=config.batch_tokens, seed=config.seed)):
        for stepper, rate in zip(steppers, rates):
            stepper.param_groups[0]["lr"] = rate * _schedule(seen / total, config.warm_up)
        loss = _step(model, steppers, batch)
        seen += batch[0].numel()
        if seen >= shown:
            shown += total // 100
            print(
                f"stage {stage} step {step} tokens {seen} loss {loss:.3f} {time.perf_counter() - start:.0f} s",
                flush=True,
            )
        if seen >= total:
            return


def _step(model: LlamaForCausalLM, steppers: list[torch.optim.Optimizer], batch: Batch) -> float:
    total, count = weighted_loss(model, batch)
    loss = total / count
    for stepper in steppers:
        stepper.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for stepper in steppers:
        stepper.step()
    return loss.item()


def _schedule(done: float, warm_up: float) -> float:
    """Linear rise over `warm_up`, then linear fall to nothing."""
    return min(done / warm_up + 0.01, 1.0) if done < warm_up else max((1 - done) / (1 - warm_up), 0.0)


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, config: TrainConfig) -> float:
    """Mean cross-entropy, in nats per response token, over fresh chats of the generators."""
    chats = (document for document in documents(seed=config.seed + 2) if document.parts[1][1] == 0.0)
    rows = [encode(document, tokenizer, context=config.context) for document in islice(chats, config.held_out)]
    answers = iter([(ids, [float(weight == 1.0) for weight in weights]) for ids, weights in rows])
    sums = [weighted_loss(model, batch) for batch in batches(answers, batch_tokens=config.batch_tokens, seed=0)]
    return float(sum(total for total, _ in sums) / sum(count for _, count in sums))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model folder: weights in half precision to keep it small, to be loaded in single precision."""
    model.half().save_pretrained(folder)
    model.float()
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--threads", type=int, default=1, help="processor threads; part of what decides the weights")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = TrainConfig()
    print(json.dumps(asdict(config)))
    texts = tokenizer_texts(seed=config.seed)
    tokenizer = train_tokenizer(texts, size=config.vocabulary, max_length=config.context)
    model = train(config, tokenizer)
    print(f"held-out loss {held_out_loss(model, tokenizer, config):.4f} nats per response token")
    save(model, tokenizer, options.out)


if __name__ == "__main__":
    main()
