"""The pair: a generator that samples replacements and a discriminator that reads the corrupted input.

Both belong to one family (`families.py`), unless a released generator belongs to another. `sharing.py` ties their
weights. Some objectives and plans add heads: `masked_lm`, a language-model head that predicts original tokens from the
discriminator's hidden states, and `baseline`, which predicts the generator's reward (plan `adversarial`).

The discriminator is saved with its detection head or, if that was not trained, with the language-model head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elektron.hub import without_unused_token_types
from elektron.io.checksums import write_checksums
from elektron.models.attention import use_fast_attention
from elektron.models.dtensors import copy_to_cpu
from elektron.models.families import Family, Sizes, check_sizes, fix_first_logit
from elektron.models.packed import PackedPositions
from elektron.models.sharing import GdesEmbedding, Sharing, share

DISCRIMINATOR, GENERATOR = "discriminator", "generator"
Result = TypeVar("Result")


def network_of_run(folder: str, network: str) -> str | None:
    """The subfolder of `network` if `folder` is a pre-training run that has one, else None."""
    inside = Path(folder) / network
    is_run = not (Path(folder) / "config.json").exists() and (inside / "config.json").exists()
    return str(inside) if is_run else None


class Pair(nn.Module):
    """The generator and the discriminator, with tied weights and additional heads."""

    def __init__(
        self,
        family: Family,
        generator: PreTrainedModel | None,
        discriminator: PreTrainedModel,
        generator_family: Family | None = None,
    ) -> None:
        super().__init__()
        self.family = family
        self.generator_family = generator_family or family
        self.discriminator = discriminator
        self.generator = generator
        self.masked_lm: PreTrainedModel | None = None
        self.baseline: nn.Linear | None = None
        self.new_parts: list[str] = []
        """`generator`, `discriminator`, `lm`: networks, or heads of these, that do not come from a checkpoint."""
        self.pooler: dict[str, Tensor] = {}
        """Weights of a released encoder's pooler, which is not trained; the discriminator is saved with them."""
        self.vocab_size: int | None = None
        """Number of tokens of the tokenizer. Released networks may have more embeddings: those have no logits here."""
        for network in (discriminator, generator):
            if network is not None:
                use_fast_attention(network)

    def forward(self, objective: Callable[..., Result], *arguments: Any) -> Result:
        """Call an objective with the networks and its other arguments.

        The call goes through `forward` so that FSDP's hooks gather sharded networks.
        """
        return objective(self, *arguments)

    def add_masked_lm(self) -> None:
        """Add a head that predicts tokens from the discriminator's states, tied to the embeddings, if there is none."""
        if self.masked_lm is None:
            self.masked_lm = self.family.generator_class(self.discriminator.config)
            setattr(self.masked_lm, self.masked_lm.base_model_prefix, self.discriminator.base_model)
            self.masked_lm.tie_weights()

    def add_baseline(self) -> None:
        """Add a head that predicts the generator's reward, one number per position."""
        assert self.generator is not None
        self.baseline = nn.Linear(self.generator.config.hidden_size, 1)

    def generator_states(self, input_ids: Tensor, packed: PackedPositions) -> Tensor:
        """The generator's hidden states `(batch, length, generator width)`."""
        assert self.generator is not None
        return self.generator_family.encode(self.generator.base_model, input_ids, packed)

    def token_logits(self, hidden_states: Tensor) -> Tensor:
        """The generator's logits `(…, vocabulary)` for hidden states `(…, generator width)`."""
        assert self.generator is not None
        return self.generator_family.token_logits(self.generator, hidden_states)[..., : self.vocab_size]

    def discriminator_states(self, input_ids: Tensor, packed: PackedPositions) -> Tensor:
        """The discriminator's hidden states `(batch, length, width)`."""
        return self.family.encode(self.discriminator.base_model, input_ids, packed)

    def replaced_logits(self, hidden_states: Tensor) -> Tensor:
        """The discriminator's logits `(…)` for its states `(…, width)`, positive for "replaced"."""
        return self.family.replaced_logits(self.discriminator, hidden_states)

    def lm_logits(self, hidden_states: Tensor) -> Tensor:
        """Logits of the language-model head `(…, vocabulary)` for the discriminator's states `(…, width)`."""
        assert self.masked_lm is not None
        return self.family.token_logits(self.masked_lm, hidden_states)[..., : self.vocab_size]

    def set_trained(self, generator: bool, discriminator: bool) -> None:
        """Set the networks to training or evaluation mode; shared modules train if one of the networks does."""
        # Shared modules keep the mode that is set last.
        for trained, name in sorted([(generator, GENERATOR), (discriminator, DISCRIMINATOR)]):
            for network in self.networks()[name]:
                network.train(trained)

    def networks(self) -> dict[str, list[nn.Module]]:
        """The modules of the two networks, with the heads that belong to each."""
        present = {DISCRIMINATOR: [self.discriminator, self.masked_lm], GENERATOR: [self.generator, self.baseline]}
        return {name: [m for m in modules if m is not None] for name, modules in present.items()}

    def encoder_layers(self) -> list[nn.Module]:
        """The Transformer layers of both encoders, each once."""
        encoders = [(self.family, self.discriminator)]
        if self.generator is not None:
            encoders.append((self.generator_family, self.generator))
        layers = [
            layer
            for family, network in encoders
            for layer in network.base_model.get_submodule(family.encoder_layers).children()
        ]
        return list(dict.fromkeys(layers))

    def parameters_of(self, name: str) -> list[nn.Parameter]:
        """All parameters of a network, including shared ones."""
        return list(dict.fromkeys(p for module in self.networks()[name] for p in module.parameters()))

    def new_heads(self) -> set[nn.Parameter]:
        """The parameters of the heads in `new_parts`, without embeddings that a head is tied to."""
        networks = {DISCRIMINATOR: self.discriminator, GENERATOR: self.generator, "lm": self.masked_lm}
        new = [network for part in self.new_parts if (network := networks[part]) is not None]
        return {p for network in new for p in network.parameters()} - {
            p for network in new for p in network.base_model.parameters()
        }

    def exported(self, detects: bool) -> dict[str, PreTrainedModel]:
        """The models to save. The discriminator has its detection head if `detects`, else the language-model head."""
        kept = self.discriminator if detects else self.masked_lm
        assert kept is not None
        return {DISCRIMINATOR: kept} | ({} if self.generator is None else {GENERATOR: self.generator})

    def parameter_counts(self, detects: bool = True) -> dict[str, int]:
        """Number of parameters of each `exported` network; shared ones are counted in both."""
        return {name: sum(p.numel() for p in network.parameters()) for name, network in self.exported(detects).items()}

    def save(
        self, folder: Path, tokenizer: PreTrainedTokenizerBase, objective: str, detects: bool, writes: bool = True
    ) -> None:
        """Write `generator/` and `discriminator/` under `folder`, each with weights, config and tokenizer.

        All processes gather sharded networks; one of them writes.

        Args:
            folder: folder of the run.
            tokenizer: saved with both networks.
            objective: name of the objective, stored in the discriminator's configuration.
            detects: whether the detection head was trained; else the language-model head is saved.
            writes: whether this process writes.
        """
        networks = self.exported(detects)
        networks[DISCRIMINATOR].config.pretraining_objective = objective
        weights = {name: exported_weights(network, writes) for name, network in networks.items()}
        if writes:
            prefix = networks[DISCRIMINATOR].base_model_prefix
            weights[DISCRIMINATOR] |= {f"{prefix}.{name}": weight for name, weight in self.pooler.items()}
            for name, network in networks.items():
                network.save_pretrained(folder / name, state_dict=weights[name])
                without_unused_token_types(tokenizer, network.config).save_pretrained(folder / name)
                write_checksums(folder / name)


def exported_weights(network: PreTrainedModel, keeps: bool = True) -> dict[str, Tensor]:
    """The state dict that transformers can load; empty on processes that do not keep it.

    The two tables of GDES embeddings are summed.
    """
    state: dict[str, Tensor] = network.state_dict(keep_vars=True)
    for name, module in network.named_modules():
        if isinstance(module, GdesEmbedding):
            state[f"{name}.weight"] = module.merged()
    # Tied weights must stay one tensor, which transformers writes once.
    first_names: dict[Tensor, str] = {}
    for name, tensor in state.items():
        first_names.setdefault(tensor, name)
    kept = copy_to_cpu({name: tensor for tensor, name in first_names.items()}, keeps)
    return {name: kept[first_names[tensor]] for name, tensor in state.items()} if keeps else {}


def build_pair(
    family: Family,
    sizes: Sizes,
    generator_sizes: Sizes | None,
    vocab_size: int,
    special_ids: Mapping[str, int],
    sharing: Sharing = "embeddings",
) -> Pair:
    """A pair with random weights, drawn from torch's global random number generator.

    Args:
        family: the architecture of both networks.
        sizes: the discriminator's sizes.
        generator_sizes: the generator's sizes; None for a discriminator alone.
        vocab_size: entries in the vocabulary.
        special_ids: ids of `pad`, `cls` and `sep`.
        sharing: which weights the networks share.

    Raises:
        ElektronError: the sizes are invalid.
    """
    check_sizes(DISCRIMINATOR, sizes)
    generator = None
    if generator_sizes is not None:
        check_sizes(GENERATOR, generator_sizes)
        generator = family.generator_class(family.make_config(generator_sizes, vocab_size, special_ids))
    discriminator = family.discriminator_class(family.make_config(sizes, vocab_size, special_ids))
    fix_first_logit(discriminator)
    if generator is not None:
        share(generator, discriminator, sharing)
    pair = Pair(family, generator, discriminator)
    pair.new_parts = [DISCRIMINATOR] if generator is None else [DISCRIMINATOR, GENERATOR]
    return pair
