#!/usr/bin/env python
"""Re-ranking of a whole test set by ITM: pairs a second, and peak memory, on generated features of the real sizes.

Default: COCO's 5k test set, 5,000 images with 5 captions each. Embeddings are random, a caption's near its image's; the
top k of both ways, their union and the matching of its pairs are those of ``mvlm-eval retrieval``. Matching stops after
``--seconds``; every image has about as many pairs, so the rest is extrapolated.

    python benchmarks/rerank.py --arch mvlm_base --seconds 60
"""

import argparse
import json
import resource
import time
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models import MODEL_DATACLASS_REGISTRY

from mvlm_plugin.allocator import keep_freed_memory
from mvlm_plugin.evaluation.features import SplitFeatures, TextFeatures
from mvlm_plugin.evaluation.rerank import CandidatePairs, match_pairs, neighbours
from mvlm_plugin.models.architectures import ARCHITECTURES
from mvlm_plugin.models.mvlm import MvlmModel

CAPTION_TOKENS = (9, 19)  # shortest and longest generated caption, <s> and </s> counted; COCO's mean is about 13
NOISE = 0.5  # of a caption's embedding, for each dimension, as a share of its image's


def make_model(arch: str, device: torch.device) -> MvlmModel:
    """The architecture with random weights and a small vocabulary: matching reads features, not words."""
    dictionary = Dictionary()
    dictionary.add_symbol("<mask>")
    return ARCHITECTURES[arch](MODEL_DATACLASS_REGISTRY[arch](), dictionary).eval().to(device)


def make_features(model: MvlmModel, images: int, texts_per_image: int) -> SplitFeatures:
    """Random features of the model's sizes."""
    generator = torch.Generator().manual_seed(1)
    tokens, width = model.grid**2 + 1, model.cfg.fusion_width
    image_of_text = torch.arange(images).repeat_interleave(texts_per_image)
    low, high = CAPTION_TOKENS
    lengths = torch.randint(low, high, image_of_text.shape, generator=generator)
    texts = TextFeatures(torch.randn(int(lengths.sum()), width, generator=generator), lengths)
    of_images = torch.randn(images, model.cfg.embedding_width, generator=generator)
    noise = torch.randn(len(image_of_text), of_images.size(1), generator=generator)
    of_texts = of_images[image_of_text] + NOISE * noise
    whole = torch.randn(images, tokens, width, generator=generator)
    embeddings = F.normalize(of_images, dim=1), F.normalize(of_texts, dim=1)
    return SplitFeatures(whole, texts, *embeddings, image_of_text, torch.ones(images, dtype=torch.bool))


def peak_mib(device: torch.device) -> dict[str, float]:
    """Largest resident size of this process, and on a GPU the most that was allocated there."""
    peaks = {"peak_host_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}
    if device.type == "cuda":
        peaks["peak_gpu_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return peaks


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Candidates, then matching for the given time."""
    device = torch.device(arguments.device)
    model = make_model(arguments.arch, device)
    features = make_features(model, arguments.images, arguments.texts_per_image)
    start = time.perf_counter()
    of_images = neighbours(features.image_embeddings, features.text_embeddings, arguments.top_k)
    of_texts = neighbours(features.text_embeddings, features.image_embeddings, arguments.top_k)
    pairs = CandidatePairs(of_images.rows, of_texts.rows)
    result: dict[str, Any] = {
        "arch": arguments.arch,
        "images": arguments.images,
        "captions": len(features.image_of_text),
        "pairs": len(pairs),
        "features_mib": features.mebibytes,
        "candidates_seconds": time.perf_counter() - start,
    }
    start, start_cpu, done = time.perf_counter(), time.process_time(), 0
    chunks = match_pairs(
        model, features.images, features.texts, pairs.images, pairs.texts, arguments.pairs_per_chunk, device
    )
    for places, _ in chunks:
        done += len(places)
        if arguments.seconds and time.perf_counter() - start > arguments.seconds:
            break
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    result |= {"matched": done, "seconds": seconds, "pairs_per_second": done / seconds}
    result |= {"pairs_per_cpu_second": done / cpu_seconds, "hours_in_all": len(pairs) * seconds / done / 3600}
    return result | peak_mib(device)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="mvlm_base", choices=sorted(ARCHITECTURES), help="default: %(default)s")
    parser.add_argument("--images", type=int, default=5000, help="default: %(default)s")
    parser.add_argument("--texts-per-image", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--top-k", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--pairs-per-chunk", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=60, help="of matching; 0 = to the end (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", help="write the figures to this file")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        keep_freed_memory()
    result = measure(arguments)
    for name, value in result.items():
        print(f"{name.replace('_', ' '):24}{value:,.1f}" if isinstance(value, float) else f"{name:24}{value}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
