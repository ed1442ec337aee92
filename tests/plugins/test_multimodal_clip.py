"""Families clip-text and clip-vision: two towers of one checkpoint, each a backbone, in one embedding space."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

import headstock_multimodal
from headstock.catalogue import Catalogue
from headstock.cli.pull import command as pull_command
from headstock.errors import InvalidInput, Unsupported
from headstock.hookspecs import BackboneFamily, SourceFiles
from headstock.names import Reference
from headstock.plugin_host.manifest import FILE_NAME, Manifest, parse, parse_toml
from headstock.preprocess import open_preprocessor
from headstock.preprocess.image_samples import samples
from headstock.settings import Settings
from headstock.testing import check_family
from headstock.testing.tiny_clip import make_tiny_clip
from headstock.testing.tiny_text import make_legacy
from headstock_multimodal.clip_text import ClipTextFamily
from headstock_multimodal.clip_vision import ClipVisionFamily
from headstock_multimodal.plugin import backbone_families

TEXT, VISION = ClipTextFamily(), ClipVisionFamily()
FAMILIES: tuple[BackboneFamily, ...] = (TEXT, VISION)
TEXTS = ["a photo of a lamp", "the invoice for march is wrong", "Refund, please!"]


def source(folder: Path, **changes: Any) -> SourceFiles:
    """The source that a pull of this folder would give, with keys of its config.json changed."""
    return SourceFiles(folder, json.loads((folder / "config.json").read_text()) | changes, "path:tiny")


def taps(family: BackboneFamily, files: SourceFiles, raw: list[Any]) -> dict[str, torch.Tensor]:
    """All taps of raw samples, through the preprocessing that serving uses."""
    reader = open_preprocessor(family.preprocess(files), family.files(files))
    batch = {name: torch.from_numpy(array) for name, array in reader.collate(reader.rows(raw)).items()}
    with torch.inference_mode():
        found: dict[str, torch.Tensor] = family.load(files)(**batch)
    return found


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with both towers; never written to."""
    return make_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture
def tiny(original: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint, to change."""
    return Path(shutil.copytree(original, tmp_path / "tiny"))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_family_keeps_every_promise_of_the_contract(family: BackboneFamily, original: Path) -> None:
    """The same kit that third parties run."""
    assert [r for r in check_family(family, source(original)) if not r.passed] == []


def test_one_checkpoint_gives_two_backbones_that_find_each_other(original: Path, tmp_path: Path) -> None:
    """Pulled once per tower, each may share batches; their identities name the same space."""
    runner, home = CliRunner(), str(tmp_path)
    done = runner.invoke(pull_command, [f"path:{original}", "--name", "clip"], env={"HEADSTOCK_HOME": home})
    assert done.exit_code != 0
    assert "clip-text" in str(done.exception)
    assert "clip-vision" in str(done.exception)
    for family in FAMILIES:
        arguments = [f"path:{original}", "--name", family.name, "--family", family.name, "--format", "json"]
        done = runner.invoke(pull_command, arguments, env={"HEADSTOCK_HOME": home})
        assert done.exit_code == 0, done.output
        (record,) = json.loads(done.stdout)
        assert (record["shared"], record["measured"]) == (True, 0.0)
        assert set(record["parity"]) == {"embedding", "pooled", "tokens"} | (
            {"feature_map"} if family is VISION else set()
        )
        assert max(found["max_error"] for found in record["parity"].values()) < 1e-5
    with Catalogue.open(Settings.from_environment({"HEADSTOCK_HOME": home})) as catalogue:
        versions = [catalogue.version(Reference(family.name)) for family in FAMILIES]
        one, other = (catalogue.artefact(version.subject).identity["architecture"]["space"] for version in versions)
    assert one == other
    assert one["width"] == 12


# -------------------------------------------------------------------------------------------- both towers
def test_raw_texts_and_images_score_as_they_do_in_transformers(original: Path) -> None:
    """Tokens, pixels, towers, projections and scale: the logits of the whole model."""
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    pictures = samples()[:4]
    texts, images = (
        taps(family, source(original), raw)["embedding"] for family, raw in ((TEXT, TEXTS), (VISION, pictures))
    )
    scale = np.exp(TEXT.architecture(source(original))["space"]["logit_scale"])
    tokens = CLIPTokenizer.from_pretrained(original)(TEXTS, padding=True, return_tensors="pt")
    opened = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    pixels = CLIPImageProcessorPil.from_pretrained(original)(opened, return_tensors="pt")
    with torch.inference_mode():
        whole = CLIPModel.from_pretrained(original, attn_implementation="eager").eval()
        expected = whole(**tokens, **pixels).logits_per_image
    torch.testing.assert_close(scale * images @ texts.T, expected, atol=1e-4, rtol=0)
    assert (expected.max() - expected.min()) > 0.5


def test_embeddings_have_length_one(original: Path) -> None:
    """So a product of two is their cosine, and a zero-shot classifier is a linear head."""
    for family, raw in ((TEXT, TEXTS), (VISION, samples()[:3])):
        found = taps(family, source(original), list(raw))
        torch.testing.assert_close(found["embedding"].norm(dim=1), torch.ones(3))
        assert list(found) == ["tokens", *(["feature_map"] if family is VISION else []), "pooled", "embedding"]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_tower_by_itself_is_the_same_network_without_a_space(family: BackboneFamily, tmp_path: Path) -> None:
    """Nothing says what its embeddings may be compared with."""
    raw = list(TEXTS) if family is TEXT else samples()[:3]
    whole = source(make_tiny_clip(tmp_path / "whole"))
    alone = source(make_tiny_clip(tmp_path / "alone", tower="text" if family is TEXT else "vision"))
    assert family.recognises(alone)
    assert torch.equal(taps(family, alone, raw)["embedding"], taps(family, whole, raw)["embedding"])
    assert family.architecture(alone)["space"] is None
    assert {**family.architecture(alone), "space": 0} == {**family.architecture(whole), "space": 0}


def test_another_projection_is_another_space(original: Path, tiny: Path) -> None:
    """Half precision of the same values would not be; a moved axis is."""
    before = TEXT.architecture(source(original))["space"]
    assert VISION.architecture(source(original))["space"] == before
    tensors = load_file(tiny / "model.safetensors")
    tensors["visual_projection.weight"][0, 0] += 1
    save_file(tensors, tiny / "model.safetensors")
    after = TEXT.architecture(source(tiny))["space"]
    assert after["digest"] != before["digest"]
    assert after["logit_scale"] == before["logit_scale"] == pytest.approx(2.6592)
    save_file(tensors | {"visual_projection.weight": torch.zeros(7, 16)}, tiny / "model.safetensors")
    with pytest.raises(InvalidInput, match="projects texts to 12 and images to 7 features"):
        TEXT.architecture(source(tiny))


# --------------------------------------------------------------------------------------------- text tower
def test_the_text_is_summed_up_at_its_first_end_token(original: Path) -> None:
    """Wherever it stands, and whatever lies behind it; padding is not looked at."""
    end = TEXT.architecture(source(original))["eos_token_id"]
    ids = torch.tensor([[9, 20, end, 30, end], [9, end, end, end, end], [9, 20, 30, end, end]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])
    with torch.inference_mode():
        found = TEXT.load(source(original))(ids, mask)
    assert torch.equal(found["pooled"][0], found["tokens"][0, 2])
    assert torch.equal(found["pooled"][1], found["tokens"][1, 1])
    # No end token of its own: the first token stands in, never one that belongs to the padding.
    assert torch.equal(found["pooled"][2], found["tokens"][2, 0])


def test_older_configurations_end_at_the_highest_id(tmp_path: Path) -> None:
    """The published ones name 2 as their end token, and transformers knows that they do not mean it."""
    from transformers import CLIPModel

    folder = make_tiny_clip(tmp_path / "tiny", settings={"text_config": {"eos_token_id": 2}})
    ids = torch.tensor([[9, 20, 573, 30, 573], [9, 41, 573, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.inference_mode():
        expected = CLIPModel.from_pretrained(folder, attn_implementation="eager").eval().get_text_features(ids, mask)
        found = TEXT.load(source(folder))(ids, mask)
    assert torch.equal(found["pooled"][0], found["tokens"][0, 2])
    torch.testing.assert_close(
        found["embedding"], torch.nn.functional.normalize(expected.pooler_output, dim=-1), atol=1e-6, rtol=0
    )


def test_a_checkpoint_with_vocab_and_merges_gets_the_same_tokenizer(
    original: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lower case, ends of words, and texts between both special tokens."""
    from tokenizers import Tokenizer

    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    made = Tokenizer.from_file(str(TEXT.files(source(make_legacy(tiny)))["tokenizer"]))
    shipped = Tokenizer.from_file(str(original / "tokenizer.json"))
    for text in ("A Photo of  a lamp!", "it's 9.99 €", "<|endoftext|> end"):
        assert made.encode(text).ids == shipped.encode(text).ids
    assert TEXT.preprocess(source(original)).options["max_length"] == 32


# ------------------------------------------------------------------------------------------- vision tower
def test_the_image_processor_must_fit_the_positions(tiny: Path) -> None:
    """Another size would need other positions."""
    processor = json.loads((tiny / "preprocessor_config.json").read_text())
    processor |= {"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}
    (tiny / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(InvalidInput, match="has positions for 32 x 32 pixels but its image processor makes 40 x 40"):
        VISION.load(source(tiny))


def test_timms_layout_is_refused_with_a_way_out() -> None:
    """It is recognised, so that the answer is not that nobody knows it."""
    files = SourceFiles(Path("nowhere"), {"architecture": "vit_base_patch32_clip_224"}, "hf:timm/x")
    assert VISION.recognises(files)
    with pytest.raises(Unsupported, match="is a timm checkpoint"):
        VISION.architecture(files)


# ------------------------------------------------------------------------------------------ configuration
def test_they_recognise_clip_and_nothing_else() -> None:
    for config, expected in [
        ({"model_type": "clip"}, [True, True]),
        ({"model_type": "clip_text_model"}, [True, False]),
        ({"model_type": "clip_vision_model"}, [False, True]),
        ({"model_type": "clipseg"}, [False, False]),
        ({}, [False, False]),
    ]:
        assert [f.recognises(SourceFiles(Path("nowhere"), config, "path:x")) for f in FAMILIES] == expected


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_older_spelling_of_a_towers_settings_wins(family: BackboneFamily, original: Path) -> None:
    """As it does in transformers, complete as it stands."""
    key = "text_config" if family is TEXT else "vision_config"
    settings = source(original).config[key]
    older = source(original, **{key: {"hidden_size": 99}, f"{key}_dict": settings})
    assert family.architecture(older) == family.architecture(source(original))
    with pytest.raises(InvalidInput, match=f"has {key} = 'small'; expected an object"):
        family.architecture(source(original, **{key: "small"}))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_hidden_layers": 3}, "lacks 16 weights"),
        ({"num_hidden_layers": 1}, "has 16 weights .*for which its config.json"),
        ({"num_attention_heads": 3}, "describes no network"),
        ({"auto_map": {}}, "key 'auto_map', which chooses code to run"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(
    family: BackboneFamily, original: Path, changes: dict[str, Any], message: str
) -> None:
    """By the weight or the key; the other tower's weights are not in the way."""
    key = "text_config" if family is TEXT else "vision_config"
    files = source(original, **{key: source(original).config[key] | changes})
    with pytest.raises(InvalidInput, match=message):
        family.load(files)


# ------------------------------------------------------------------------------------------------- plugin
def manifest() -> Manifest:
    package = Path(headstock_multimodal.__file__).parent
    table = parse_toml((package / FILE_NAME).read_bytes())
    return parse(
        table, name="headstock-multimodal", package="headstock_multimodal", distribution="headstock", version="0"
    )


def test_the_manifest_tells_the_truth_about_the_hooks() -> None:
    declared = [(family.name, family.modality) for family in manifest().families]
    assert declared == [(family.name, family.modality) for family in backbone_families()]


def test_presets_name_each_tower_and_claim_no_licence_that_nobody_stated() -> None:
    presets = {preset.name: preset for family in manifest().families for preset in family.presets}
    assert len(presets) == 8
    assert presets["clip-vit-base-patch32-text"].source == presets["clip-vit-base-patch32-vision"].source
    assert {p.licence for p in presets.values() if p.source.startswith("hf:openai/")} == {"NOASSERTION"}


def test_naming_the_families_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; import headstock_multimodal.plugin as p; p.backbone_families();"
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
