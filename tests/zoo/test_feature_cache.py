"""The feature cache: each sample through the backbone once, ever; never a wrong row, whatever happens to its files."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstock.catalogue import Catalogue
from headstock.data.inputs import RawInputs
from headstock.digest import Digest, digest_bytes
from headstock.errors import InvalidInput, NotFound
from headstock.finetune.feature_cache import FeatureCache, Known
from headstock.finetune.features import FeatureExtractor, FeatureSet
from headstock.servable import ServableBackbone, load_backbone
from headstock.settings import Settings
from headstock.testing.toy import POISON, publish_backbone

TEXTS = ["refund my order", "great", "where is the invoice please", "w1 w2 w3 w4 w5 w6 w7", "awful", "good thanks"]


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home")})) as opened:
        yield opened


@pytest.fixture
def backbone(catalogue: Catalogue) -> ServableBackbone:
    return load_backbone(catalogue, publish_backbone(catalogue).subject)


def cache_of(tmp_path: Path, backbone: ServableBackbone, tap: str = "mean") -> FeatureCache:
    return FeatureCache(tmp_path / "cache", backbone.digest, tap, backbone.identity.preprocess)


class Plain(RawInputs):
    """Texts without a table around them."""

    block = 64

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self.samples = tuple(digest_bytes(text.encode()) for text in texts)

    def read(self, rows: Sequence[int]) -> tuple[list[Any], ...]:
        return ([self._texts[row] for row in rows],)

    def name(self, row: int) -> str:
        return f"row {row}, which begins {self._texts[row][:6]!r}"


def run(
    backbone: ServableBackbone,
    cache: FeatureCache | None,
    texts: Sequence[str] = TEXTS,
    *,
    threads: int = 1,
    tap: str = "mean",
) -> FeatureSet:
    extractor = FeatureExtractor(backbone, tap, cache, threads=threads)
    return extractor.features(Plain(texts), lambda done, total: None)


def shards(cache: FeatureCache) -> list[Path]:
    return sorted(cache.folder.glob("*.safetensors"))


# ------------------------------------------------------------------------------------------------ what is computed
def test_only_unknown_samples_run_through_the_backbone(tmp_path: Path, backbone: ServableBackbone) -> None:
    first = run(backbone, cache_of(tmp_path, backbone), TEXTS[:4])
    again = run(backbone, cache_of(tmp_path, backbone), TEXTS)
    warm = run(backbone, cache_of(tmp_path, backbone), TEXTS)
    assert (first.computed, first.cached) == (4, 0)
    assert (again.computed, again.cached) == (2, 4)
    assert (warm.computed, warm.cached) == (0, 6)
    assert np.array_equal(again.values[:4], first.values)
    assert np.array_equal(warm.values, again.values)


def test_cached_features_are_the_computed_ones_bit_for_bit(tmp_path: Path, backbone: ServableBackbone) -> None:
    run(backbone, cache_of(tmp_path, backbone), TEXTS[2:])
    assert np.array_equal(run(backbone, cache_of(tmp_path, backbone)).values, run(backbone, None).values)


def test_features_are_the_graphs_own_in_the_order_asked(backbone: ServableBackbone) -> None:
    from headstock.graph import Graph

    graph, preprocessor = Graph(backbone.graph), backbone.open_preprocessor()
    expected = [graph.run(preprocessor.collate(preprocessor.rows([t])), ["mean"])[0][0] for t in TEXTS]
    assert np.array_equal(run(backbone, None).values, np.stack(expected))


def test_equal_samples_run_once(backbone: ServableBackbone) -> None:
    features = run(backbone, None, ["great", "awful", "great", "great"])
    assert features.computed == 2
    assert np.array_equal(features.values[0], features.values[3])


def test_threads_change_no_bit(backbone: ServableBackbone) -> None:
    texts = [f"w{i % 100} " * (1 + i % 30) for i in range(300)]
    assert np.array_equal(run(backbone, None, texts).values, run(backbone, None, texts, threads=3).values)


def test_cut_samples_are_counted_whether_computed_or_cached(tmp_path: Path, backbone: ServableBackbone) -> None:
    texts = ["great", "w1 " * 500]
    assert run(backbone, cache_of(tmp_path, backbone), texts).truncated == 1
    assert run(backbone, cache_of(tmp_path, backbone), texts).truncated == 1


def test_a_backbone_that_leaks_between_rows_runs_each_row_alone(catalogue: Catalogue) -> None:
    leaky = load_backbone(catalogue, publish_backbone(catalogue, "leaky", leaky=True).subject)
    together = run(leaky, None, TEXTS).values
    alone = np.concatenate([run(leaky, None, [text]).values for text in TEXTS])
    assert np.array_equal(together, alone)


# ------------------------------------------------------------------------------------------------ keys
def test_each_backbone_tap_and_preprocessing_has_its_own_features(
    tmp_path: Path, catalogue: Catalogue, backbone: ServableBackbone
) -> None:
    other = load_backbone(catalogue, publish_backbone(catalogue, "other", seed=1).subject)
    folders = {
        cache_of(tmp_path, backbone).folder,
        cache_of(tmp_path, backbone, "cls").folder,
        cache_of(tmp_path, other).folder,
        FeatureCache(tmp_path / "cache", backbone.digest, "mean", Digest("sha256:" + "0" * 64)).folder,
    }
    assert len(folders) == 4


# ------------------------------------------------------------------------------------------------ damage
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_shard_is_dropped_and_computed_again(tmp_path: Path, backbone: ServableBackbone, damage: str) -> None:
    expected = run(backbone, cache_of(tmp_path, backbone)).values
    (shard,) = shards(cache_of(tmp_path, backbone))
    data = bytearray(shard.read_bytes())
    data[-5] ^= 1
    shard.write_bytes({"flip": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}[damage])
    cache = cache_of(tmp_path, backbone)
    features = run(backbone, cache)
    assert cache.dropped == 1
    assert features.computed == len(TEXTS)
    assert np.array_equal(features.values, expected)
    assert run(backbone, cache_of(tmp_path, backbone)).computed == 0


def test_an_unfinished_write_is_no_shard(tmp_path: Path, backbone: ServableBackbone) -> None:
    cache = cache_of(tmp_path, backbone)
    (cache.folder / ".half").write_bytes(b"half a shard")
    assert run(backbone, cache).computed == len(TEXTS)
    assert cache.dropped == 0


WRITER = """
import sys, hashlib, numpy as np
from pathlib import Path
from headstock.data.inputs import RawInputs
from headstock.digest import digest_bytes
from headstock.finetune.feature_cache import FeatureCache, Known
cache = FeatureCache(Path(sys.argv[1]), "sha256:b", "mean", "sha256:p")
for number in range(100000):
    samples = tuple(digest_bytes(f"{number}/{i}".encode()) for i in range(8))
    cache.append(Known(samples, np.full((8, 4), number, np.float32), np.zeros(8, np.uint8)))
    print(number, flush=True)
"""


def test_kill_9_loses_no_acknowledged_shard_and_leaves_none_damaged(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    acknowledged = [0, *(int(line) for line in process.stdout.read().split())]
    process.stdout.close()
    process.wait()
    cache = FeatureCache(tmp_path, Digest("sha256:b"), "mean", Digest("sha256:p"))
    wanted = {digest_bytes(f"{number}/{i}".encode()) for number in acknowledged for i in range(8)}
    found = Known.join(cache.load(wanted), (4,))
    assert set(found.samples) == wanted
    assert cache.dropped == 0


# ------------------------------------------------------------------------------------------------ rows of any length
def test_a_tap_with_a_vector_per_token_gives_every_row_its_own_positions(
    tmp_path: Path, backbone: ServableBackbone
) -> None:
    """No padding, the same bits as the row alone, computed or from the cache."""
    from headstock.graph import Graph

    graph, preprocessor = Graph(backbone.graph), backbone.open_preprocessor()
    cache = cache_of(tmp_path, backbone, "tokens")
    first, again = run(backbone, cache, TEXTS[:4], tap="tokens"), run(backbone, cache, TEXTS, tap="tokens")
    assert (again.computed, again.cached) == (2, 4)
    for found, texts in ((first, TEXTS[:4]), (again, TEXTS)):
        assert isinstance(found.values, list)
        for values, text in zip(found.values, texts, strict=True):
            (alone,) = graph.run(preprocessor.collate(preprocessor.rows([text])), ["tokens"])[0]
            assert values.shape == (len(text.split()) + 2, 16)
            assert values.tobytes() == alone.tobytes()


# ------------------------------------------------------------------------------------------------ refusals
def test_an_unknown_tap_names_those_that_exist(backbone: ServableBackbone) -> None:
    with pytest.raises(NotFound, match="'mean'"):
        FeatureExtractor(backbone, "pooled", None)


def test_features_that_are_no_numbers_are_refused_and_not_cached(tmp_path: Path, backbone: ServableBackbone) -> None:
    with pytest.raises(InvalidInput, match=f"begins '{POISON}'.* NaN"):
        run(backbone, cache_of(tmp_path, backbone), ["great", POISON])
    assert shards(cache_of(tmp_path, backbone)) == []


def test_a_text_that_cannot_be_read_is_shown(backbone: ServableBackbone) -> None:
    with pytest.raises(InvalidInput, match="begins 'zzzzzz"):
        run(backbone, None, ["great", "z" * 200_000])
