"""Peak memory of the engine against the size of the model's weights, whatever the corpus.

    python benchmarks/engine_memory.py [--encoder minilm] [--texts 1000 10000 100000]

Each corpus is embedded in a process of its own that keeps the embeddings, whose size is taken off;
the peak is that of the whole process, interpreter and libraries included. The yardstick is 1.3
times the weights plus 300 MB. Texts have 1 to 250 words, drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import numpy as np

from safe_embed.encoders import load_encoder
from safe_embed.encoders.onnx_encoder import OnnxEncoder

WORDS = ("how", "do", "i", "get", "red", "wine", "out", "of", "a", "white", "shirt", "before")


def child(name: str, n_texts: int) -> None:
    """Prints the peak, the embeddings and the texts, and the weights, in bytes."""
    encoder = load_encoder(name)
    assert isinstance(encoder, OnnxEncoder)
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.geometric(0.06, n_texts), 250)
    texts = [" ".join(rng.choice(WORDS, length)) for length in lengths]
    embeddings = encoder.encode(texts)
    held = embeddings.nbytes + sum(sys.getsizeof(text) for text in texts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    print(peak, held, encoder.model.weights_path.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--texts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.encoder, arguments.child)
        return
    # A child's peak begins with its parent's memory, so the parent loads nothing. The first child
    # fetches the encoder and builds the graph; those after it read the cached one.
    command = [sys.executable, __file__, "--encoder", arguments.encoder]
    subprocess.run([*command, "--child", "1"], check=True, stdout=subprocess.DEVNULL)
    for n_texts in arguments.texts:
        done = subprocess.run(
            [*command, "--child", str(n_texts)], capture_output=True, text=True, check=True
        )
        peak, held, weights = (int(part) / 1e6 for part in done.stdout.split())
        allowed = 1.3 * weights + 300
        print(
            f"{n_texts:>7} texts: peak {peak:.0f} MB, texts and embeddings {held:.0f} MB, weights "
            f"{weights:.0f} MB; (peak - texts and embeddings) / (1.3 weights + 300 MB) = "
            f"{(peak - held) / allowed:.2f}"
        )


if __name__ == "__main__":
    main()
