"""A large contrastive batch in the memory of a small one: cached features (GradCache; Gao et al., RepL4NLP 2021).

1. Whole images and captions are encoded chunk by chunk without gradient, and only their features are kept.
2. ITC over the whole batch, then ITM chunk by chunk with negatives from the whole batch, are differentiated down to
   these features.
3. Each chunk is encoded again, with the same dropout, and differentiated from its masked objectives and from the
   gradients of its features together.

The sum of the gradients is the large batch's. Kept at a time: whole features of the batch and their gradients, and the
activations of one chunk. Added work: the encoders on whole views once more, without gradient, and more projections for
the cross-modality encoders.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..losses.negatives import HardNegatives
from ..models.contexts import Contexts
from ..models.matching_plan import MatchingPlan, WholePairs, following_rows, plan_matching
from ..models.mvlm import MvlmModel
from ..models.outputs import Features, ItcOutput, PretrainingOutput, needed_views
from ..precision import full_precision
from .chunks import split_batch

_WHOLE = {"image", "text"}


class RandomState(NamedTuple):
    """States of the global generators that dropout draws from."""

    host: Tensor
    device: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        """The present states, of the host and of a device."""
        on_host = device.type in ("cpu", "meta")  # meta: operations are counted, nothing is drawn
        return cls(torch.get_rng_state(), None if on_host else torch.get_device_module(device).get_rng_state(device))

    def restore(self, device: torch.device) -> None:
        """Draw again what was drawn after this state."""
        torch.set_rng_state(self.host)
        if self.device is not None:
            torch.get_device_module(device).set_rng_state(self.device, device)


class _Cached(NamedTuple):
    """Features of whole images and captions without graph, and what was differentiated down to them."""

    pairs: WholePairs
    image_gradient: Tensor
    text_gradient: Tensor

    @classmethod
    def of(cls, pairs: WholePairs) -> "_Cached":
        return cls(pairs, torch.zeros_like(pairs.image), torch.zeros_like(pairs.text))

    def take(self, image_rows: Tensor | slice, text_rows: Tensor | slice) -> WholePairs:
        """Some rows as the leaves of a new graph."""
        image, text, padding_mask = self.pairs
        return WholePairs(
            image[image_rows].detach().requires_grad_(),
            text[text_rows].detach().requires_grad_(),
            padding_mask[text_rows],
        )

    def add(self, image_rows: Tensor, text_rows: Tensor, taken: WholePairs) -> None:
        """Add the gradients of rows that were taken."""
        self.image_gradient.index_add_(0, image_rows, _gradient(taken.image))
        self.text_gradient.index_add_(0, text_rows, _gradient(taken.text))


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _backward(tensors: Sequence[Tensor], gradients: Sequence[Tensor | None] | None = None) -> None:
    """Differentiate outside of autocast, which would round the gradients of what is computed in float32."""
    with full_precision(tensors[0].device):
        torch.autograd.backward(tensors, gradients)


class CachedStep:
    """Forward and backward of one batch, as criterion(model, sample) and backward of its loss, in less memory.

    Args:
        model: of the task, or fairseq's wrapper around it; gradients of ranks are not reduced here.
        criterion: JointMaskedVLCriterion.
        chunk: pairs that are encoded with gradient at a time.
        factor: of the loss; 0 on a rank without data.
    """

    def __init__(self, model: MvlmModel, criterion: Any, chunk: int, factor: float = 1.0) -> None:
        self.model, self.criterion, self.chunk, self.factor = model, criterion, chunk, factor
        self.masked = [name for name in criterion.objectives if name in ("mlm", "mim")]
        self.aligned = [name for name in criterion.objectives if name in ("itc", "itm")]
        self._log: dict[str, Any] = {}

    def __call__(self, sample: dict[str, Any]) -> tuple[Tensor, int, dict[str, Any]]:
        """Add the batch's gradients to the model's; returns what the criterion does, the loss without graph."""
        self._log = {}
        chunks = self.split(sample)
        states: list[RandomState] = []
        cached = None
        if self.aligned:
            cached, states = self._encode(sample, chunks)
            self._align(sample, chunks, cached)
        self._encode_again(chunks, cached, states)
        return self._log["loss"] * self.factor, sample["nsentences"], self._log | self.criterion.counts(sample)

    def split(self, sample: dict[str, Any]) -> list[dict[str, Any]]:
        """The batch's chunks; see split_batch()."""
        return split_batch(sample, self.chunk)

    def _weigh(self, output: PretrainingOutput, sample: dict[str, Any]) -> Tensor:
        """The weighted loss of some outputs; their share of the log is added."""
        loss, log = self.criterion.weigh(output, sample)
        for name, value in log.items():
            self._log[name] = self._log[name] + value if name in self._log else value
        return loss * self.factor

    def _views(self, inputs: dict[str, Any], views: set[str]) -> Features:
        model = self.model
        pixels, mask = model.normalize(inputs["images"]), model.patch_mask(inputs["block_mask"])
        return model.encode_views(pixels, mask, inputs["tokens"], inputs["masked_tokens"], views)

    @torch.no_grad()
    def _encode(self, sample: dict[str, Any], chunks: list[dict[str, Any]]) -> tuple[_Cached, list[RandomState]]:
        """Whole features of the batch without graph (token 0 only where ITM is off), and the states they began with."""
        tokens = sample["net_input"]["tokens"]
        length = None if "itm" in self.aligned else 1
        kept: list[Tensor] = []
        states = []
        for rows, part in self._rows(chunks):
            states.append(RandomState.now(tokens.device))
            features = self._views(part["net_input"], _WHOLE)
            new = [x[:, :length] for x in (features.image, features.text)]
            kept = kept or [x.new_empty((len(tokens), *x.shape[1:])) for x in new]
            for whole, x in zip(kept, new, strict=True):
                whole[rows] = x
        # Older torch would take weights that autocast has cast without gradient for those with gradient.
        torch.clear_autocast_cache()
        image, text = kept
        return _Cached.of(WholePairs(image, text, tokens[:, :length].eq(self.model.padding_idx))), states

    def _rows(self, chunks: list[dict[str, Any]]) -> Iterator[tuple[slice, dict[str, Any]]]:
        for number, part in enumerate(chunks):
            yield slice(number * self.chunk, number * self.chunk + part["nsentences"]), part

    def _align(self, sample: dict[str, Any], chunks: list[dict[str, Any]], cached: _Cached) -> None:
        """Differentiate ITC and ITM down to the cached features."""
        image, text = (x[:, :1].detach().requires_grad_() for x in cached.pairs[:2])
        itc = self.model.embed(image, text)
        loss = self._weigh(PretrainingOutput(itc=itc), sample)
        if "itc" in self.aligned:
            _backward([loss])
            cached.image_gradient[:, :1] += _gradient(image)
            cached.text_gradient[:, :1] += _gradient(text)
        if "itm" not in self.aligned:
            return
        inputs, all_ranks = sample["net_input"], self.model.cfg.global_negatives
        embeddings = ItcOutput(*(x.detach() for x in itc))
        length = inputs["tokens"].size(1)
        plan = plan_matching(embeddings, inputs["image_ids"], length, all_ranks, sample.get("capacity"))
        if plan.exchange is None:
            self._match(chunks, plan, plan.negatives, cached, cached)
            return
        leaves = cached.take(slice(None), slice(None))
        fetched = plan.fetch(leaves)
        others = _Cached.of(fetched._replace(image=fetched.image.detach(), text=fetched.text.detach()))
        own = torch.arange(len(fetched.image), device=fetched.image.device)
        negatives = plan.negatives._replace(text_of_image=own, image_of_text=own)
        self._match(chunks, plan, negatives, cached, others)
        _backward(fetched[:2], [others.image_gradient, others.text_gradient])
        cached.image_gradient.add_(_gradient(leaves.image))
        cached.text_gradient.add_(_gradient(leaves.text))

    def _match(
        self,
        chunks: list[dict[str, Any]],
        plan: MatchingPlan,
        negatives: HardNegatives,
        cached: _Cached,
        others: _Cached,
    ) -> None:
        """ITM chunk by chunk; ``negatives`` are rows of ``others``."""
        everything = torch.arange(len(plan.is_pair), device=plan.is_pair.device)
        for rows, part in self._rows(chunks):
            here = HardNegatives(*(x[rows] for x in negatives))
            own = cached.take(rows, rows)
            other = others.take(here.image_of_text, here.text_of_image)
            part_plan = MatchingPlan(following_rows(here), plan.is_pair[rows], plan.scale)
            itm = self.model.judge(own.followed_by(other), part_plan)
            _backward([self._weigh(PretrainingOutput(itm=itm), part)])
            cached.add(everything[rows], everything[rows], own)
            others.add(here.image_of_text, here.text_of_image, other)

    def _encode_again(self, chunks: list[dict[str, Any]], cached: _Cached | None, states: list[RandomState]) -> None:
        """Encode with gradient; masked objectives, and backward from them and from the cached features."""
        model = self.model
        for number, (rows, part) in enumerate(self._rows(chunks)):
            inputs = part["net_input"]
            views = needed_views(self.masked, model.cfg.mask_both)
            gradients: list[tuple[Tensor, Tensor | None]] = []
            whole = None
            if cached is not None:
                states[number].restore(inputs["tokens"].device)
                whole = self._views(inputs, _WHOLE)
                views -= _WHOLE
                length = cached.pairs.text.size(1) if "itm" not in self.aligned else None
                gradients += [(whole.image[:, :length], cached.image_gradient[rows])]
                gradients += [(whole.text[:, :length], cached.text_gradient[rows])]
            if self.masked:
                masked = self._views(inputs, views)
                features = masked if whole is None else masked._replace(image=whole.image, text=whole.text)
                gradients.append((self._mask(features, part), None))
            used = [(x, gradient) for x, gradient in gradients if x.requires_grad]
            _backward([x for x, _ in used], [gradient for _, gradient in used])

    def _mask(self, features: Features, part: dict[str, Any]) -> Tensor:
        """The masked objectives' loss on a chunk."""
        model, inputs = self.model, part["net_input"]
        output = model.predict_masked(
            features,
            model.normalize(inputs["images"]),
            model.patch_mask(inputs["block_mask"]),
            inputs["tokens"].eq(model.padding_idx),
            inputs["mlm_positions"],
            self.masked,
            Contexts(model.fusion),
        )
        return self._weigh(output, part)
