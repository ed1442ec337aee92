"""CLIP, GPT-2 and wav2vec2 through the collector: repositories as they are on the hub, with files that say so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headstock.backbone.pull import _with_plugins_words
from headstock.catalogue import Catalogue
from headstock.digest import Digest
from headstock.licences import Context, verdict
from headstock.licences.composition import Verdict
from headstock.licences.decisions import conclude
from headstock.licences.gate import read_facts
from headstock.licences.notice import notice
from headstock.licences.policy import Policy
from headstock.licences.settled import settle
from headstock.plugin_host import open_host
from headstock.settings import Settings
from headstock.sources import fetch
from headstock.testing.hub import COMMIT, LocalHub, Repository
from headstock.testing.publications import backbone_publication

COMMERCIAL = Context(purpose="commercial", audience="public")
MIT = """MIT License

Copyright (c) Facebook, Inc. and its affiliates.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
MODIFIED = MIT.replace("MIT License", "Modified MIT License").replace("Facebook, Inc. and its affiliates.", "A Lab") + (
    "\nUse it with care, and tell readers which words a machine wrote.\n"
)


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    with Catalogue.open(Settings.from_environment()) as opened:
        yield opened


class Hub:
    """Makes repositories, and collects what a pull would record of them without exporting anything."""

    def __init__(self, hub: LocalHub, catalogue: Catalogue, checkpoint: Path, folder: Path) -> None:
        self._hub, self._catalogue, self._checkpoint, self._folder = hub, catalogue, checkpoint, folder

    def repository(
        self, name: str, tag: str | None, files: dict[str, str], config: dict[str, Any] | None = None
    ) -> None:
        """A checkpoint with a card that has the tag, and these files instead of the checkpoint's own."""
        folder = Path(shutil.copytree(self._checkpoint, self._folder / name.replace("/", "--")))
        (folder / "LICENSE").unlink(missing_ok=True)
        (folder / "README.md").write_text(f"---\nlicense: {tag}\n---\n# It\n" if tag else "# It\n")
        for file, text in files.items():
            (folder / file).write_text(text)
        known = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**known, **(config or {})}))
        self._hub.repositories[name] = Repository(folder, card_data={"license": tag} if tag else {})

    def collect(self, name: str) -> Digest:
        """Publish a backbone of which all that the collector found is said, with the texts that came along."""
        work = self._folder / "work" / name.replace("/", "--")
        work.mkdir(parents=True)
        fetched = _with_plugins_words(self._catalogue, fetch(f"hf:{name}", work), open_host())
        made = backbone_publication(self._catalogue.store, "it", family=name.replace("/", "-"), licences=[])
        texts = {role: self._catalogue.store.put_bytes(p.read_bytes()) for role, p in fetched.documents.items()}
        artefacts = [replace(a, files={**a.files, **texts}) if a.kind == "backbone" else a for a in made.artefacts]
        evidence = [statement.about(made.subject) for statement in fetched.statements]
        return self._catalogue.publish(replace(made, artefacts=artefacts, evidence=evidence)).subject


@pytest.fixture
def made(hub: LocalHub, catalogue: Catalogue, tiny_checkpoint: Path, tmp_path: Path) -> Hub:
    return Hub(hub, catalogue, tiny_checkpoint, tmp_path / "repositories")


def kinds(found: Verdict) -> set[str]:
    return {finding.kind for finding in found.findings}


def test_clip_has_three_sources_three_answers_and_no_conclusion(catalogue: Catalogue, made: Hub) -> None:
    """No tag on the repository, MIT by the code that it came with, Apache-2.0 by timm's configuration."""
    name = "openai/clip-vit-base-patch32"
    made.repository(name, None, {}, {"pretrained_cfg": {"tag": "openai", "license": "apache-2.0"}})

    subject = made.collect(name)

    said = {(s.source, s.value) for s in catalogue.evidence(subject) if s.field == "licence"}
    assert said == {
        ("hub-tag", "NOASSERTION"),
        ("card", "NOASSERTION"),
        ("config", "Apache-2.0"),
        ("manifest", "MIT"),
    }
    settled = settle(read_facts(catalogue), subject)
    assert (settled.concluded, settled.declared) == ("NOASSERTION", "Apache-2.0 / MIT")
    found = verdict(catalogue, subject, COMMERCIAL)
    assert "conflict" in kinds(found)
    assert found.action == "warn"


def test_gpt2_whose_tag_says_mit_has_a_text_that_is_not_mit(catalogue: Catalogue, made: Hub) -> None:
    """The text is nearly MIT, and the plugin knows which it is; a person decides."""
    name = "openai-community/gpt2"
    made.repository(name, "mit", {"LICENSE": MODIFIED})

    subject = made.collect(name)

    said = {(s.source, s.value) for s in catalogue.evidence(subject) if s.field == "licence"}
    assert {("hub-tag", "MIT"), ("licence-file", "NOASSERTION"), ("similarity", "NOASSERTION")} <= said
    assert ("manifest", "LicenseRef-headstock-gpt2-modified-mit") in said
    found = verdict(catalogue, subject, COMMERCIAL)
    assert found.value == "unknown"
    (message,) = [f.message for f in found.findings if f.kind == "text-differs"]
    assert "like MIT" in message
    assert "Modified MIT License" in message

    conclude(catalogue, subject, "LicenseRef-headstock-gpt2-modified-mit", "read the text")
    concluded = verdict(catalogue, subject, COMMERCIAL)
    assert (concluded.value, {d.duty for d in concluded.duties}) == ("allow", {"mark-generated"})


def test_wav2vec2_is_under_two_permissive_licences_and_its_notice_has_both(catalogue: Catalogue, made: Hub) -> None:
    """The tag says Apache-2.0, the text that came along and fairseq say MIT."""
    name = "facebook/wav2vec2-base-960h"
    made.repository(name, "apache-2.0", {"LICENSE": MIT, "NOTICE": "Trained on LibriSpeech.\n"})

    subject = made.collect(name)

    assert settle(read_facts(catalogue), subject).declared == "Apache-2.0 / MIT"
    found = verdict(catalogue, subject, replace(COMMERCIAL, act="distribute"))
    assert (found.value, kinds(found)) == ("allow", {"conflict"})
    document = notice(read_facts(catalogue), "it", subject, Policy.default(), catalogue.store.read_bytes)
    assert "Copyright (c) Facebook, Inc. and its affiliates." in document, "the text of MIT came along"
    assert "Trained on LibriSpeech." in document
    for licence in ("Apache-2.0", "MIT"):
        assert f"  include-notice ({licence})" in document
        assert f"  include-text ({licence})" in document
        assert f"  {licence}: https://spdx.org/licenses/{licence}.html" in document
    missing = document.partition("Licences whose text did not come")[2]
    assert ("  Apache-2.0: " in missing, "  MIT: " in missing) == (True, False)
    assert f"hub-tag at hf:{name}@{COMMIT} says Apache-2.0" in document
    assert f"licence-file at hf:{name}@{COMMIT}/LICENSE says MIT" in document
